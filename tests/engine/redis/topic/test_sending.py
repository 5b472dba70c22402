"""What is published reaches everybody in one order, and is kept first where it is kept."""

import asyncio
from typing import Any

import pytest

from fastws.core.publication import Position, Retention
from fastws.engine.contract import Outgoing
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.names import HISTORY, Names
from fastws.engine.redis.resp.address import parse_address
from fastws.engine.redis.resp.errors import ReplicasError
from fastws.engine.redis.resp.link import DEFAULT_TUNING
from fastws.engine.redis.topic import sending
from fastws.errors import EngineError, InternalError
from fastws.types import Published
from tests.engine.redis.pairs import Pair, stand_still
from tests.engine.redis.topic.node import KEPT, Node, eventually, nodes
from tests.support.redis import RedisServer
from tests.support.waiting import Stopwatch

pytestmark = pytest.mark.asyncio

kept_or_not = pytest.mark.parametrize("retention", [KEPT, None])


@kept_or_not
async def test_two_processes_hear_what_two_publish_in_one_order(
    redis_server: RedisServer, prefix: str, retention: Retention | None
) -> None:
    async with nodes(redis_server, prefix, 2) as both:
        for node in both:
            await node.join("news")
        await asyncio.gather(
            *(node.publish("news", b"%d" % number, retention) for number in range(100) for node in both)
        )
        for node in both:
            await node.hears(200)
        assert both[0].data == both[1].data
        assert sorted(both[0].data) == sorted([b"%d" % number for number in range(100)] * 2)
        if retention is not None:
            assert [entry[1].offset for entry in both[0].hub.publications] == list(range(1, 201))


async def test_who_publishes_is_told_where_it_is(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix, 2) as (first, second):
        await first.join("news")
        one, two = await asyncio.gather(first.publish("news", b"1"), first.publish("news", b"2"))
        three = await second.publish("news", b"3")
        assert [one.offset, two.offset, three.offset] == [1, 2, 3]
        assert one.epoch == two.epoch == three.epoch
        assert (three.duplicate, three.degraded, three.nodes) == (False, False, 1)
        assert await second.publish("unheard", b"1", None) == Published(None, None, duplicate=False, nodes=0)
        await first.hears(3)
        assert [(entry[1].offset, entry[3]) for entry in first.hub.publications] == [
            (offset, one.epoch) for offset in (1, 2, 3)
        ]


async def test_everything_about_it_arrives(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix, 2) as (first, second):
        await first.join("news")
        author: dict[str, Any] = {"user": "ann", "conn": "n-1", "exclude": "n-2"}
        await second.publish("news", b'{"a":1}', **author)
        await second.publish("news", b'{"a":1}', None, **author)
        await first.hears(2)
        for _, publication, exclude, _ in first.hub.publications:
            assert (publication.data, publication.user, publication.conn) == (b'{"a":1}', "ann", "n-1")
            assert exclude == publication.exclude == "n-2"
            assert abs(publication.ts_ms - first.hub.publications[0][1].ts_ms) < 60_000


@kept_or_not
async def test_a_key_is_taken_once_by_whichever_process(
    redis_server: RedisServer, prefix: str, retention: Retention | None
) -> None:
    async with nodes(redis_server, prefix, 2) as (first, second):
        await first.join("news")
        before = await first.publish("news", b"0", retention)
        answers = await asyncio.gather(
            *(node.publish("news", b"1", retention, key="k") for node in (first, second) for _ in range(5))
        )
        assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 9
        assert {answer.offset for answer in answers} == {None if retention is None else 2}
        assert {answer.epoch for answer in answers} == {before.epoch}
        assert not (await first.publish("news", b"2", retention, key="k" * 500)).duplicate
        assert not (await first.publish("other", b"3", retention, key="k")).duplicate
        await first.hears(3)
        assert first.data == [b"0", b"1", b"2"]


