"""A master that changes while it is used, with real sentinels."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable

import pytest

from fastws.engine.redis.backbone.making import make_backbone
from fastws.engine.redis.backbone.sentinel import Sentinel
from fastws.errors import EngineError
from tests.engine.redis.backbone.fake import FakeSentinel
from tests.engine.redis.backbone.recorder import Recorder, Writer, started
from tests.support.redis import PROGRAMS, RedisServer
from tests.support.sentinel import SentinelFleet
from tests.support.waiting import held_up_s

MOST_ADDED_S = 1.0


class Observer(threading.Thread):
    """A plain subscriber of all sentinels that notes when the first says that there is another master."""

    def __init__(self, fleet: SentinelFleet) -> None:
        super().__init__(daemon=True)
        self._socks = [socket.create_connection(sentinel.address, 5) for sentinel in fleet.sentinels]
        self.seen_at = 0.0
        for sock in self._socks:
            sock.sendall(b"SUBSCRIBE +switch-master\r\n")
            sock.recv(4096)
            sock.settimeout(0.01)
        self.start()

    def run(self) -> None:
        end = time.monotonic() + 30
        while not self.seen_at and time.monotonic() < end:
            for sock in self._socks:
                try:
                    if b"+switch-master" in sock.recv(4096):
                        self.seen_at = time.monotonic()
                        break
                except TimeoutError:
                    continue
        for sock in self._socks:
            sock.close()


def backbone_of(fleet: SentinelFleet, prefix: str) -> Sentinel:
    made = make_backbone(fleet.url, prefix=prefix)
    assert isinstance(made, Sentinel)
    return made


def kill(fleet: SentinelFleet) -> None:
    fleet.master.stop()


def pause(fleet: SentinelFleet) -> None:
    fleet.master.pause()


def plan(fleet: SentinelFleet) -> None:
    fleet.fail_over()


@pytest.mark.parametrize("change", [kill, pause, plan])
@pytest.mark.asyncio
async def test_another_master_is_followed_at_once(
    sentinel_fleet: SentinelFleet,
    prefix: str,
    change: Callable[[SentinelFleet], None],
    record_property: Callable[..., None],
) -> None:
    backbone = backbone_of(sentinel_fleet, prefix)
    channel = f"{prefix}:c".encode()
    async with started(backbone) as events:
        heard = backbone.subscribe(7, channel)
        assert heard is not None
        await heard
        writer = Writer(backbone, 7, f"{prefix}:l".encode())
        await writer.until_written(20)
        old = backbone.server.address.port
        observer = await asyncio.to_thread(Observer, sentinel_fleet)
        held_s = held_up_s()
        await asyncio.to_thread(change, sentinel_fleet)
        await events.until_whole()
        assert backbone.server.address.port != old
        assert await backbone.say(7, channel, b"after") == 1
        success_at = time.monotonic()
        await events.until(lambda: (channel, b"after") in events.messages)
        await asyncio.to_thread(observer.join)
        added_s = success_at - observer.seen_at
        record_property("added_s", round(added_s, 3))
        print(f"{change.__name__}: {added_s * 1000:.0f} ms after the sentinels said so")
        held_s = held_up_s() - held_s
        assert added_s < MOST_ADDED_S + held_s
        await writer.until_written(20)
        await writer.stop()
        # All of it was told of, and nothing is there twice.
        kept = await writer.kept()
        assert len(set(kept)) == len(kept)
        assert kept == sorted(kept)
        assert writer.slowest_s < 6.0 + held_s


@pytest.mark.asyncio
async def test_an_old_master_that_wakes_up_gets_nothing(sentinel_fleet: SentinelFleet, prefix: str) -> None:
    backbone = backbone_of(sentinel_fleet, prefix)
    async with started(backbone) as events:
        old = sentinel_fleet.master
        old.pause()
        await events.until_whole()
        old.resume()
        await backbone.call(7, "SET", f"{prefix}:new", "1")
        assert backbone.server.address.port != old.port
        assert old.ask("EXISTS", f"{prefix}:new") == 0 or old.info("replication")["role"] == "slave"


@pytest.mark.asyncio
async def test_sentinels_are_not_needed_while_the_master_is_there(sentinel_fleet: SentinelFleet, prefix: str) -> None:
    backbone = backbone_of(sentinel_fleet, prefix)
    async with started(backbone) as events:
        for sentinel in sentinel_fleet.sentinels:
            sentinel.stop()
        await asyncio.sleep(0.3)
        await backbone.call(7, "SET", f"{prefix}:k", "1")
        assert not events.outages
        for sentinel in sentinel_fleet.sentinels[1:]:
            sentinel_fleet.restart(sentinel)
        # They are listened to again.
        await asyncio.to_thread(sentinel_fleet.wait_until, lambda: len(_watchers(sentinel_fleet)) == 2, "two watchers")


def _watchers(fleet: SentinelFleet) -> list[RedisServer]:
    lists = [(s, s.ask("CLIENT", "LIST")) for s in fleet.sentinels if s.is_running]
    return [sentinel for sentinel, clients in lists if isinstance(clients, bytes) and b"fastws-watch" in clients]


@pytest.mark.asyncio
async def test_one_sentinel_is_enough_to_begin(sentinel_fleet: SentinelFleet, prefix: str) -> None:
    sentinel_fleet.sentinels[0].stop()
    sentinel_fleet.sentinels[1].pause()
    async with started(backbone_of(sentinel_fleet, prefix)) as events:
        assert not events.outages


@pytest.mark.asyncio
async def test_without_any_it_does_not_begin(sentinel_fleet: SentinelFleet, prefix: str) -> None:
    for sentinel in sentinel_fleet.sentinels:
        sentinel.stop()
    backbone = backbone_of(sentinel_fleet, prefix)
    with pytest.raises(EngineError, match="no sentinel answers"):
        await backbone.start(Recorder(), 2.5)
    await backbone.stop()


@pytest.mark.asyncio
async def test_a_wrong_name(sentinel_fleet: SentinelFleet, prefix: str) -> None:
    url = sentinel_fleet.url_of([sentinel.port for sentinel in sentinel_fleet.sentinels], "other")
    backbone = make_backbone(url, prefix=prefix)
    with pytest.raises(EngineError, match="sentinel_master_name"):
        await backbone.start(Recorder())
    await backbone.stop()


@pytest.mark.asyncio
async def test_a_sentinel_that_lies(sentinel_fleet: SentinelFleet, prefix: str) -> None:
    """Whoever is named has to say himself that he is the master."""
    replica, other = sentinel_fleet.replicas
    async with FakeSentinel(1, replica.port) as liar:
        backbone = make_backbone(sentinel_fleet.url_of([liar.port]), prefix=prefix)
        assert isinstance(backbone, Sentinel)
        with pytest.raises(EngineError, match="is a replica"):
            await backbone.start(Recorder(), 2.5)
        backbone = make_backbone(sentinel_fleet.url_of([liar.port]), prefix=prefix)
        assert isinstance(backbone, Sentinel)
        liar.switch(2, sentinel_fleet.master.port)
        async with started(backbone) as events:
            liar.switch(3, other.port)
            await events.until(lambda: events.away)
            with pytest.raises(EngineError):
                backbone.call(7, "SET", f"{prefix}:k", 1)
            liar.switch(4, sentinel_fleet.master.port)
            await events.until_whole()
            assert await backbone.call(7, "SET", f"{prefix}:k", 1) == b"OK"


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.asyncio
async def test_passwords_of_both(prefix: str, program: str) -> None:
    made = SentinelFleet(password="of:servers", sentinel_password="of/sentinels", replicas=1, program=program)
    with made as fleet:
        backbone = make_backbone(fleet.url, prefix=prefix)
        async with started(backbone):
            assert await backbone.call(7, "PING") == b"PONG"
        fleet.sentinel_password = "wrong"
        backbone = make_backbone(fleet.url, prefix=prefix)
        with pytest.raises(EngineError, match="check those in the URL"):
            await backbone.start(Recorder())
        await backbone.stop()
