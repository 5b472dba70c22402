"""When a server that could not be connected to is tried again.

A server that is started again should be found soon, and many processes that have lost it together must not keep it from
starting. Where nobody listens an attempt costs one packet and its refusal, so it is made several times a second, less
often after ten seconds: 10,000 processes are 36,000 such packets a second then. Every other attempt may cost a server
that does not keep up a handshake, so each is a longer time after the last.
"""

from __future__ import annotations

import random
from typing import Final

from fastws.engine.redis.resp.errors import AbsentError

FIRST_S: Final = 0.05
LONGEST_S: Final = 2.0
"""Seconds after an attempt that took the server's time, or ours."""
ABSENT_S: Final = 0.25
"""Seconds after an attempt that was refused at once,"""
LONG_ABSENT_S: Final = 0.4
"""and the same when it has gone on like that for long."""

_LONG_S: Final = 10.0
_LOADING_S: Final = 0.4
_LOADING_SHARE: Final = 1 / 8


class Pauses:
    """Between the attempts to connect to one server."""

    def __init__(self, rng: random.Random | None = None) -> None:
        """`rng` spreads those who have lost it at the same time."""
        self._rng = rng
        self._count = 0
        self._absent_s = 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has failed since `reset`."""
        return not self._count and not self._absent_s

    def reset(self) -> None:
        """Begin anew: it was up for long, or somebody knows better."""
        self._count = 0
        self._absent_s = 0.0

    def note(self) -> None:
        """An attempt is made at once; if it is of no use, that counts."""
        self._count = max(self._count, 1)

    def after(self, failure: Exception | None) -> float:
        """Seconds until the next attempt, after one that failed so; None: it was up, but only for a moment."""
        if isinstance(failure, AbsentError):
            longest_s = ABSENT_S if self._absent_s < _LONG_S else LONG_ABSENT_S
        else:
            longest_s = min(FIRST_S * 2.0 ** min(self._count, 10), LONGEST_S)
            self._count += 1
        pause_s = self._some_of(longest_s)
        if isinstance(failure, AbsentError):
            self._absent_s += pause_s
        return pause_s

    def while_loading(self, remaining_s: int, longest_s: float) -> float:
        """Seconds, at most `longest_s`, until a server that still reads its data is asked again; it takes `remaining_s`
        more, as it says itself.
        """
        return self._some_of(min(max(remaining_s * _LOADING_SHARE, _LOADING_S), longest_s))

    def _some_of(self, pause_s: float) -> float:
        if self._rng is None:
            self._rng = random.Random()  # noqa: S311 - spreads load; not before a fork, which would make all the same
        return pause_s * self._rng.uniform(0.5, 1.0)
