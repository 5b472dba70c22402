"""Outages of a part of what connects processes: whom it concerns is told, once, and the others hear nothing of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws import FastWS
from fastws.engine.redis.backbone.making import make_backbone
from fastws.engine.redis.engine import RedisEngine
from fastws.engine.redis.names import HOME, META, Names, partition_of
from fastws.errors import EngineError
from fastws.gateway.services import GatewayServices
from fastws.hub import outages
from tests.engine.suite.stand import until
from tests.gateway.engines import DistantEngine
from tests.gateway.stage import Player, Stage, staged
from tests.support.cluster import ClusterFleet
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio


def hearing(stage: Stage, *topics: str) -> Player:
    player = stage.connect()
    for topic in topics:
        player.ask("sub", topic=topic)
    return player


async def hearing_far(stage: Stage, engine: DistantEngine, *topics: str) -> Player:
    """The same where the engine answers later."""
    player = stage.connect()
    for topic in topics:
        player.say({"id": 1, "cmd": "sub", "topic": topic})
        await stage.settle()
        engine.answer_all()
        await stage.settle()
    player.hear()
    return player


async def told(stage: Stage, *players: Player) -> list[list[Any]]:
    """The events that came to each, or the data of publications."""
    await stage.settle()
    return [[heard.get("data") or heard["event"] for heard in player.hear()] for player in players]


async def missed(stage: Stage, engine: DistantEngine, topic: str, data: Any) -> None:
    """Others publish, which nobody here hears."""
    cut_off, engine.cut_off = engine.cut_off, set()
    await stage.app.publish(topic, data)
    engine.link.clear()
    engine.cut_off = cut_off


async def test_who_hears_no_topic_of_the_part_is_told_nothing() -> None:
    engine = DistantEngine(prompt=True)
    async with staged(engine=engine) as stage:
        _, b, both, none = players = [hearing(stage, *topics) for topics in ("a", "b", "ab", "")]
        engine.lose_part("a")
        assert await told(stage, *players) == [["degraded"], [], ["degraded"], []]
        assert b.ask("sub", topic="a") == 113
        await stage.app.publish("b", 2)
        engine.let_arrive()
        assert await told(stage, b, both) == [[2], [2]]
        assert hearing(stage, "b", "c").hear() == []
        await missed(stage, engine, "a", 3)
        engine.get_part("a")
        assert await told(stage, *players) == [[3, "restored"], [], [3, "restored"], []]
        assert none.ask("sub", topic="a") is not None
        assert stage.hub.watch.gaps == 0


async def test_each_is_told_when_all_that_it_hears_is_back() -> None:
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        players = [await hearing_far(stage, engine, *topics) for topics in ("a", "b", "ab")]
        engine.lose_part("a")
        engine.lose_part("b")
        engine.lose_part("a", "b")
        assert await told(stage, *players) == [["degraded"]] * 3
        await missed(stage, engine, "a", 1)
        engine.get_part("a")
        assert await told(stage, *players) == [[], [], []]
        engine.answer_all()
        assert await told(stage, *players) == [[1, "restored"], [], [1]]
        engine.get_part("b")
        assert await told(stage, *players) == [[], ["restored"], ["restored"]]
        assert not stage.hub.outages.is_partial


async def test_a_part_and_then_the_rest() -> None:
    engine = DistantEngine(prompt=True)
    async with staged(engine=engine) as stage:
        a, b = players = [hearing(stage, "a"), hearing(stage, "b")]
        engine.lose_part("a")
        assert await told(stage, *players) == [["degraded"], []]
        engine.go_away()
        assert await told(stage, *players) == [[], ["degraded"]]
        late = stage.connect(welcomed=False)
        assert [heard["event"] for heard in late.hear()] == ["welcome", "degraded"]
        engine.is_away = False
        engine.cut_off = {"a", "b"}
        engine.get_part("b")
        assert await told(stage, a, b, late) == [[], ["restored"], ["restored"]]
        engine.get_part("a")
        assert await told(stage, a, b, late) == [["restored"], [], []]


async def test_all_of_it_while_some_are_still_being_told_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "SLICE_S", 0.0)
    monkeypatch.setattr(outages, "_CHECKED_EVERY", 1)
    engine = DistantEngine(prompt=True)
    async with staged(engine=engine) as stage:
        players = [hearing(stage, "a") for _ in range(5)]
        engine.lose_part("a")
        engine.go_away()
        late = stage.connect(welcomed=False)
        engine.is_away = False
        engine.get_part("a")
        for events in await told(stage, *players, late):
            assert events.count("degraded") == events.count("restored")
        engine.go_away()
        assert await told(stage, *players, late) == [["degraded"]] * 6
        engine.come_back()
        assert await told(stage, *players, late) == [["restored"]] * 6


async def test_who_subscribes_without_history_is_told_after_the_reply() -> None:
    app = FastWS(namespaces={"plain": {"subscribe": "all"}, "kept": {"subscribe": "all", "history_size": 5}})
    engine = DistantEngine(prompt=True)
    async with staged(app, engine) as stage:
        engine.lose_part("plain:x")
        player = stage.connect()
        player.say({"id": 1, "cmd": "sub", "topic": "plain:x"})
        await stage.settle()
        assert [heard.get("id") or heard["event"] for heard in player.hear()] == [1, "degraded"]
        player.conn.close()
        stayed = hearing(stage, "plain:x")
        await stage.settle()
        engine.get_part("plain:x")
        assert await told(stage, stayed) == [["degraded", "restored"]]


async def test_a_gap_in_a_topic_of_another_part_is_judged_as_ever() -> None:
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        player = await hearing_far(stage, engine, "a", "b")
        engine.lose_part("a")
        for topic in "ba":
            cut_off, engine.cut_off = engine.cut_off, set()
            await stage.app.publish(topic, 1)
            await stage.app.publish(topic, 2)
            engine.lose(1)
            engine.let_arrive()
            engine.cut_off = cut_off
        for question in engine.open:
            engine.fail(question)
        await stage.settle()
        assert [(heard["event"], heard.get("topic")) for heard in player.hear()] == [
            ("degraded", None),
            ("unsubscribed", "b"),
        ]
        engine.get_part("a")
        await stage.settle()
        engine.answer_all()
        assert await told(stage, player) == [[1, 2, "restored"]]


async def test_orders_that_need_only_what_is_there_are_carried_out() -> None:
    engine = DistantEngine(prompt=True)
    async with staged(engine=engine) as stage:
        ann, ben = stage.connect(), stage.connect()
        stage.name(ann, "ann")
        stage.name(ben, "ben")
        services: GatewayServices = stage.gateway.services
        engine.lose_part("ann")
        assert await services.push(1, user="ben") == 1
        assert await services.disconnect(user="ben") == 1
        with pytest.raises(EngineError, match="cannot be reached"):
            await services.push(1, user="ann")
        with pytest.raises(EngineError, match="cannot be reached"):
            await services.broadcast(1)
        assert await told(stage, ann) == [[]]


def spread(fleet: ClusterFleet, prefix: str) -> tuple[RedisServer, str, str]:
    """A master that has neither what nodes have in common nor the second topic, which has the first one."""
    names = Names(prefix)

    def master_of(partition: int) -> RedisServer:
        return fleet.master_of(fleet.slot_of(names.key(META, partition)))

    home = master_of(HOME)
    topics = ((topic, master_of(partition_of(topic))) for topic in map(str, range(1000)))
    there, master = next((topic, master) for topic, master in topics if master is not home)
    elsewhere = next(topic for topic, other in topics if other not in (home, master))
    return master, there, elsewhere


async def test_a_master_of_a_cluster_takes_only_those_with_it_who_hear_its_topics(
    cluster_fleet: ClusterFleet, prefix: str
) -> None:
    master, there, elsewhere = await asyncio.to_thread(spread, cluster_fleet, prefix)
    backbone = make_backbone(cluster_fleet.url, prefix=prefix)
    engine = RedisEngine(backbone, prefix=prefix, node_name="n1", lease_s=75.0)
    async with staged(engine=engine) as stage:
        players = near, far = [stage.connect(), stage.connect()]
        heard: list[list[Any]] = [[], []]

        def listen() -> list[list[Any]]:
            for said, player in zip(heard, players, strict=True):
                said += [one["result"] if "id" in one else one for one in player.hear()]
            return heard

        near.say({"id": 1, "cmd": "sub", "topic": there})
        far.say({"id": 1, "cmd": "sub", "topic": elsewhere})
        await until(lambda: all(listen()), "both are subscribed")
        assert [said.pop()["topic"] for said in heard] == [there, elsewhere]
        await asyncio.to_thread(master.stop)
        count = 0
        while not heard[0] or heard[0][-1]["event"] != "restored":
            count += 1
            await stage.app.publish(elsewhere, count)
            await asyncio.sleep(0.01)
            listen()
        await until(lambda: len(listen()[1]) >= count, "all publications")
        assert [one["event"] for one in heard[0]] == ["degraded", "unsubscribed", "restored"]
        assert [one.get("data") for one in heard[1]] == list(range(1, count + 1))
        await stage.app.publish(there, 1)
