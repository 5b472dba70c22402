"""What Redis says of a connection: in the hash of its user, and in that of its node."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastws.core.topics import unscoped
from fastws.engine.redis.fleet.answers import number, text
from fastws.engine.redis.fleet.living import name_of
from fastws.errors import EngineError
from fastws.types import SessionInfo


class Entry(NamedTuple):
    """What a node's own hash says of a connection."""

    conn: str
    user: str
    """With its tenant; without a name if anonymous."""
    device: str
    since: int
    is_reported: bool
    """Others have said already that it was lost, when its process was taken for dead."""

    def info(self, node: str) -> SessionInfo:
        """The same for people. `node` is an id."""
        tenant, name = unscoped(self.user)
        return SessionInfo(self.conn, name, tenant, self.device, name_of(node), self.since)


def is_named(user: str) -> bool:
    """Whether a user, with its tenant, has a name; else it is anonymous."""
    return bool(user) and not user.endswith("\0")


def session_in(held: Any) -> tuple[int, str, str]:
    """Since when, node and device."""
    parts = text(held).split(" ", 2)
    if len(parts) != 3:
        raise EngineError("a session in Redis cannot be read")
    return number(parts[0].encode()), parts[1], parts[2]


def entry_in(pair: tuple[bytes, bytes]) -> Entry:
    """What cannot be read is nobody's, and nobody is told of it: it is only there to be taken away."""
    name, held = pair[0].decode("utf-8", "surrogateescape"), pair[1]
    since, _, rest = held.partition(b" ")
    length, _, names = rest.partition(b" ")
    try:
        size, since_ms = number(length), number(since)
        if 0 <= size <= len(names):
            return Entry(name, text(names[size:]), text(names[:size]), abs(since_ms), since_ms < 0)
    except EngineError:
        pass
    return Entry(name, "", "", 0, is_reported=True)
