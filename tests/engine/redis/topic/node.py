"""The topics of one process, with a real Redis and without the rest of the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastws.core.publication import Publication, Retention
from fastws.engine.contract import Outgoing
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.common import Common
from fastws.engine.redis.names import TOPIC, Names, partition_of
from fastws.engine.redis.resp.address import Address, parse_address
from fastws.engine.redis.resp.link import DEFAULT_TUNING, Tuning
from fastws.engine.redis.topics import Topics
from fastws.types import Published, TopicInfo
from tests.support.redis import RedisServer

KEPT = Retention(5, 0.0)


async def eventually(condition: Callable[[], object], what: str = "", timeout: float = 30.0) -> None:
    """Wait until a condition is met; the loop goes on meanwhile."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        await asyncio.sleep(0.002)


class Heard:
    """The hub: notes what it is told."""

    def __init__(self) -> None:
        self.publications: list[tuple[str, Publication, str, str]] = []
        self.topics: list[TopicInfo] = []

    def on_publication(self, topic: str, publication: Publication, exclude: str, epoch: str) -> None:
        self.publications.append((topic, publication, exclude, epoch))

    def topics_of(self, tenant: str, pattern: str) -> Sequence[TopicInfo]:
        return [info for info in self.topics if info.topic.startswith(pattern.removesuffix("*"))]


class Node:
    """One process."""

    def __init__(self, address: Address, prefix: str, name: str, tuning: Tuning = DEFAULT_TUNING) -> None:
        self.backbone = Standalone(address, prefix=prefix, tuning=tuning)
        self.common = Common(self.backbone, Names(prefix), name)
        self.topics = Topics(self.common)
        self.hub = Heard()
        self.away: list[bool] = []

    async def start(self) -> None:
        self.common.events = self.hub  # type: ignore[assignment]
        await self.backbone.start(self)
        await self.topics.start()

    async def stop(self) -> None:
        self.topics.stop()
        self.common.events = None
        await self.backbone.stop()

    def on_message(self, channel: bytes, payload: bytes) -> None:
        if not self.topics.channels.hear(channel, payload) and channel in self.common.listeners:
            self.common.listeners[channel](payload)

    def on_away(self, partitions: Sequence[int], reason: str) -> None:
        self.away.append(True)

    def on_back(self, partitions: Sequence[int]) -> None:
        self.away.append(False)

    # What tests do with it.

    @property
    def data(self) -> list[bytes]:
        """What was heard, in its order."""
        return [publication.data for _, publication, _, _ in self.hub.publications]

    async def join(self, *topics: str) -> None:
        for topic in topics:
            answer = self.topics.join(topic)
            if answer is not None:
                await answer

    async def publish(self, topic: str, data: bytes, retention: Retention | None = KEPT, **more: Any) -> Published:
        answer = self.topics.publish(Outgoing(topic, data, retention, **more))
        return answer if isinstance(answer, Published) else await answer

    async def say(self, topic: str, payload: bytes) -> None:
        """Publish bytes as they are."""
        await self.backbone.say(partition_of(topic), self.common.names.of(TOPIC, topic), payload)

    async def hears(self, count: int) -> None:
        """Wait until it has heard so many publications."""
        await eventually(lambda: len(self.hub.publications) >= count, f"{count} publications")


@asynccontextmanager
async def nodes(
    server: RedisServer, prefix: str, count: int = 1, tuning: Tuning = DEFAULT_TUNING
) -> AsyncIterator[Any]:
    """So many processes that share a Redis; one by itself, or a list."""
    made = [Node(parse_address(server.url), prefix, f"n{number}", tuning) for number in range(count)]
    started = []
    try:
        for node in made:
            await node.start()
            started.append(node)
        yield made if count > 1 else made[0]
    finally:
        for node in started:
            await node.stop()
