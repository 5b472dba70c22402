"""The engine as a whole: how it starts, stops, and what it says of outages. What it does is shown by the suite."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fastws.engine.redis import engine as module
from fastws.engine.redis.backbone.making import make_backbone
from fastws.engine.redis.engine import RedisEngine
from fastws.engine.redis.names import PARTITIONS
from fastws.errors import EngineError, InternalError
from tests.engine.suite.house import House
from tests.engine.suite.stand import until
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio

LOW, HIGH = range(PARTITIONS // 2), range(PARTITIONS // 2, PARTITIONS)


def made(url: str, prefix: str) -> RedisEngine:
    return RedisEngine(make_backbone(url, prefix=prefix), prefix=prefix, node_name="n1", lease_s=75.0)


@pytest.fixture
def house() -> House:
    return House("n1")


@pytest_asyncio.fixture
async def engine(redis_server: RedisServer, prefix: str, house: House) -> AsyncIterator[RedisEngine]:
    engine = made(redis_server.url, prefix)
    await engine.start(house)
    yield engine
    await engine.stop()


async def test_servers_that_are_away_together_are_one_outage(engine: RedisEngine, house: House) -> None:
    engine.on_away(LOW, "it was stopped")
    engine.on_away(HIGH, "it was stopped")
    engine.on_back(LOW)
    await asyncio.sleep(0.05)
    assert house.outages == ["degraded"]
    engine.on_back(HIGH)
    await until(lambda: house.outages == ["degraded", "restored"])


async def test_who_begins_while_a_part_of_redis_is_away_says_so(
    redis_server: RedisServer, prefix: str, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = made(redis_server.url, prefix)
    begin = engine._common.backbone.start

    async def begin_in_part(events: Any) -> None:
        await begin(events)
        events.on_away(HIGH, "a slot is being moved")

    monkeypatch.setattr(engine._common.backbone, "start", begin_in_part)
    await engine.start(house)
    try:
        assert house.outages == ["degraded"]
        engine.on_back(HIGH)
        await until(lambda: house.outages == ["degraded", "restored"])
    finally:
        await engine.stop()


async def test_one_that_goes_away_while_this_process_returns_goes_on_with_the_outage(
    engine: RedisEngine, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    engine.on_away(LOW, "it was stopped")
    for _ in range(3):
        engine.on_back(LOW)
        engine.on_away(LOW, "it was stopped")
    await asyncio.sleep(0.05)
    engine.on_back(LOW)
    await until(lambda: house.outages == ["degraded", "restored"])
    assert len([record for record in caplog.records if "away" in record.message]) == 1


@pytest.mark.parametrize("error", [EngineError("OOM"), ValueError("a bug")])
async def test_it_tries_to_return_until_it_does(
    engine: RedisEngine,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    renew, tries = engine._nodes.renew, 0

    async def refuse_twice() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise error
        await renew()

    monkeypatch.setattr(engine._nodes, "renew", refuse_twice)
    engine.on_away(LOW, "it was stopped")
    engine.on_back(LOW)
    await until(lambda: house.outages == ["degraded", "restored"])
    assert tries == 3
    complaints = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(complaints) == 3


async def test_whoever_stops_while_it_returns_stops(redis_server: RedisServer, prefix: str, house: House) -> None:
    engine = made(redis_server.url, prefix)
    await engine.start(house)
    engine.on_away(LOW, "it was stopped")
    engine.on_back(LOW)
    await engine.stop()
    house.has_stopped = True
    assert house.outages == ["degraded"]
    engine.on_away(LOW, "it was stopped")
    engine.on_back(LOW)
    engine.on_message(b"any channel", b"any words")
    assert house.outages == ["degraded"]
    with pytest.raises(InternalError):
        _ = engine._common.events
    await asyncio.sleep(0)
    assert not engine._common.tasks


async def test_what_fails_at_the_start_leaves_nothing_behind(
    redis_server: RedisServer, prefix: str, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = made(redis_server.url, prefix)

    async def refuse(*_asked: Any) -> None:
        raise EngineError("no")

    monkeypatch.setattr(engine._topics, "start", refuse)
    with pytest.raises(EngineError, match="no"):
        await engine.start(house)

    def ours() -> int:
        clients = redis_server.ask("CLIENT", "LIST")
        assert isinstance(clients, bytes)
        return clients.count(b"name=fastws")

    await until(lambda: not ours())


async def test_what_nobody_listens_to_is_passed_over(engine: RedisEngine, house: House) -> None:
    engine.on_message(b"nobody's", b"words")
    heard: list[bytes] = []
    engine._common.listeners[b"somebody's"] = heard.append
    engine.on_message(b"somebody's", b"words")
    assert heard == [b"words"]
    assert house.heard == []
