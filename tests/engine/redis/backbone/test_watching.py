"""Whom sentinels are believed to name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from fastws.engine.redis.backbone.watching import Watch
from fastws.engine.redis.resp.address import Address
from fastws.errors import EngineError
from tests.engine.redis.backbone.fake import SILENT, FakeSentinel
from tests.support.sentinel import SentinelFleet


class Watcher:
    """A watch, and what it has said."""

    def __init__(self, ports: Sequence[int], name: str = "mymaster", protocol: int = 3) -> None:
        self.named: list[tuple[str, int]] = []
        addresses = [Address("127.0.0.1", port, protocol=protocol) for port in ports]
        self.watch = Watch(addresses, name, self._on_master)
        self._changed = asyncio.Event()

    def _on_master(self, host: str, port: int) -> None:
        self.named.append((host, port))
        self._changed.set()

    async def until(self, port: int) -> None:
        """Wait until this one is named."""
        async with asyncio.timeout(30):
            while not self.named or self.named[-1][1] != port:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def watching(sentinels: Sequence[FakeSentinel]) -> AsyncIterator[Watcher]:
    async with AsyncExitStack() as stack:
        for sentinel in sentinels:
            await stack.enter_async_context(sentinel)
        watcher = Watcher([sentinel.port for sentinel in sentinels])
        try:
            yield watcher
        finally:
            await watcher.watch.stop()


@pytest.mark.asyncio
async def test_a_switch_is_followed_when_it_is_said(sentinel_fleet: SentinelFleet) -> None:
    watcher = Watcher([sentinel.port for sentinel in sentinel_fleet.sentinels])
    old = sentinel_fleet.master
    assert await watcher.watch.start(5.0) == ("127.0.0.1", old.port)
    await asyncio.to_thread(sentinel_fleet.fail_over)
    await watcher.until(sentinel_fleet.master.port)
    assert len(watcher.named) == 2
    await watcher.watch.stop()


@pytest.mark.asyncio
async def test_a_name_that_nobody_knows(sentinel_fleet: SentinelFleet) -> None:
    watcher = Watcher([sentinel.port for sentinel in sentinel_fleet.sentinels], "nobody")
    with pytest.raises(EngineError, match="called 'nobody': check sentinel_master_name") as caught:
        await watcher.watch.start(5.0)
    assert not caught.value.temporary
    await watcher.watch.stop()


@pytest.mark.asyncio
async def test_sentinels_that_are_not_there() -> None:
    async with FakeSentinel(1, 1) as sentinel:
        port = sentinel.port
    watcher = Watcher([port])
    with pytest.raises(EngineError, match="no sentinel answers"):
        await watcher.watch.start(0.3)
    await watcher.watch.stop()


@pytest.mark.asyncio
async def test_the_largest_epoch_is_believed() -> None:
    sentinels = [FakeSentinel(3, 1003), FakeSentinel(5, 1005), FakeSentinel(4, 1004)]
    async with watching(sentinels) as watcher:
        assert await watcher.watch.start(5.0) == ("127.0.0.1", 1005)
        sentinels[0].switch(4, 1004)
        sentinels[2].switch(6, 1006)
        await watcher.until(1006)
        assert [port for _, port in watcher.named][-2:] == [1005, 1006]


@pytest.mark.asyncio
async def test_one_that_is_cut_off_is_not_believed_when_the_others_are_gone() -> None:
    sentinels = [FakeSentinel(5, 1005), FakeSentinel(5, 1005), FakeSentinel(4, 1004)]
    async with watching(sentinels) as watcher:
        await watcher.watch.start(5.0)
        for sentinel in sentinels[:2]:
            await sentinel.__aexit__(None, None, None)
        asked = len(sentinels[2].asked)
        watcher.watch.hurry(True)
        async with asyncio.timeout(30):
            while len(sentinels[2].asked) < asked + 6:
                await asyncio.sleep(0.01)
        assert watcher.watch.place == ("127.0.0.1", 1005)


@pytest.mark.asyncio
async def test_a_smaller_epoch_that_most_say_is_believed() -> None:
    """They were set up anew."""
    sentinels = [FakeSentinel(5, 1005) for _ in range(3)]
    async with watching(sentinels) as watcher:
        await watcher.watch.start(5.0)
        for sentinel in sentinels:
            sentinel.switch(0, 1000)
        await watcher.until(1000)
        assert len(watcher.named) == 2


@pytest.mark.asyncio
async def test_the_leader_knows_first() -> None:
    """The others still name the old one, and are more."""
    sentinels = [FakeSentinel(5, 1005) for _ in range(3)]
    async with watching(sentinels) as watcher:
        await watcher.watch.start(5.0)
        sentinels[0].switch(6, 1006)
        await watcher.until(1006)
        asked = [len(sentinel.asked) for sentinel in sentinels]
        watcher.watch.hurry(True)
        async with asyncio.timeout(30):
            while any(len(sentinel.asked) < before + 6 for sentinel, before in zip(sentinels, asked, strict=True)):
                await asyncio.sleep(0.01)
        assert [port for _, port in watcher.named] == [1005, 1006]


@pytest.mark.asyncio
async def test_one_that_must_not_be_listened_to_is_asked() -> None:
    sentinel = FakeSentinel(5, 1005)
    told = sentinel.answer
    sentinel.answer = lambda words: b"-NOPERM you may not\r\n" if words[0] == b"SUBSCRIBE" else told(words)
    async with watching([sentinel]) as watcher:
        await watcher.watch.start(5.0)
        watcher.watch.hurry(False)
        sentinel.epoch, sentinel.named = 6, 1006
        await watcher.until(1006)
        assert sum(words[0] == b"HELLO" for words in sentinel.asked) == 1


@pytest.mark.asyncio
async def test_in_resp2_they_are_asked(sentinel_fleet: SentinelFleet) -> None:
    watcher = Watcher([sentinel.port for sentinel in sentinel_fleet.sentinels], protocol=2)
    try:
        await watcher.watch.start(5.0)
        watcher.watch.hurry(False)
        await asyncio.to_thread(sentinel_fleet.fail_over)
        await watcher.until(sentinel_fleet.master.port)
    finally:
        await watcher.watch.stop()


@pytest.mark.parametrize(
    ("epoch", "port", "host"),
    [(None, 1, "h"), ("x", 1, "h"), (1, 0, "h"), (1, 70000, "h"), (1, None, "h"), (1, 1, ""), (1, 1, "h" * 300)],
)
@pytest.mark.asyncio
async def test_what_cannot_be_is_not_believed(epoch: object, port: object, host: object) -> None:
    good = FakeSentinel(1, 1001)
    async with watching([FakeSentinel(epoch, port, host), good]) as watcher:
        assert await watcher.watch.start(2.0) == ("127.0.0.1", 1001)


@pytest.mark.asyncio
async def test_one_that_says_nothing_keeps_nobody() -> None:
    silent = FakeSentinel(9, 1009)
    silent.answer = lambda words: SILENT
    async with watching([silent, FakeSentinel(1, 1001)]) as watcher:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await watcher.watch.start(5.0) == ("127.0.0.1", 1001)
        assert loop.time() - begun < 2.0
