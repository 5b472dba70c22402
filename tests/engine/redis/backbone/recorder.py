"""What a backbone tells, and clients that use one without a pause."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastws.engine.redis.backbone.contract import Backbone
from fastws.errors import EngineError


class Recorder:
    """Keeps the rules of the contract, too: away and back take turns for each partition."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.away: set[int] = set()
        self.outages: Counter[int] = Counter()
        """How often each partition was away."""
        self.reasons: list[str] = []
        self._changed = asyncio.Event()

    def on_message(self, channel: bytes, payload: bytes) -> None:
        self.messages.append((channel, payload))
        self._changed.set()

    def on_away(self, partitions: Sequence[int], reason: str) -> None:
        assert partitions
        assert reason
        assert not self.away & set(partitions), "told once until it is back"
        self.away.update(partitions)
        self.outages.update(partitions)
        self.reasons.append(reason)
        self._changed.set()

    def on_back(self, partitions: Sequence[int]) -> None:
        assert partitions
        assert self.away >= set(partitions), "it was not away"
        self.away.difference_update(partitions)
        self._changed.set()

    async def until(self, condition: Callable[[], object], within_s: float = 30.0) -> None:
        """Wait for something that only changes when this is told something."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_whole(self) -> None:
        """Until an outage has come, and is over."""
        await self.until(lambda: self.outages and not self.away)


@asynccontextmanager
async def started(backbone: Backbone) -> AsyncIterator[Recorder]:
    """Start it, and stop it in the end."""
    events = Recorder()
    await backbone.start(events)
    try:
        yield events
    finally:
        await backbone.stop()


class Writer:
    """Appends numbers to a list of a partition, one after the other, and remembers which were acknowledged."""

    def __init__(self, backbone: Backbone, partition: int, key: bytes) -> None:
        self._backbone = backbone
        self._partition = partition
        self.key = key
        self.acknowledged: list[int] = []
        self.failed: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.last_success_at = 0.0
        self._number = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            number, self._number = self._number, self._number + 1
            begun = loop.time()
            try:
                await self._backbone.call(self._partition, "RPUSH", self.key, number)
            except EngineError as error:
                self.failed[type(error).__name__] += 1
            else:
                self.acknowledged.append(number)
                self.last_success_at = loop.time()
            self.slowest_s = max(self.slowest_s, loop.time() - begun)
            await asyncio.sleep(0.002)

    async def until_written(self, count: int) -> None:
        """Until so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(30):
            while len(self.acknowledged) < wanted:
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def kept(self) -> list[int]:
        """What Redis has."""
        kept = await self._backbone.call(self._partition, "LRANGE", self.key, 0, -1)
        assert isinstance(kept, list)
        return [int(number) for number in kept]
