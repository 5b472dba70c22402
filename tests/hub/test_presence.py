"""Presence through the hub: who enters and leaves, however it leaves, and what watchers hear of it."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable
from typing import Any

import pytest

from fastws import FastWS
from fastws.engine.contract import Change
from fastws.engine.memory import MemoryEngine
from fastws.errors import EngineError
from fastws.gateway.auth.identity import identity_of
from fastws.hub import news as news_module
from fastws.types import Member, Presence, PresenceStats
from tests.gateway.stage import JSON, MSGPACK, Player, Stage, staged

pytestmark = pytest.mark.asyncio

NAMESPACES = {
    "room": {"subscribe": "all", "publish": "all", "presence": True, "join_leave": True},
    "list": {"subscribe": "all", "presence": True},
    "plain": {"subscribe": "all"},
}


def app() -> FastWS:
    return FastWS(namespaces=NAMESPACES)


def name(player: Player, user: str, info: Any = None, device: str = "web") -> None:
    """Let the connection have a user, before it subscribes."""
    player.conn.session.identity = identity_of(user, device=device, info=info)


def subscribe(stage: Stage, player: Player, topic: str, *, watching: bool = False) -> Any:
    heard = stage.hub.topic(topic, topic, stage.gateway._services._access.namespace(topic))
    assert stage.hub.subscribe(player.conn, heard, watching=watching)
    player.conn.session.note_subscribed(heard)
    return heard


def unsubscribe(stage: Stage, player: Player, topic: str) -> None:
    heard = stage.hub.topics[topic]
    player.conn.session.note_unsubscribed(heard)
    stage.hub.unsubscribe(player.conn, heard)


async def tell(stage: Stage, topic: str) -> None:
    """What waits to be told is told now."""
    stage.hub.topics[topic].roll.news.flush()  # type: ignore[union-attr]
    await stage.settle()


async def test_who_is_here() -> None:
    async with staged(app()) as stage:
        ann, ben, stranger = (stage.connect(subprotocol=codec) for codec in (JSON, MSGPACK, JSON))
        name(ann, "ann", {"name": "Ann"})
        name(ben, "ann", device="phone")
        for player in (ann, ben, stranger):
            subscribe(stage, player, "list:a")
        assert stage.engine.presence("list:a", 1000) == Presence(
            {
                ann.conn.id: Member("ann", "web", {"name": "Ann"}),
                ben.conn.id: Member("ann", "phone", None),
                stranger.conn.id: Member("", "default", None),
            },
            3,
            1,
            truncated=False,
        )
        some = stage.engine.presence("list:a", 2)
        assert (len(some.members), some.connections, some.truncated) == (2, 3, True)
        assert stage.engine.presence_stats("list:a") == PresenceStats(3, 1)
        unsubscribe(stage, ann, "list:a")
        assert stage.engine.presence_stats("list:a") == PresenceStats(2, 1)
        ben.vanish()
        await stage.settle()
        assert stage.engine.presence_stats("list:a") == PresenceStats(1, 0)
        stranger.go()
        await stage.settle()
        assert stage.engine.presence("list:a", 5) == Presence({}, 0, 0, truncated=False)
        assert stage.hub.topics == {}


async def test_nothing_is_kept_where_nobody_asks() -> None:
    async with staged(app()) as stage:
        player = stage.connect()
        assert subscribe(stage, player, "plain:a", watching=True).roll is None
        listed = subscribe(stage, player, "list:a", watching=True)
        assert listed.roll.news is None
        watched = subscribe(stage, player, "room:a", watching=True)
        assert watched.roll.news.watchers == 1
        assert watched.audience.behind is watched.roll.news.audience
        other = stage.connect()
        subscribe(stage, other, "room:a")
        unsubscribe(stage, player, "room:a")
        assert watched.roll.news is None
        assert watched.audience.behind is None


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
async def test_watchers_hear_of_others_and_never_of_themselves(codec: str) -> None:
    async with staged(app()) as stage:
        watcher, member, quiet = stage.connect(subprotocol=codec), stage.connect(), stage.connect()
        name(member, "ann", {"name": "Ann"})
        subscribe(stage, quiet, "room:a")
        subscribe(stage, watcher, "room:a", watching=True)
        subscribe(stage, member, "room:a")
        await tell(stage, "room:a")
        about = {"topic": "room:a", "user": "ann", "conn": member.conn.id, "info": {"name": "Ann"}}
        assert watcher.hear() == [{"event": "join", **about}]
        member.vanish()
        await stage.settle()
        await tell(stage, "room:a")
        assert watcher.hear() == [{"event": "leave", **about}]
        assert quiet.hear() == []
        unsubscribe(stage, watcher, "room:a")
        subscribe(stage, stage.connect(), "room:a")
        await stage.settle()
        assert watcher.hear() == []


@pytest.mark.parametrize("count", [1, 100])
async def test_a_join_is_heard_before_what_who_joined_publishes(count: int) -> None:
    async with staged(app()) as stage:
        watchers = [stage.connect() for _ in range(count)]
        for watcher in watchers:
            subscribe(stage, watcher, "room:a", watching=True)
        await tell(stage, "room:a")
        for watcher in watchers:
            watcher.hear()
        member = stage.connect()
        subscribe(stage, member, "room:a")
        member.say({"cmd": "pub", "topic": "room:a", "data": 1})
        await stage.settle()
        for watcher in watchers:
            assert [message["event"] for message in watcher.hear()] == ["join", "publication"]


async def test_many_changes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "MAX_NAMED", 3)
    async with staged(app()) as stage:
        watcher = stage.connect()
        name(watcher, "ann")
        subscribe(stage, watcher, "room:a", watching=True)
        players = [stage.connect() for _ in range(5)]
        for player in players:
            subscribe(stage, player, "room:a")
        players[0].vanish()
        await stage.settle()
        await tell(stage, "room:a")
        counts = {"connections": 5, "users": 1, "joined": 5, "left": 1}
        assert watcher.hear_one() == {"event": "presence", "topic": "room:a", **counts}


class LateEngine(MemoryEngine):
    """Counts members of all processes, and answers when a test says so."""

    failure: Exception | None = None

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[asyncio.Future[PresenceStats]] = []

    def presence_stats(self, topic: str) -> Awaitable[PresenceStats]:  # type: ignore[override]
        if self.failure is not None:
            raise self.failure
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]


async def test_many_changes_are_counted_by_an_engine_that_answers_later_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(news_module, "MAX_NAMED", 1)
    engine = LateEngine()
    async with staged(app(), engine=engine) as stage:
        watcher = stage.connect()
        subscribe(stage, watcher, "room:a", watching=True)
        about = {"event": "presence", "topic": "room:a"}

        async def change() -> None:
            players = [stage.connect() for _ in range(2)]
            for player in players:
                subscribe(stage, player, "room:a")
            await tell(stage, "room:a")

        await change()
        assert watcher.hear() == []
        engine.asked[0].set_result(PresenceStats(70, 8))
        await stage.settle()
        assert watcher.hear_one() == {**about, "connections": 70, "users": 8, "joined": 2, "left": 0}
        await change()
        engine.asked[1].set_exception(EngineError("away"))
        await stage.settle()
        assert watcher.hear_one() == {**about, "connections": 5, "users": 0, "joined": 2, "left": 0}
        engine.failure = EngineError("away")
        await change()
        assert watcher.hear_one() == {**about, "connections": 7, "users": 0, "joined": 2, "left": 0}
        engine.failure = None
        await change()
        unsubscribe(stage, watcher, "room:a")
        engine.asked[2].set_result(PresenceStats(1, 1))
        await stage.settle()
        assert watcher.hear() == []


async def test_nothing_is_told_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "MAX_NAMED", 1)
    monkeypatch.setattr(news_module, "MIN_INTERVAL_S", 0.001)
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    for engine in (None, LateEngine()):
        async with staged(app(), engine=engine) as stage:
            watcher = stage.connect()
            subscribe(stage, watcher, "room:a", watching=True)
            for _ in range(2):
                subscribe(stage, stage.connect(), "room:a")
            if engine is not None:
                await tell(stage, "room:a")
                assert len(stage.hub._attendance.tasks) == 1
            else:
                watcher.vanish()
        await asyncio.sleep(0.02)  # what would come would have come
        async with asyncio.timeout(30):
            while stage.hub._attendance.tasks:
                await asyncio.sleep(0.001)
    gc.collect()
    assert failures == []


async def test_other_processes() -> None:
    async with staged(app()) as stage:
        watcher = stage.connect()
        subscribe(stage, watcher, "room:a", watching=True)
        changes = [Change("x-1", "ann", {"a": 1}, joined=True), Change("x-2", "", None, joined=False)]
        stage.hub.on_join_leave("room:a", changes)
        stage.hub.on_join_leave("room:b", changes)
        await tell(stage, "room:a")
        assert watcher.hear() == [
            {"event": "join", "topic": "room:a", "user": "ann", "conn": "x-1", "info": {"a": 1}},
            {"event": "leave", "topic": "room:a", "user": "", "conn": "x-2"},
        ]


async def test_who_authenticates_later_is_announced_once_and_counted_by_its_name() -> None:
    async with staged(app()) as stage:
        told: list[tuple[str, Member, bool, bool]] = []
        stage.engine.present = lambda topic, _, member, *, announce, is_known=False: told.append(
            (topic, member, announce, is_known)
        )
        watcher, player = stage.connect(), stage.connect()
        subscribe(stage, watcher, "room:a", watching=True)
        subscribe(stage, player, "room:a")
        subscribe(stage, player, "plain:a")
        name(player, "ann", {"name": "Ann"})
        stage.hub.renamed(player.conn, "", "")
        assert stage.engine.presence_stats("room:a") == PresenceStats(2, 1)
        assert told[1] == ("room:a", Member("", "default", None), True, False)
        assert told[-1] == ("room:a", Member("ann", "web", {"name": "Ann"}), True, True)
        await tell(stage, "room:a")
        assert len(watcher.hear()) == 1
        player.vanish()
        await stage.settle()
        await tell(stage, "room:a")
        assert watcher.hear_one()["user"] == "ann"
        assert stage.engine.presence_stats("room:a") == PresenceStats(1, 0)


async def test_five_thousand_who_all_watch_through_the_hub() -> None:
    async with staged(app(), max_connections_per_ip=0) as stage:
        players = [stage.connect() for _ in range(5000)]
        for player in players:
            subscribe(stage, player, "room:a", watching=True)
        await tell(stage, "room:a")
        for _ in range(20):
            await stage.settle()
        heard = [player.hear() for player in players]
        assert sum(map(len, heard)) <= news_module.MAX_TELLINGS
        last = {message["connections"] for messages in heard for message in messages if message["event"] == "presence"}
        assert last == {5000}


async def test_what_presence_costs_a_connection() -> None:
    """Its share in the count of users, and nothing else: there may be a million."""
    count = 2000
    async with staged(app(), max_connections_per_ip=0) as stage:
        players = [stage.connect() for _ in range(count)]
        for number, player in enumerate(players):
            name(player, f"user-{number}", {"name": "Ann"})
        sizes = []
        for topic in ("plain:a", "room:a"):
            gc.collect()
            tracemalloc.start()
            for player in players:
                subscribe(stage, player, topic)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
            for player in players:
                unsubscribe(stage, player, topic)
        assert (sizes[1] - sizes[0]) / count < 60


async def test_listing_with_others() -> None:
    async with staged(app()) as stage:
        watcher = stage.connect()
        assert stage.hub.listing("room:a").is_outdated() is False
        topic = subscribe(stage, watcher, "room:a", watching=True)
        stage.hub.listing("room:b").end()
        listing = stage.hub.listing("room:a")
        stage.hub.on_join_leave("room:a", [Change("far-1", "ann", None, joined=True)])
        assert listing.is_outdated() is False
        topic.roll.news.precede("far-1")
        assert listing.is_outdated() is True
        assert listing.is_outdated() is False
        stage.hub.on_crowd("room:a", 1000, 10)
        listing.end()
        await tell(stage, "room:a")
        assert [message["event"] for message in watcher.hear()] == ["join", "presence"]
        stage.hub.on_crowd("room:nobody", 1, 1)
        stage.hub.on_join_leave("room:nobody", [])


async def test_after_an_outage_those_who_watch_are_told_to_ask_again() -> None:
    async with staged(app()) as stage:
        watcher, quiet = stage.connect(), stage.connect()
        subscribe(stage, watcher, "room:a", watching=True)
        subscribe(stage, quiet, "room:a")
        subscribe(stage, quiet, "plain:a")
        await tell(stage, "room:a")
        assert [message["event"] for message in watcher.hear()] == ["join"]
        stage.hub.on_degraded(1)
        stage.hub.on_restored(2)
        await stage.settle()
        await tell(stage, "room:a")
        heard = watcher.hear()
        counts = {"connections": 2, "users": 0, "joined": 0, "left": 0}
        assert {"event": "presence", "topic": "room:a", **counts} in heard
        assert [message["event"] for message in quiet.hear()] == ["degraded", "restored"]


async def test_after_an_outage_the_watchers_of_many_topics_are_told_little_by_little() -> None:
    """Counting takes Redis and this loop some 100 us for each topic, and whoever keeps a list asks after that."""
    async with staged(app()) as stage:
        player, other = stage.connect(), stage.connect()
        topics = [subscribe(stage, player, f"room:{number}", watching=True) for number in range(250)]
        for topic in topics:
            topic.roll.news.flush()
        subscribe(stage, other, "plain:a")
        told: list[int] = []
        asyncio.get_running_loop().call_later(0.01, lambda: told.append(sum(map(is_waiting, topics))))
        stage.hub.on_degraded(1)
        stage.hub.on_restored(2)
        async with asyncio.timeout(30):
            heard: list[str] = []
            while heard.count("presence") < 250:
                await asyncio.sleep(0.01)
                heard += (message["event"] for message in player.hear())
        assert heard.count("presence") == 250
        assert told == [100], "of the others nothing is asked yet"
        stage.hub.on_degraded(3)
        stage.hub.on_restored(4)
        tasks = set(stage.hub._attendance.tasks)
        assert tasks
        stage.hub.on_degraded(5)
        stage.hub.on_restored(6)
        await stage.settle()
        assert all(task.done() for task in tasks)


def is_waiting(topic: Any) -> bool:
    return topic.roll.news._crowded
