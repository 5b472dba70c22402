"""Channels between two masters: none is forgotten, none is heard that nobody wants."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fastws.engine.redis.backbone.cluster import orphans as subject
from fastws.engine.redis.backbone.cluster.orphans import AGAIN_S, Orphans
from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.resp.errors import MovedError, ReplyError

REFUSED = ReplyError("NOPERM", "no access")
MOVED = MovedError("MOVED", "elsewhere", 1, "h", 1)


class Master:
    """Takes channels; the test answers."""

    def __init__(self) -> None:
        self.channels: dict[bytes, int] = {}
        self.answers: dict[bytes, asyncio.Future[None]] = {}
        self.is_quick = False

    def subscribe(self, partition: int, channel: bytes) -> asyncio.Future[None] | None:
        self.channels[channel] = partition
        if self.is_quick:
            return None
        self.answers[channel] = asyncio.get_running_loop().create_future()
        return self.answers[channel]

    def unsubscribe(self, channel: bytes) -> None:
        self.channels.pop(channel, None)


class Rig:
    def __init__(self, *channels: tuple[int, bytes]) -> None:
        self.orphans = Orphans()
        self.master = Master()
        self.lost: set[int] = set()
        for partition, channel in channels:
            self.orphans.add(partition, channel)

    def settle(self, *partitions: int) -> asyncio.Task[dict[int, ReplyError]]:
        server = cast("Server", self.master)
        return asyncio.create_task(self.orphans.settle(server, partitions, lambda each: each not in self.lost))

    def now(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.mark.asyncio
async def test_they_are_settled_when_they_are_heard() -> None:
    rig = Rig((1, b"a"), (1, b"b"), (2, b"c"), (3, b"d"))
    task = rig.settle(1, 2, 9)
    await asyncio.sleep(0)
    assert rig.master.channels == {b"a": 1, b"b": 1, b"c": 2}
    assert not task.done()
    for answer in rig.master.answers.values():
        answer.set_result(None)
    assert await task == {}
    assert [partition in rig.orphans for partition in (1, 2, 3)] == [False, False, True]
    rig.master.is_quick = True
    assert await rig.settle(3) == {}
    assert 3 not in rig.orphans


@pytest.mark.asyncio
async def test_one_that_is_refused_is_wanted_still() -> None:
    rig = Rig((1, b"a"), (1, b"b"), (2, b"c"), (3, b"d"))
    task = rig.settle(1, 2, 3)
    await asyncio.sleep(0)
    rig.orphans.discard(3, b"d")  # nobody wants it any more
    rig.master.answers[b"a"].set_exception(REFUSED)
    rig.master.answers[b"b"].set_result(None)
    rig.master.answers[b"c"].set_exception(MOVED)  # its master tells where it belongs now
    rig.master.answers[b"d"].set_exception(REFUSED)
    assert await task == {1: REFUSED}
    assert [partition in rig.orphans for partition in (1, 2, 3)] == [True, False, False]
    assert rig.orphans.is_refused(1, rig.now())
    assert not rig.orphans.is_refused(1, rig.now() + AGAIN_S)
    assert not rig.orphans.is_refused(2, rig.now())
    rig.orphans.take_from(cast("Server", rig.master), {1})
    assert not rig.orphans.is_refused(1, rig.now()), "its next master has not refused anything"


@pytest.mark.parametrize("is_given_up", [False, True])
@pytest.mark.asyncio
async def test_one_that_is_not_answered_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, is_given_up: bool) -> None:
    monkeypatch.setattr(subject, "DEADLINE_S", 60.0 if is_given_up else 0.01)
    rig = Rig((1, b"a"))
    task = rig.settle(1)
    await asyncio.sleep(0)
    assert 1 not in rig.orphans
    if is_given_up:
        task.cancel()
        await asyncio.wait([task])
    else:
        assert await task == {}
    assert 1 in rig.orphans


@pytest.mark.asyncio
async def test_a_partition_that_goes_on_moving_keeps_its_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_AT_ONCE", 10)
    names = [b"c%d" % number for number in range(100)]
    rig = Rig(*((1, name) for name in names), (2, b"other"))
    rig.master.is_quick = True
    task = rig.settle(1, 2)
    await asyncio.sleep(0)
    assert len(rig.master.channels) == 10, "others have their turn"
    rig.lost.add(1)
    rig.orphans.take_from(cast("Server", rig.master), {1})
    assert await task == {}
    assert rig.master.channels == {b"other": 2}
    rig.lost.clear()
    await rig.settle(1)
    assert rig.master.channels.keys() == {*names, b"other"}


@pytest.mark.asyncio
async def test_two_masters_at_once() -> None:
    """One is still asked while the next one is: only that one's answer counts."""
    rig = Rig((1, b"a"))
    first = rig.settle(1)
    await asyncio.sleep(0)
    old: Any = rig.master.answers[b"a"]
    rig.orphans.take_from(cast("Server", rig.master), {1})
    second = rig.settle(1)
    await asyncio.sleep(0)
    old.set_exception(REFUSED)
    assert await first == {}
    rig.master.answers[b"a"].set_exception(REFUSED)
    assert await second == {1: REFUSED}
    assert 1 in rig.orphans
