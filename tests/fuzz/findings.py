"""Inputs that break a target: where they are written, and how they become smaller."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.corpus import REGRESSIONS, SUFFIX, escape
from tests.fuzz.native import CACHE

FOLDER = CACHE / "findings"
_TRIES = 4000


def write(target: str, data: bytes) -> Path:
    """Write an input as it is, under a name that is the same for the same bytes."""
    path = FOLDER / target / f"crash-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def keep(target: str, data: bytes, name: str) -> Path:
    """Make an input one of the regressions that every test run replays."""
    path = REGRESSIONS / target / f"{name}{SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(escape(data), "ascii")
    return path


def broken_by(run: Callable[[bytes], None], data: bytes) -> type[BaseException] | None:
    """The type of what `run` raises, or None."""
    try:
        run(data)
    except Exception as error:
        return type(error)
    return None


def shrink(run: Callable[[bytes], None], data: bytes) -> bytes:
    """A shorter input that raises an exception of the same type: pieces are left out while that makes no difference."""
    wanted = broken_by(run, data)
    size = len(data) // 2
    tries = 0
    while size and wanted is not None:
        at = 0
        while at < len(data) and tries < _TRIES:
            tries += 1
            shorter = data[:at] + data[at + size :]
            if broken_by(run, shorter) is wanted:
                data = shorter
            else:
                at += size
        size //= 2
    return data
