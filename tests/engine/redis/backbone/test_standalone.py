"""One server as a backbone: everything that the contract says, over a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from fastws.engine.redis.backbone.standalone import ALL, Standalone
from fastws.engine.redis.resp.address import parse_address
from fastws.engine.redis.resp.errors import AwayError
from tests.support.redis import RedisServer


class Recorder:
    """What a backbone tells."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.changes: list[str] = []
        self.changed = asyncio.Event()

    def on_message(self, channel: bytes, payload: bytes) -> None:
        self.messages.append((channel, payload))
        self.changed.set()

    def on_away(self, partitions: Sequence[int], reason: str) -> None:
        assert partitions == ALL
        assert reason
        self.changes.append("away")
        self.changed.set()

    def on_back(self, partitions: Sequence[int]) -> None:
        assert partitions == ALL
        self.changes.append("back")
        self.changed.set()

    async def until(self, *changes: str) -> None:
        async with asyncio.timeout(30):
            while self.changes != list(changes):
                self.changed.clear()
                await self.changed.wait()

    async def until_heard(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.messages) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.asyncio
async def test_what_is_said_is_heard_over_an_outage(redis: RedisServer) -> None:
    events = Recorder()
    backbone = Standalone(parse_address(redis.url), prefix="fastws")
    await backbone.start(events)
    try:
        assert backbone.is_up(0)
        answer = backbone.subscribe(3, b"a")
        assert answer is not None
        await answer
        assert await backbone.say(3, b"a", b"first") == 1
        await events.until_heard(1)
        redis.stop()
        await events.until("away")
        assert not backbone.is_up(3)
        with pytest.raises(AwayError):
            backbone.call(3, "PING")
        assert backbone.subscribe(4, b"b") is None
        redis.start()
        await events.until("away", "back")
        for channel in (b"a", b"b"):
            assert await backbone.say(4, channel, b"again") == 1
        await events.until_heard(3)
        backbone.unsubscribe(4, b"b")
        assert await backbone.call(4, "PING") == b"PONG"
        assert await backbone.say(4, b"b", b"nobody") == 0
    finally:
        await backbone.stop()
    assert events.messages == [(b"a", b"first"), (b"a", b"again"), (b"b", b"again")]
    assert not backbone.is_up(0)
    assert events.changes == ["away", "back"]