@kept_or_not
async def test_a_key_is_forgotten_some_day(
    redis_server: RedisServer, prefix: str, retention: Retention | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_IDEMPOTENCY_S", 1)
    async with nodes(redis_server, prefix) as node:
        watch = Stopwatch()
        await node.publish("news", b"1", retention, key="k")
        again = await node.publish("news", b"1", retention, key="k")
        assert again.duplicate or watch.s >= 1
        if again.duplicate:
            await asyncio.sleep(1.05)
            assert not (await node.publish("news", b"1", retention, key="k")).duplicate


async def test_a_key_from_before_the_topic_had_a_history(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.publish("news", b"1", None, key="k")
        assert await node.publish("news", b"1", KEPT, key="k") == Published(None, None, duplicate=True, nodes=0)
        await node.publish("news", b"1", KEPT, key="l")
        assert await node.publish("news", b"1", None, key="l") == Published(None, None, duplicate=True, nodes=0)


@kept_or_not
async def test_with_a_key_or_without_it_order_is_kept(
    redis_server: RedisServer, prefix: str, retention: Retention | None
) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.join("news")
        keys = [None, "a", None, None, "b", "c", None]
        await asyncio.gather(
            *(node.publish("news", b"%d" % number, retention, key=key) for number, key in enumerate(keys))
        )
        await node.hears(7)
        assert node.data == [b"%d" % number for number in range(7)]


@kept_or_not
async def test_what_one_pass_publishes_goes_out_in_bounded_batches(
    redis_server: RedisServer, prefix: str, retention: Retention | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("say", "run"):
        real = getattr(Standalone, name)

        def counted(*given: Any, _real: Any = real, _name: str = name) -> Any:
            asked.append(_name)
            return _real(*given)

        monkeypatch.setattr(Standalone, name, counted)
    async with nodes(redis_server, prefix) as node:
        await node.join("news")
        await asyncio.gather(*(node.publish("news", b"1", retention) for _ in range(600)))
        assert len(asked) == 3
        asked.clear()
        await asyncio.gather(*(node.publish("news", b'"%s"' % (b"x" * 30_000), retention) for _ in range(6)))
        assert len(asked) == 2
        await node.hears(606)


@kept_or_not
async def test_who_does_not_wait_any_more_takes_nothing_from_others(
    redis_server: RedisServer, prefix: str, retention: Retention | None
) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.join("news")
        tasks = [asyncio.create_task(node.publish("news", b"%d" % number, retention)) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, Published) for result in done] == [True, False, True]
        await node.hears(3)


async def test_what_fails_unexpectedly_stops_nobody_else(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.join("news", "sport")
        say = node.backbone.say

        def fail_once(*given: Any) -> Any:
            monkeypatch.setattr(node.backbone, "say", say)
            raise ValueError("bug")

        monkeypatch.setattr(node.backbone, "say", fail_once)
        done = await asyncio.wait_for(
            asyncio.gather(*(node.publish(topic, b"1", None) for topic in ("news", "sport")), return_exceptions=True), 5
        )
        assert [type(answer) for answer in done] == [InternalError, Published]
        assert "bug" in caplog.text
        await node.publish("news", b"2", None)
        await node.hears(2)
        assert node.data == [b"1", b"2"]


@pytest.mark.parametrize("user", ["u" * 65536, "é" * 40_000])
async def test_a_user_whose_name_no_envelope_has_room_for(redis_server: RedisServer, prefix: str, user: str) -> None:
    async with nodes(redis_server, prefix) as node:
        with pytest.raises(EngineError, match="too long"):
            node.topics.publish(Outgoing("news", b"1", None, user))


async def test_what_was_published_before_the_end_is_sent(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix, 2) as (first, second):
        await first.join("news")
        answers = [second.topics.publish(Outgoing("news", b"1", retention)) for retention in (None, KEPT)]
        await second.stop()
        await first.hears(2)
        for answer in answers:
            assert not isinstance(answer, Published)
            await answer
        await second.join("news")
        for retention in (None, KEPT):
            with pytest.raises(EngineError, match="away"):
                await second.publish("news", b"2", retention)


# Redis is away.


async def gone(server: RedisServer, node: Node) -> None:
    server.stop()
    await eventually(lambda: node.away == [True])


async def test_alone_it_publishes_to_those_who_are_here_what_needs_nobody_else(prefix: str) -> None:
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            await node.join("news")
            await gone(server, node)
            answer = node.topics.publish(Outgoing("news", b"1", None, "ann", "n-1", None, "n-1"))
            assert answer == Published(None, None, duplicate=False, degraded=True)
            assert node.data == [b"1"]
            assert node.hub.publications[0][2:] == ("n-1", "")
            assert node.topics.publish(Outgoing("unheard", b"1")) == answer
            assert node.data == [b"1"]
            for retention, key in ((KEPT, None), (None, "k"), (KEPT, "k")):
                with pytest.raises(EngineError, match="away"):
                    node.topics.publish(Outgoing("news", b"1", retention, key=key))


@pytest.mark.parametrize(("retention", "key"), [(KEPT, None), (None, None), (None, "k"), (KEPT, "k")])
async def test_what_was_on_its_way_when_redis_went_away_fails(
    prefix: str, retention: Retention | None, key: str | None
) -> None:
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            server.pause()
            publishing = asyncio.create_task(node.publish("news", b"1", retention, key=key))
            await asyncio.sleep(0.01)
            server.stop()
            with pytest.raises(EngineError):
                await asyncio.wait_for(publishing, 30)


async def test_a_redis_without_memory_refuses_and_keeps_what_it_has(prefix: str) -> None:
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            await node.join("news")
            first = await node.publish("news", b"1")
            server.config("maxmemory", "1")
            for key in (None, "k"):
                with pytest.raises(EngineError, match="OOM"):
                    await node.publish("news", b"2", key=key)
            server.config("maxmemory", "0")
            again = await node.publish("news", b"3", key="k")
            assert (again.epoch, again.offset, again.duplicate) == (first.epoch, 2, False)


async def test_a_key_is_not_known_before_it_was_published(prefix: str) -> None:
    users = {"fastws": "on >secret ~* +@all resetchannels &*:ask:* &*:ans:*"}
    with RedisServer(users=users) as server:
        address = server.url.replace("redis://", "redis://fastws:secret@")
        node = Node(parse_address(address), prefix, "n")
        await node.start()
        try:
            for _ in range(2):
                with pytest.raises(EngineError, match="can't publish"):
                    await node.publish("news", b"1", None, key="k")
            server.ask("ACL", "SETUSER", "fastws", "allchannels")
            assert not (await node.publish("news", b"1", None, key="k")).duplicate
            assert (await node.publish("news", b"1", None, key="k")).duplicate
        finally:
            await node.stop()


@pytest.mark.parametrize("kind", ["SET", "ZADD"])
async def test_something_else_where_the_history_should_be(redis_server: RedisServer, prefix: str, kind: str) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.publish("news", b"1")
        key = node.common.names.of(b"h", "news")
        redis_server.ask("DEL", key)
        redis_server.ask(*([kind, key, "x"] if kind == "SET" else [kind, key, 1, "x"]))
        with pytest.raises(EngineError, match="WRONGTYPE"):
            await node.publish("news", b"2")
        with pytest.raises(EngineError, match="WRONGTYPE"):
            await node.topics.recover("news", KEPT, Position("x", 1))


async def test_what_no_replica_has_is_not_answered_as_stored(pair: Pair, prefix: str) -> None:
    """It is heard at once, and may be repeated: wherever that is, it is the same, and stored when replicas have it."""
    safe = DEFAULT_TUNING._replace(min_replicas=1, replicas_s=0.05)
    async with nodes(pair.master, prefix, 2, tuning=safe) as (first, second):
        await first.join("news")
        stand_still(pair.replica)
        for node in (first, second):
            with pytest.raises(ReplicasError, match="it was stored, but may get lost yet: 0 of 1 replicas"):
                await node.publish("news", b"1", key="k")
        await first.hears(1)
        with pytest.raises(ReplicasError):
            await first.publish("news", b"2")
        assert await second.publish("news", b"3", None) == Published(None, None, duplicate=False, nodes=1)
        await first.hears(3)
        assert first.data == [b"1", b"2", b"3"]
        pair.replica.resume()
        async with asyncio.timeout(30):
            while True:
                try:
                    again = await second.publish("news", b"1", key="k")
                    break
                except ReplicasError:
                    await asyncio.sleep(0.01)
        assert (again.offset, again.duplicate) == (1, True)
        assert pair.replica.ask("XLEN", Names(prefix).of(HISTORY, "news")) == 2
        assert first.data == [b"1", b"2", b"3"]


async def test_a_key_that_comes_again_is_remembered_no_longer_for_that(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.publish("news", b"1", key="k")
        (name,) = redis_server.ask("KEYS", f"{prefix}:*:k:*")  # type: ignore[misc]
        before = redis_server.ask("PEXPIRETIME", name)
        assert (await node.publish("news", b"1", key="k")).duplicate
        assert redis_server.ask("PEXPIRETIME", name) == before
