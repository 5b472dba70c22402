"""Subscription tokens of one connection, and when what it was given ends. Made with the first such token."""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class Pass(NamedTuple):
    """What a subscription token gave for one topic."""

    ends_s: float | None
    """When, by the clock of the loop; None = never."""
    may_publish: bool


class Passes:
    """By the names of topics inside the server."""

    __slots__ = ("_of", "identity_ends_s")

    def __init__(self, identity_ends_s: float | None) -> None:
        self.identity_ends_s = identity_ends_s
        """When the connection's own token ends, by the clock of the loop; None = never."""
        self._of: dict[str, Pass] = {}

    def note(self, key: str, ends_s: float | None, *, may_publish: bool) -> None:
        """A token for this topic was right."""
        self._of[key] = Pass(ends_s, may_publish)

    def forget(self, key: str) -> None:
        """The subscription has ended, and its token with it."""
        self._of.pop(key, None)

    def of(self, key: str) -> Pass | None:
        """The pass for a topic, or None."""
        return self._of.get(key)

    def take_ended(self, now_s: float) -> list[str]:
        """The topics whose tokens have ended, which are forgotten by that."""
        ended = [key for key, one in self._of.items() if one.ends_s is not None and one.ends_s <= now_s]
        for key in ended:
            del self._of[key]
        return ended

    def next_s(self) -> float | None:
        """When the next thing ends; None = nothing ever does."""
        moments = [one.ends_s for one in self._of.values() if one.ends_s is not None]
        if self.identity_ends_s is not None:
            moments.append(self.identity_ends_s)
        return min(moments, default=None)


MIN_DEADLINE_S: Final = 0.1
"""A deadline of 0 would be none."""


def arm(conn: Any, ends_s: float | None, now_s: float) -> None:
    """Have the connection told when the next thing of it ends, not before; both by the clock of the loop.

    The wheel counts in steps of 0.1 s, and looks at most 460 days ahead: then even what is good for longer ends.
    """
    conn.set_deadline(0.0 if ends_s is None else max(ends_s - now_s, 0.0) + MIN_DEADLINE_S)
