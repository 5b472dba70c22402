"""Drains: pace, deadline, what clients are told. Real servers drain in test_worker.py."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from fastws.server.drain import Drain, close_now, closes_due, retry_ms
from tests.support.waiting import Stopwatch


class RecordingConnection:
    """Closes at once, after a while, or never; notes when and how it was asked."""

    def __init__(self, everyone: list[RecordingConnection], closes: bool = True) -> None:
        self.closes = closes
        self.told: list[tuple[float, int, str]] = []
        self.aborted = False
        self._everyone = everyone
        everyone.append(self)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.told.append((time.monotonic(), code, reason))
        if self.closes:
            self._everyone.remove(self)

    def abort(self) -> None:
        self.aborted = True
        self._everyone.remove(self)


def some(count: int, closes: bool = True) -> tuple[list[RecordingConnection], list[RecordingConnection]]:
    """(those that are left, all of them)."""
    left: list[RecordingConnection] = []
    for _ in range(count):
        RecordingConnection(left, closes)
    return left, list(left)


@pytest.mark.parametrize(
    ("total", "elapsed_s", "rate", "timeout_s", "due"),
    [
        (100, 0, 0, 0, 100),
        (100, 0, 7, 0, 100),
        (100, 0, 10, 30, 1),
        (100, 2.5, 10, 30, 26),
        (100, 60, 10, 30, 100),
        (300, 0, 0, 30, 1),
        (300, 7.5, 0, 30, 151),
        (300, 15, 0, 30, 300),
        (0, 0, 0, 30, 0),
    ],
)
def test_the_pace(total: int, elapsed_s: float, rate: float, timeout_s: float, due: int) -> None:
    assert closes_due(total, elapsed_s, rate, timeout_s) == due


def test_pauses_before_coming_back_are_spread() -> None:
    pauses = {retry_ms(15) for _ in range(500)}
    assert len(pauses) > 100
    assert min(pauses) >= 100
    assert max(pauses) <= 15_000
    assert {retry_ms(0) for _ in range(100)} <= set(range(100, 1001))


@pytest.mark.asyncio
async def test_everyone_is_told_to_come_back() -> None:
    left, all_of_them = some(20)
    drain = Drain(lambda: left, lambda: 0, rate=0, timeout_s=0.4)
    begun, watch = time.monotonic(), Stopwatch()
    await drain.run()
    assert left == []
    assert drain.reset == 0
    moments = sorted(conn.told[0][0] for conn in all_of_them)
    assert moments[-1] - begun >= 0.1
    for conn in all_of_them:
        ((_, code, reason),) = conn.told
        assert code == 1012
        assert re.fullmatch(r"restarting retry_ms=\d+", reason)
    assert watch.own_s < 2


@pytest.mark.asyncio
async def test_no_more_than_the_rate() -> None:
    left, all_of_them = some(100)
    drain = Drain(lambda: left, lambda: 0, rate=100, timeout_s=0.3)
    await drain.run()
    told = [conn for conn in all_of_them if conn.told]
    assert 1 <= len(told) <= 32
    assert drain.reset == 100 - len(told)
    assert all(conn.aborted for conn in all_of_them if not conn.told)


@pytest.mark.asyncio
async def test_who_does_not_close_in_time_is_reset() -> None:
    left, all_of_them = some(3, closes=False)
    drain = Drain(lambda: left, lambda: 0, rate=0, timeout_s=0.1)
    begun = time.monotonic()
    await drain.run()
    assert time.monotonic() - begun >= 0.1
    assert drain.reset == 3
    assert [len(conn.told) for conn in all_of_them] == [1, 1, 1]
    assert all(conn.aborted for conn in all_of_them)


@pytest.mark.asyncio
async def test_without_a_timeout_all_go_at_once() -> None:
    left, all_of_them = some(50, closes=False)
    drain = Drain(lambda: left, lambda: 0, rate=1, timeout_s=0)
    watch = Stopwatch()
    await drain.run()
    assert watch.own_s < 2
    assert all(conn.told and conn.aborted for conn in all_of_them)


@pytest.mark.asyncio
async def test_who_comes_meanwhile_is_told_too() -> None:
    """An upgrade whose hooks were under way."""
    left: list[RecordingConnection] = []
    upgrades = [1]

    def arrive() -> None:
        upgrades.clear()
        RecordingConnection(left)

    drain = Drain(lambda: left, lambda: len(upgrades), rate=0, timeout_s=10)
    asyncio.get_running_loop().call_later(0.1, arrive)
    watch = Stopwatch()
    await drain.run()
    assert watch.own_s < 5
    assert (left, drain.reset) == ([], 0)


@pytest.mark.asyncio
async def test_to_look_around_takes_little_of_the_time() -> None:
    left, _ = some(50)
    looks = []

    def look() -> list[RecordingConnection]:
        looks.append(time.monotonic())
        time.sleep(0.02)
        return left

    drain = Drain(look, lambda: 0, rate=0, timeout_s=1)
    await drain.run()
    assert drain.reset == 0
    assert len(looks) <= 6


@pytest.mark.asyncio
async def test_nobody_there_is_no_wait() -> None:
    watch = Stopwatch()
    await Drain(list, lambda: 0, rate=0, timeout_s=30).run()
    assert watch.own_s < 1


@pytest.mark.asyncio
async def test_handlers_under_way_are_waited_for() -> None:
    pending = [1]
    asyncio.get_running_loop().call_later(0.1, pending.clear)
    watch = Stopwatch()
    await Drain(list, lambda: len(pending), rate=0, timeout_s=30).run()
    assert watch.s >= 0.1
    assert watch.own_s < 5


@pytest.mark.asyncio
async def test_it_can_be_stopped() -> None:
    left, all_of_them = some(10, closes=False)
    drain = Drain(lambda: left, lambda: 0, rate=0, timeout_s=30)
    running = asyncio.ensure_future(drain.run())
    await asyncio.sleep(0)
    drain.stop()
    await asyncio.wait_for(running, 20)
    assert not any(conn.aborted for conn in all_of_them)
    await close_now(list(left))
    assert all(conn.told[-1][1:] == (1001, "going_away") for conn in all_of_them)
