"""One topic: codecs, policies, keys of conflation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.core.publication import Publication
from fastws.core.topics import Namespace
from fastws.hub.topic import Topic
from fastws_ext.loop_data import LoopData
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio


async def test_each_codec_that_is_spoken_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []

    async with staged() as stage:
        hearers = [stage.connect(subprotocol=JSON) for _ in range(3)]
        for hearer in hearers:
            hearer.ask("sub", topic="t")
        from fastws.core.codecs import msgpack_binary

        original = msgpack_binary._core
        monkeypatch.setattr(msgpack_binary, "_core", lambda p: encoded.append("msgpack") or original(p))
        topic = stage.hub.topics["t"]
        assert topic.deliver(Publication(b"1", 5)) == 3
        assert encoded == []
        other = stage.connect(subprotocol=MSGPACK)
        other.ask("sub", topic="t")
        assert topic.deliver(Publication(b"2", 5)) == 4
        assert encoded == ["msgpack"]
        await stage.settle()
        assert [heard["data"] for heard in hearers[0].hear()] == [1, 2]
        assert other.hear_one()["data"] == 2


@pytest.mark.parametrize(("policy", "number"), [("disconnect", 0), ("drop_oldest", 1), ("conflate", 2)])
async def test_policies(policy: str, number: int) -> None:
    loop_data = LoopData(asyncio.get_running_loop())
    assert Topic(loop_data, "t", "t", Namespace(slow_policy=policy)).audience.policy == number


@pytest.mark.parametrize(
    ("field", "data", "key"),
    [
        ("", b'{"symbol":"A"}', b""),
        ("symbol", b'{"symbol":"A"}', b'"A"'),
        ("symbol", b'{"symbol":{"x":1},"v":2}', b'{"x":1}'),
        ("symbol", b'{"other":1}', b""),
        ("symbol", b"5", b""),
        ("symbol", b'["symbol"]', b""),
    ],
)
async def test_what_conflates_with_what(field: str, data: bytes, key: bytes) -> None:
    loop_data = LoopData(asyncio.get_running_loop())
    topic = Topic(loop_data, "t", "t", Namespace(slow_policy="conflate", conflate_key=field))
    asked: list[Any] = []

    class Recording:
        policy = 2

        def count(self, codec: int) -> int:
            return 0

        def publish(self, frames: Any, exclude: Any, key: Any) -> int:
            asked.append((frames, exclude, key))
            return 0

    topic.audience = Recording()  # type: ignore[assignment]
    topic.deliver(Publication(data, 1))
    assert asked == [((None, None), None, key)]
