"""The time that a command has in all, where it may have to be given more than once.

Whatever is given to a link is answered within a time or has failed; what is given again, to the same or another server,
would have that time anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from fastws.engine.redis.resp.errors import AwayError
from fastws.engine.redis.resp.link import fail

LOOK_S: Final = 0.1
"""Seconds between two looks, and so what the time may be longer."""


class Deadlines:
    """Of futures, of which there are seldom any: there is a timer while there are."""

    def __init__(self, answer_s: float) -> None:
        """`answer_s`: seconds that a command has."""
        self._answer_s: Final = answer_s
        self._watched: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, given_s: float, future: asyncio.Future[Any]) -> None:
        """Let the answer to a command fail if there is none in time; `given_s` by the clock of the loop."""
        self._watched.append((given_s + self._answer_s, future))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        self._watched = deque(each for each in self._watched if not each[1].done())
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look) if self._watched else None
        for due_s, future in self._watched:
            if due_s <= now:
                fail(future, AwayError(f"Redis is away: there was no answer within {self._answer_s:g} s"))

    def stop(self) -> None:
        """Watch nothing more."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
