"""Callers share what they may take of one pass of the loop."""

from __future__ import annotations

import asyncio
from typing import Self

import pytest

from fastws.observe.admin.floor import Floor


class Clock:
    """Moves only when somebody works."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Passes:
    """Counts the passes of the loop while the block is executed."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._handle = asyncio.get_running_loop().call_soon(self._next)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.cancel()

    def _next(self) -> None:
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)


@pytest.mark.asyncio
async def test_all_together_take_no_more_than_their_share_of_a_pass() -> None:
    clock = Clock()
    floor = Floor(0.002, clock)
    worked: dict[int, float] = {}

    async def work(pieces: int) -> None:
        turn = await floor.turn()
        for _ in range(pieces):
            clock.now_s += 0.0005
            worked[passes.count] = worked.get(passes.count, 0.0) + 0.0005
            await turn.give_way()
        turn.end()

    with Passes() as passes:
        await asyncio.gather(*(work(10) for _ in range(8)))
    assert sum(worked.values()) == pytest.approx(0.04)
    assert max(worked.values()) <= 0.0026
    assert len(worked) <= 30  # nobody waits while there is time


@pytest.mark.asyncio
async def test_a_short_call_does_not_wait() -> None:
    floor = Floor()
    with Passes() as passes:
        for _ in range(10):
            (await floor.turn()).end()
    assert passes.count == 0
