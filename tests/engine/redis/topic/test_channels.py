"""Channels are heard while their topics are joined, and a moment longer."""

import asyncio
from typing import Any

import pytest

from fastws.core.publication import Publication
from fastws.engine.redis import envelope
from fastws.engine.redis.names import TOPIC
from fastws.engine.redis.resp.errors import ReplyError
from fastws.engine.redis.topic import channels
from fastws.errors import EngineError
from tests.engine.redis.keys import name_in
from tests.engine.redis.topic.node import Node, eventually, nodes
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio


def heard_by_redis(server: RedisServer, prefix: str) -> set[str]:
    """The topics whose channels somebody hears."""
    found = server.ask("PUBSUB", "CHANNELS", f"{prefix}:*")
    assert isinstance(found, list)
    return {name_in(channel) for channel in found if b"}:" + TOPIC + b":" in channel}


async def test_a_topic_is_heard_when_join_has_answered(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix, 2) as (first, second):
        await first.join("news")
        assert (await second.publish("news", b"1", None)).nodes == 1
        await first.hears(1)
        assert second.data == []


@pytest.mark.parametrize("topic", ["a}b{c", "*?[x]", "é\n", "\0canary:n", "acme\0news", "t" * 255])
async def test_any_name_is_a_topic(redis_server: RedisServer, prefix: str, topic: str) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.join(topic)
        await node.publish(topic, b"1")
        await node.hears(1)
        assert node.hub.publications[0][0] == topic


async def test_who_joins_again_while_the_first_is_not_confirmed_waits_as_well(
    redis_server: RedisServer, prefix: str
) -> None:
    async with nodes(redis_server, prefix) as node:
        first = node.topics.join("news")
        assert first is not None
        node.topics.leave("news")
        second = node.topics.join("news")
        assert second is not None
        first.cancel()
        await second
        assert node.topics.join("news") is None
        await node.publish("news", b"1", None)
        await node.hears(1)


async def test_a_topic_that_was_left_is_not_told_and_costs_nothing_if_somebody_comes_back(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "LINGER_S", 60.0)
    async with nodes(redis_server, prefix) as node:
        await node.join("news", "sport")
        node.topics.leave("news")
        await node.publish("news", b"1", None)
        await node.publish("sport", b"2", None)
        await node.hears(1)
        assert node.topics.join("news") is None
        node.topics.leave("news")
        assert node.topics.join("news") is None
        await node.publish("news", b"3", None)
        await node.hears(2)
        assert node.data == [b"2", b"3"]
        node.topics.leave("news")
        monkeypatch.setattr(channels, "LINGER_S", 0.01)
        node.topics.channels._sweep()  # it is time
        await eventually(lambda: heard_by_redis(redis_server, prefix) == {"sport"})
        assert node.common.unreadable == {}
        await node.join("news")
        await node.publish("news", b"4", None)
        await node.hears(3)


async def test_very_many_topics_are_left_a_part_at_a_time(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "LINGER_S", 0.01)
    monkeypatch.setattr(channels, "_LEFT_AT_ONCE", 10)
    names = [f"t{number}" for number in range(95)]
    async with nodes(redis_server, prefix) as node:
        await node.join(*names)
        assert len(heard_by_redis(redis_server, prefix)) == 95
        for name in names[1:]:
            node.topics.leave(name)
        await eventually(lambda: heard_by_redis(redis_server, prefix) == {"t0"})
        await eventually(lambda: node.topics.channels._sweeper is None)


async def test_nothing_is_left_behind_when_it_stops(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.join("news")
        node.topics.leave("news")
    assert node.topics.channels._sweeper is None
    await eventually(lambda: not heard_by_redis(redis_server, prefix))


async def test_a_topic_that_may_not_be_heard_cannot_be_joined_before_it_may(prefix: str) -> None:
    users = {"fastws": "on >secret ~* +@all resetchannels &*:ask:* &*:ans:*"}
    with RedisServer(users=users) as server:
        url = server.url.replace("redis://", "redis://fastws:secret@")
        async with nodes(_At(url), prefix) as node:  # type: ignore[arg-type]
            for is_left in (True, False, False):
                with pytest.raises(EngineError, match="NOPERM"):
                    await node.join("news")
                if is_left:
                    node.topics.leave("news")  # who tries again at once is refused as well
            server.ask("ACL", "SETUSER", "fastws", "allchannels")
            await node.join("news")
            await node.publish("news", b"1", None)
            await node.hears(1)


async def test_what_was_refused_just_before_redis_went_away_is_not_taken_for_heard(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(redis_server, prefix) as node:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(node.backbone, "subscribe", lambda *_: answer)
        joining = node.topics.join("news")
        assert joining is not None
        monkeypatch.setattr(node.backbone, "is_up", lambda _: False)
        answer.set_exception(ReplyError("NOPERM", "NOPERM this user may not"))
        with pytest.raises(EngineError, match="NOPERM"):
            await joining
        assert not node.topics.channels.is_joined("news")


class _At:
    """A server under another address."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        b"\x02\x01" + bytes(40) + b"1",
        b"\x01\x09body",
        b"\x01\x05letter",
        b"\x01\x01cut",
        b"\x01\x02\0\0\0\xffcut",
        b"\xff" * 300,
    ],
)
async def test_what_cannot_be_read_is_counted_and_left_out(
    redis_server: RedisServer, prefix: str, payload: bytes
) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.join("news")
        await node.say("news", payload)
        await node.publish("news", b"1", None)
        await node.hears(1)
        assert node.data == [b"1"]
        assert node.common.unreadable == {"publication": 1}


async def test_a_hub_that_raises_does_not_end_the_link(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(redis_server, prefix) as node:
        await node.join("news")
        tell = node.hub.on_publication

        def choose(topic: str, publication: Publication, *more: Any) -> None:
            if publication.data == b"{":
                raise ValueError("no JSON")
            tell(topic, publication, *more)

        monkeypatch.setattr(node.hub, "on_publication", choose)
        await asyncio.gather(*(node.publish("news", data, None) for data in (b"1", b"{", b"2")))
        await node.hears(2)
        assert node.data == [b"1", b"2"]
        assert node.common.unreadable == {"publication": 1}


async def test_other_kinds_go_to_those_who_know_them(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        told: list[tuple[str, bytes]] = []
        node.common.kinds[envelope.CHANGES] = lambda topic, payload: told.append((topic, payload))
        await node.join("news")
        await node.say("news", envelope.pack(envelope.CHANGES, b"who"))
        await node.publish("news", b"1", None)
        await node.hears(1)
        assert told == [("news", b"\x01\x03who")]


async def test_while_redis_is_away_a_topic_is_joined_at_once_and_heard_when_it_is_back(prefix: str) -> None:
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            await node.join("before")
            server.stop()
            await eventually(lambda: node.away == [True])
            assert node.topics.join("meanwhile") is None
            server.start()
            await eventually(lambda: node.away == [True, False])
            await node.publish("before", b"1", None)
            await node.publish("meanwhile", b"2", None)
            await node.hears(2)


async def test_a_join_that_waits_when_redis_goes_away_is_done(prefix: str) -> None:
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            server.pause()
            joining = node.topics.join("news")
            assert joining is not None
            await asyncio.sleep(0)
            server.resume()
            server.stop()
            await asyncio.wait_for(joining, 30)
            server.start()
            await eventually(lambda: node.away == [True, False])
            await node.publish("news", b"1", None)
            await node.hears(1)


async def test_an_engine_that_has_stopped_hears_nothing(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        assert isinstance(node, Node)
        assert node.topics.channels.hear(b"another channel", b"") is False
