"""What all calls together may take of one pass of the event loop, so that clients do not wait for callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final

PASS_S: Final = 0.002
"""Seconds of one pass. The pieces of work are short, but for a body or an answer of a megabyte, some 5 ms."""


class Floor:
    """Whoever has work to do takes a turn; who comes when the time of this pass is used up waits for the next one."""

    def __init__(self, pass_s: float = PASS_S, clock: Callable[[], float] = perf_counter) -> None:
        self._pass_s = pass_s
        self._clock = clock
        self._used_s = 0.0

    async def turn(self) -> Turn:
        """Wait until there is time, and have the floor; call `end` of it when the work is done."""
        turn = Turn(self, self._clock)
        await turn.begin()
        return turn

    async def enter(self) -> None:
        """Wait until there is time in a pass."""
        # An event would let all in at once; these look again one by one. What ends the pass is in the queue already.
        while self._used_s >= self._pass_s:  # noqa: ASYNC110
            await asyncio.sleep(0)

    def use(self, seconds: float) -> None:
        """Count what a piece of work took."""
        if not self._used_s:
            asyncio.get_running_loop().call_soon(self._end_pass)
        self._used_s += seconds

    def _end_pass(self) -> None:
        self._used_s = 0.0


class Turn:
    """The work of one call, in pieces."""

    __slots__ = ("_begun_s", "_clock", "_floor")

    def __init__(self, floor: Floor, clock: Callable[[], float]) -> None:
        self._floor = floor
        self._clock = clock
        self._begun_s = 0.0

    async def begin(self) -> None:
        """Wait until there is time."""
        await self._floor.enter()
        self._begun_s = self._clock()

    def end(self) -> None:
        """A piece of work is done."""
        self._floor.use(self._clock() - self._begun_s)

    async def give_way(self) -> None:
        """Between two pieces of work."""
        self.end()
        await self.begin()
