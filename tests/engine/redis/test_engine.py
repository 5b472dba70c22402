"""The engine as a whole: how it starts, stops, and what it says of outages. What it does is shown by the suite."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from fastws.engine.contract import COUNT, DISCONNECT, PUSH, Order
from fastws.engine.redis import engine as module
from fastws.engine.redis.backbone.making import make_backbone
from fastws.engine.redis.engine import RedisEngine
from fastws.engine.redis.fleet.letters import letter_of
from fastws.engine.redis.names import HOME, PARTITIONS, partition_of
from fastws.engine.redis.resp.errors import AwayError
from fastws.errors import EngineError, InternalError
from tests.engine.redis.fleet.nodes import Member, Members, put
from tests.engine.suite.house import House
from tests.engine.suite.stand import got, until, until_async
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


LOW_TOPIC = next(name for name in map(str, range(1000)) if partition_of(name) in LOW)
HIGH_TOPIC = next(name for name in map(str, range(1000)) if partition_of(name) in HIGH)


async def test_each_part_is_an_outage_of_its_topics(engine: RedisEngine, house: House) -> None:
    house.subscribers.update({LOW_TOPIC: 1, HIGH_TOPIC: 1})
    engine.on_away(LOW, "it was stopped")
    assert house.outages_of == {LOW_TOPIC: ["degraded"]}
    assert (engine.reaches(LOW_TOPIC), engine.reaches(HIGH_TOPIC)) == (False, True)
    engine.on_away(HIGH, "it was stopped")
    assert house.outages_of == {LOW_TOPIC: ["degraded", "degraded"], HIGH_TOPIC: ["degraded"]}
    engine.on_back(LOW)
    assert house.outages_of[LOW_TOPIC][2:] == ["restored"]
    assert (engine.reaches(LOW_TOPIC), engine.reaches(HIGH_TOPIC)) == (True, False)
    engine.on_back(HIGH)
    await until(lambda: house.outages == ["degraded in part", "degraded", "restored in part", "restored"])
    assert house.outages_of[HIGH_TOPIC] == ["degraded", "restored"]
    assert len(house.outages_of[LOW_TOPIC]) == 3
    assert engine.reaches(HIGH_TOPIC)


async def test_a_part_that_goes_away_while_another_returns_does_not_hold_that_up(
    engine: RedisEngine, house: House
) -> None:
    house.subscribers.update({LOW_TOPIC: 1, HIGH_TOPIC: 1})
    engine.on_away(LOW, "it was stopped")
    engine.on_back(LOW)
    engine.on_away(HIGH, "it was stopped")
    assert house.outages_of == {LOW_TOPIC: ["degraded", "restored"], HIGH_TOPIC: ["degraded"]}
    assert house.outages == ["degraded in part", "restored in part", "degraded in part"]


async def test_orders_need_only_what_they_use(engine: RedisEngine) -> None:
    user = next(name for name in map(str, range(1000)) if partition_of(name) not in (HOME, _mailbox(engine)))
    orders = [Order(PUSH, user=user), Order(DISCONNECT, user=user), Order(PUSH, tenant="acme"), Order(COUNT), None]

    def refused(*partitions: int) -> list[int]:
        engine.on_away(partitions, "a slot is being moved")
        found = [at for at, order in enumerate(orders) if not engine.can_order(order)]
        engine.on_back(partitions)
        return found

    assert refused(partition_of(user)) == [0]
    assert refused(HOME) == [1, 2, 3, 4] or _mailbox(engine) == HOME
    engine._cut_off.clear()
    assert refused(_mailbox(engine)) == [0, 2, 3] or _mailbox(engine) == HOME
    engine._cut_off.clear()
    assert all(map(engine.can_order, orders))


def _mailbox(engine: RedisEngine) -> int:
    return partition_of(engine._common.node)


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
        assert house.outages == ["degraded in part"]
        engine.on_back(HIGH)
        await until(lambda: house.outages == ["degraded in part", "restored"])
    finally:
        await engine.stop()


@pytest.mark.parametrize(
    ("partitions", "said"),
    [
        ([*LOW, *HIGH], "Redis is away (it was stopped): this process is alone until it is back"),
        (LOW, "a part of Redis is away (it was stopped): 50 % of topics and users wait for it"),
    ],
)
async def test_the_log_says_how_much_is_away(
    engine: RedisEngine, caplog: pytest.LogCaptureFixture, partitions: Sequence[int], said: str
) -> None:
    engine.on_away(partitions, "it was stopped")
    assert [record.getMessage() for record in caplog.records if "away" in record.getMessage()] == [said]


async def test_one_that_goes_away_while_this_process_returns_goes_on_with_the_outage(
    engine: RedisEngine, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    engine.on_away(LOW, "it was stopped")
    for _ in range(3):
        engine.on_back(LOW)
        engine.on_away(LOW, "it was stopped")
    await asyncio.sleep(0.05)
    engine.on_back(LOW)
    await until(lambda: house.outages == ["degraded in part", "restored"])
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
    await until(lambda: house.outages == ["degraded in part", "restored"])
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
    assert house.outages == ["degraded in part"]
    engine.on_away(LOW, "it was stopped")
    engine.on_back(LOW)
    engine.on_message(b"any channel", b"any words")
    assert house.outages == ["degraded in part"]
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


class InPart:
    """A backbone of which a part is away."""

    def __init__(self, member: Member) -> None:
        self.away: set[int] = set()
        self._backbone: Any = member.engine._common.backbone
        member.engine._common.backbone = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def is_up(self, partition: int) -> bool:
        return partition not in self.away

    def run(self, what: Any, partition: int, *words: Any) -> Any:
        self._check(partition)
        return self._backbone.run(what, partition, *words)

    def call(self, partition: int, *words: Any) -> Any:
        self._check(partition)
        return self._backbone.call(partition, *words)

    def say(self, partition: int, *words: Any) -> Any:
        self._check(partition)
        return self._backbone.say(partition, *words)

    def _check(self, partition: int) -> None:
        if partition in self.away:
            raise AwayError("Redis is away")


async def test_a_part_that_is_back_before_others_has_who_is_here_and_says_what_was_missed(
    members: Members, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await members.some(2, 20.0)  # a beat a second
    mine = partition_of(one.id)
    names = [name for name in map(str, range(1000)) if partition_of(name) not in (HOME, mine)]
    early = names[0]
    late = next(name for name in names if partition_of(name) != partition_of(early))
    for user in (early, late):
        one.attach(user, f"gone-{user}")
        await until_async(lambda user=user: two.conns(user))
    await put(one, letter_of(Order(COUNT, attribute="user", data=b'"x"'), 1, two.id))
    backbone = InPart(one)
    backbone.away = {mine, partition_of(early), partition_of(late)}
    one.engine.on_away(sorted(backbone.away), "two masters were stopped")
    for user in (early, late):
        one.detach(user, f"gone-{user}")
        one.attach(user, f"here-{user}")
        one.come(user, f"here-{user}", user)
    backbone.away = {partition_of(late)}
    one.engine.on_back([mine, partition_of(early)])
    await until_async(lambda: _are(two, early, f"here-{early}"))
    await until_async(lambda: _is_present(two, early))
    await until(lambda: one.house.orders)
    await until(lambda: not one.engine._sessions.is_doubtful)
    assert await two.conns(late) == [f"gone-{late}"]
    assert f"here-{late}" in one.engine._sessions._unsure
    backbone.away = set()
    one.engine.on_back([partition_of(late)])
    await until_async(lambda: _are(two, late, f"here-{late}"))
    await until_async(lambda: _is_present(two, late))
    assert "cannot tell that it is alive" not in caplog.text


async def _are(member: Member, user: str, *conns: str) -> bool:
    return await member.conns(user) == [*conns]


async def _is_present(member: Member, topic: str) -> bool:
    return (await got(member.engine.presence_stats(topic))).connections == 1
