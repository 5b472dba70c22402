"""What has to happen at once in Redis: scripts in Lua, one file each, beside this one."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final, NamedTuple

_HERE: Final = files(__package__)


class Script(NamedTuple):
    """A script as it is called by `EVALSHA`."""

    name: str
    text: bytes
    sha: bytes
    """Hexadecimal, as Redis names it."""
    needs_era: bool
    """Its first key is the era of the partition. Who runs it has said before, on the same connection, whom it is
    connected to: so it sees a new era whenever what it reads may have lost what was written last.
    """
    is_stored: bool = False
    """What it wrote is promised to whoever ran it: where replicas are to have that, it is answered when they do."""


@cache
def script(name: str, *, after: str = "", needs_era: bool = False, is_stored: bool = False) -> Script:
    """The script of a file, by its name without the suffix; behind that of another one, whose functions it calls."""
    text = b"".join((_HERE / f"{part}.lua").read_bytes() for part in (after, name) if part)
    return Script(name, text, sha1(text, usedforsecurity=False).hexdigest().encode(), needs_era, is_stored)
