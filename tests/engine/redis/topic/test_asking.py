"""Lists of topics, from all processes."""

import asyncio
from typing import Any

import msgspec
import pytest

from fastws.engine.redis.envelope import ANSWER, QUESTION, pack
from fastws.engine.redis.names import HOME, partition_of
from fastws.engine.redis.topic import asking
from fastws.errors import EngineError
from fastws.types import TopicInfo
from tests.engine.redis.topic.node import Node, eventually, nodes
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio


async def listed(node: Node, pattern: str = "*") -> dict[str, int]:
    found: Any = await node.topics.topics("", pattern)  # type: ignore[misc]
    return {info.topic: info.subscribers for info in found}


async def test_subscribers_of_all_processes_count(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix, 3) as (first, second, third):
        first.hub.topics = [TopicInfo("news", 2), TopicInfo("sport", 1)]
        second.hub.topics = [TopicInfo("news", 3)]
        assert await listed(third) == await listed(first) == {"news": 5, "sport": 1}
        assert await listed(third, "s*") == {"sport": 1}
        assert await listed(third, "x*") == {}
        assert await listed(third, "\ud800*") == {}


async def test_long_lists_come_in_parts(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_AT_ONCE", 10)
    monkeypatch.setattr(asking, "MAX_TOPICS", 90)
    async with nodes(redis_server, prefix, 2) as (first, second):
        first.hub.topics = [TopicInfo(f"t{number}", 1) for number in range(80)]
        second.hub.topics = [TopicInfo(f"t{number}", 1) for number in range(20, 50)]
        found = await listed(second)
        assert found == {f"t{number}": 1 + (20 <= number < 50) for number in range(80)}
        second.hub.topics = [TopicInfo(f"u{number}", 1) for number in range(80)]
        assert len(await listed(first)) == 90


async def test_who_does_not_answer_is_not_waited_for_for_ever(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_S", 2.0)
    async with nodes(redis_server, prefix, 2) as (first, second):
        first.hub.topics = second.hub.topics = [TopicInfo("news", 1)]
        monkeypatch.setattr(second.topics._asking, "_answer", lambda _: asyncio.sleep(0))
        assert await listed(first) == {"news": 1}


async def test_as_many_lists_as_may_be_are_asked_for_at_once(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_MAX_WAITING", 2)
    async with nodes(redis_server, prefix) as node:
        node.hub.topics = [TopicInfo("news", 1)]
        asked = [node.topics.topics("", "*") for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(EngineError, match="too many"):
            node.topics.topics("", "*")
        await asyncio.gather(*asked)
        assert await listed(node) == {"news": 1}


@pytest.mark.parametrize(
    "payload", [b"", b"\x01\x06", b"\x01\x07", b"\x02\x06x", b"\x01\x06\xff", b"\x01\x07\x93\x01\xc3\xa2\xff\xfe"]
)
async def test_what_is_no_question_and_no_answer_is_left_out(
    redis_server: RedisServer, prefix: str, payload: bytes
) -> None:
    async with nodes(redis_server, prefix) as node:
        for hear in (node.topics._asking._hear_question, node.topics._asking._hear_answer):
            hear(payload)
        late = asking._Answer(99, True, [("news", 1)])
        node.topics._asking._hear_answer(pack(ANSWER, msgspec.msgpack.encode(late)))
        question = msgspec.msgpack.encode(asking._Question("nobody", 1, b"", b"*"))
        await node.backbone.say(HOME, node.common.names.key(b"ask", HOME), pack(QUESTION, question))
        assert sum(node.common.unreadable.values()) == 2
        assert await listed(node) == {}
        assert partition_of("nobody") != HOME


async def test_nobody_is_asked_while_redis_is_away(prefix: str) -> None:
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            server.stop()
            await eventually(lambda: node.away == [True])
            with pytest.raises(EngineError, match="away"):
                node.topics.topics("", "*")
