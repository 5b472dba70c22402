"""One publication, as engines keep it and hubs deliver it."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """A place in the history of one topic: `offset` publications have been made since `epoch` began."""

    epoch: str
    offset: int


class Retention(NamedTuple):
    """What is kept of a topic's publications."""

    size: int
    """Publications, at least 1."""
    ttl_s: float
    """Seconds; 0 = no limit of age."""


class Publication:
    """What was published to a topic; never changed once it is made."""

    __slots__ = ("conn", "data", "exclude", "offset", "ts_ms", "user")

    def __init__(
        self, data: bytes, ts_ms: int, offset: int = 0, user: str | None = None, conn: str = "", exclude: str = ""
    ) -> None:
        self.data = data
        """JSON."""
        self.ts_ms = ts_ms
        """When, in milliseconds of Unix time."""
        self.offset = offset
        """Counts from 1 in a topic's history; 0 for a topic without history."""
        self.user = user
        """Who published, empty if anonymous; None if a server did."""
        self.conn = conn
        """The connection that published; empty if a server did."""
        self.exclude = exclude
        """The connection that shall not hear it; empty if there is none."""
