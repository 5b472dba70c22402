"""The message that a process sends to itself through the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fastws.core.publication import Publication
from fastws.engine.contract import Outgoing
from fastws.errors import EngineError
from fastws.hub import canary as module
from fastws.hub.canary import INTERVAL_S, WITHIN_S, Canary
from fastws.types import Published
from tests.gateway.stage import staged

pytestmark = pytest.mark.asyncio

PUBLISHED = Published(None, None, duplicate=False)
ALONE = PUBLISHED._replace(degraded=True)


class ManualLoop:
    """Time and timers by hand, tasks of the loop that runs."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.due: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> ManualLoop:
        self.due = self.now_s + delay_s, callback
        return self

    def cancel(self) -> None:
        self.due = None

    def create_task(self, coroutine: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(coroutine)

    def pass_time(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.due is not None and self.due[0] <= end_s:
            self.now_s, callback = self.due
            callback()
        self.now_s = end_s


class CarryingEngine:
    """Brings back what it is given, as it is told to."""

    def __init__(self) -> None:
        self.canary: Canary | None = None
        self.joined: list[str] = []
        self.sent: list[Publication] = []
        self.loses = False
        self.error: EngineError | None = None
        self.answer: asyncio.Future[Published] | Published = PUBLISHED
        self.confirmation: asyncio.Future[None] | None = None

    def join(self, topic: str) -> asyncio.Future[None] | None:
        self.joined.append(topic)
        return self.confirmation

    def leave(self, topic: str) -> None:
        self.joined.remove(topic)

    def publish(self, outgoing: Outgoing) -> asyncio.Future[Published] | Published:
        if self.error is not None:
            raise self.error
        assert outgoing.topic in self.joined
        self.sent.append(Publication(outgoing.data, 0))
        if not self.loses:
            assert self.canary is not None
            self.canary.on_publication(self.sent[-1])
        return self.answer


def made() -> tuple[Canary, CarryingEngine, ManualLoop]:
    engine: Any = CarryingEngine()
    loop: Any = ManualLoop()
    engine.canary = Canary(engine, loop, "n1")
    return engine.canary, engine, loop


async def ended() -> None:
    """Everything that ran beside this has ended, and whoever waited for it knows."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    await asyncio.sleep(0)


async def test_it_is_back_while_the_engine_carries() -> None:
    canary, engine, loop = made()
    assert not canary.is_back
    canary.start()
    for _ in range(10):
        assert canary.is_back
        loop.pass_time(INTERVAL_S)
    assert len(engine.sent) == 11
    engine.loses = True
    loop.pass_time(WITHIN_S)
    assert canary.is_back
    loop.pass_time(0.5)
    assert not canary.is_back
    engine.loses = False
    loop.pass_time(INTERVAL_S)
    assert canary.is_back
    canary.stop()
    assert not engine.joined
    assert loop.due is None


async def test_a_way_may_be_slow() -> None:
    canary, engine, loop = made()
    engine.loses = True  # they come back by hand
    canary.start()
    loop.pass_time(INTERVAL_S + 1)
    canary.on_publication(engine.sent[0])
    for _ in range(5):
        assert canary.is_back
        loop.pass_time(INTERVAL_S)
        canary.on_publication(engine.sent[-2])
    assert canary.is_back


async def test_an_old_one_does_not_count() -> None:
    canary, engine, loop = made()
    engine.loses = True
    canary.start()
    loop.pass_time(WITHIN_S + INTERVAL_S)
    canary.on_publication(engine.sent[0])
    assert not canary.is_back
    canary.on_publication(engine.sent[-1])
    assert canary.is_back


async def test_an_engine_that_is_away() -> None:
    canary, engine, loop = made()
    engine.error = EngineError("away")
    canary.start()
    loop.pass_time(INTERVAL_S)
    assert not canary.is_back
    engine.error = None
    loop.pass_time(INTERVAL_S)
    assert canary.is_back


@pytest.mark.parametrize("error", [None, EngineError("away"), RuntimeError("broken")])
async def test_an_engine_that_answers_later(error: Exception | None, caplog: pytest.LogCaptureFixture) -> None:
    canary, engine, loop = made()
    engine.answer = asyncio.get_running_loop().create_future()
    canary.start()
    loop.pass_time(3 * INTERVAL_S)
    assert len(engine.sent) == 1  # the next one waits until this one has left
    engine.answer.set_result(PUBLISHED) if error is None else engine.answer.set_exception(error)
    await ended()
    engine.answer = PUBLISHED
    loop.pass_time(INTERVAL_S)
    assert len(engine.sent) == 2
    assert ("could not be sent" in caplog.text) is isinstance(error, RuntimeError)


@pytest.mark.parametrize("later", [False, True])
async def test_one_that_has_not_left_this_process_does_not_count(later: bool) -> None:
    canary, engine, loop = made()
    canary.start()
    assert canary.is_back
    engine.answer = ALONE
    if later:
        engine.answer = asyncio.get_running_loop().create_future()
        engine.answer.set_result(ALONE)
    loop.pass_time(INTERVAL_S)
    await ended()
    assert not canary.is_back
    canary.on_publication(engine.sent[-1])
    assert not canary.is_back
    engine.answer = PUBLISHED
    loop.pass_time(INTERVAL_S)
    assert canary.is_back


async def test_what_happens_to_the_engine_is_known_at_once() -> None:
    canary, engine, loop = made()
    canary.look()
    assert loop.due is None
    canary.start()
    engine.answer = ALONE
    canary.look()
    assert canary.is_back
    loop.pass_time(0)
    assert not canary.is_back
    engine.answer = asyncio.get_running_loop().create_future()
    canary.look()
    loop.pass_time(0)
    assert canary.is_back
    engine.answer.set_exception(EngineError("cut off"))
    await ended()
    assert not canary.is_back
    engine.answer = PUBLISHED
    canary.look()
    loop.pass_time(0)
    assert canary.is_back
    canary.stop()
    assert loop.due is None


async def test_the_hub_has_it_look_when_the_engine_goes_away_and_comes_back() -> None:
    async with staged() as stage:
        canary, engine, loop = made()
        canary.start()
        stage.hub.canary = canary
        engine.answer = ALONE
        stage.hub.on_degraded(1)
        loop.pass_time(0)
        assert not canary.is_back
        engine.answer = PUBLISHED
        stage.hub.on_restored(2)
        loop.pass_time(0)
        assert canary.is_back


async def test_the_first_one_waits_until_it_would_be_heard() -> None:
    canary, engine, loop = made()
    engine.confirmation = asyncio.get_running_loop().create_future()
    canary.start()
    await asyncio.sleep(0)
    assert not engine.sent
    engine.confirmation.set_result(None)
    await ended()
    assert len(engine.sent) == 1
    assert canary.is_back
    loop.pass_time(INTERVAL_S)
    assert len(engine.sent) == 2


@pytest.mark.parametrize("later", [False, True])
async def test_where_it_is_not_heard_it_asks_again(later: bool) -> None:
    canary, engine, loop = made()
    engine.confirmation = asyncio.get_running_loop().create_future()
    engine.confirmation.set_exception(EngineError("CLUSTERDOWN"))
    canary.start()
    for _ in range(2):
        await ended()
        assert not engine.sent
        assert len(engine.joined) == 1
        loop.pass_time(INTERVAL_S)
    await ended()
    engine.confirmation = asyncio.get_running_loop().create_future() if later else None
    loop.pass_time(INTERVAL_S)
    if engine.confirmation is not None:
        engine.confirmation.set_result(None)
        await ended()
    assert canary.is_back
    canary.stop()
    assert not engine.joined
    assert loop.due is None


async def test_stopping_before_it_would_be_heard() -> None:
    canary, engine, loop = made()
    engine.confirmation = asyncio.get_running_loop().create_future()
    canary.start()
    await asyncio.sleep(0)
    canary.stop()
    await ended()
    assert not engine.sent
    assert not engine.joined
    assert loop.due is None


async def test_stopping_ends_what_is_on_its_way() -> None:
    canary, engine, _ = made()
    engine.answer = asyncio.get_running_loop().create_future()
    canary.start()
    await asyncio.sleep(0)
    canary.stop()
    await ended()
    assert engine.answer.cancelled()


async def test_the_hub_hands_it_on_and_shows_it_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.001)
    async with staged() as stage:
        canary = stage.hub.canary = Canary(stage.engine, asyncio.get_running_loop(), "n1")
        player = stage.connect()
        player.ask("sub", topic="canary:n1")
        canary.start()
        assert canary.is_back
        assert await stage.gateway.services.topics() == [("canary:n1", 1)]
        canary.stop()
        assert not player.hear()
