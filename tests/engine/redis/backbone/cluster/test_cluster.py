"""A real cluster whose masters and slots change while it is used."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from hashlib import sha1
from pathlib import Path
from typing import Any

import hiredis
import pytest

from fastws.engine.redis.backbone.cluster import Cluster, orphans
from fastws.engine.redis.backbone.cluster import owners as subject
from fastws.engine.redis.backbone.cluster.attempts import GIVE_UP_S
from fastws.engine.redis.backbone.cluster.topology import SLOT_OF
from fastws.engine.redis.backbone.making import make_backbone
from fastws.engine.redis.names import PARTITIONS
from fastws.engine.redis.resp.link import DEADLINE_S
from fastws.engine.redis.scripts import Script
from fastws.errors import EngineError
from tests.engine.redis.backbone.fake import SILENT, FakeServer
from tests.engine.redis.backbone.recorder import Recorder, Writer, started
from tests.support.certificates import self_signed
from tests.support.cluster import ClusterFleet
from tests.support.redis import PROGRAMS, RedisServer
from tests.support.waiting import Stopwatch, held_up_s

MOST_ADDED_S = 1.0
ALL = range(PARTITIONS)


def backbone_of(fleet: ClusterFleet, prefix: str) -> Cluster:
    made = make_backbone(fleet.url, prefix=prefix)
    assert isinstance(made, Cluster)
    return made


def channel_of(prefix: str, partition: int) -> bytes:
    return f"{prefix}:{{{partition}}}:c".encode()


async def hear_all(backbone: Cluster, prefix: str) -> None:
    """A channel in each partition."""
    answers = [backbone.subscribe(partition, channel_of(prefix, partition)) for partition in ALL]
    for answer in answers:
        if answer is not None:
            await answer


async def everything_is_heard(backbone: Cluster, prefix: str, events: Recorder, mark: bytes) -> None:
    """What is said anywhere now is heard once."""
    for partition in ALL:
        assert await backbone.say(partition, channel_of(prefix, partition), mark) == 1
    wanted = [(channel_of(prefix, partition), mark) for partition in ALL]
    await events.until(lambda: sum(payload == mark for _, payload in events.messages) == len(wanted))
    assert sorted(message for message in events.messages if message[1] == mark) == sorted(wanted)


def writers_of(backbone: Cluster, prefix: str, partitions: range) -> list[Writer]:
    return [Writer(backbone, partition, f"{prefix}:{{{partition}}}:l".encode()) for partition in partitions]


async def in_order(writers: list[Writer]) -> int:
    """End; nothing is there twice or out of order. How many were acknowledged and are not there, all in one piece."""
    for writer in writers:
        await writer.stop()
    lost = 0
    for writer in writers:
        kept = await writer.kept()
        assert kept == sorted(set(kept))
        there = set(kept)
        gone = [place for place, number in enumerate(writer.acknowledged) if number not in there]
        # Redis itself may lose what was not with the replica yet: the last before the change.
        assert gone == list(range(gone[0], gone[0] + len(gone))) if gone else True
        lost += len(gone)
    return lost


def partitions_of(fleet: ClusterFleet, server: RedisServer) -> set[int]:
    slots = next(member.slots for member in fleet.members(server) if member.port == server.port)
    return {partition for partition in ALL if any(SLOT_OF[partition] in part for part in slots)}


class Observer(threading.Thread):
    """Notes when a replica says that it is a master."""

    def __init__(self, replica: RedisServer) -> None:
        super().__init__(daemon=True)
        self._replica = replica
        self.seen_at = 0.0
        self.start()

    def run(self) -> None:
        end = time.monotonic() + 30
        while not self.seen_at and time.monotonic() < end:
            with contextlib.suppress(OSError, hiredis.ReplyError):
                if self._replica.info("replication")["role"] == "master":
                    self.seen_at = time.monotonic()
            time.sleep(0.01)


@pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.pause])
@pytest.mark.asyncio
async def test_a_master_that_dies_takes_only_its_partitions_away(
    cluster_fleet: ClusterFleet, prefix: str, end: Callable[[RedisServer], None]
) -> None:
    backbone = backbone_of(cluster_fleet, prefix)
    async with started(backbone) as events:
        await hear_all(backbone, prefix)
        writers = writers_of(backbone, prefix, range(0, PARTITIONS, 16))
        for writer in writers:
            await writer.until_written(5)
        old = cluster_fleet.masters[0]
        theirs = partitions_of(cluster_fleet, old)
        observer = Observer(cluster_fleet.replica_of(old))
        held_s = held_up_s()
        end(old)
        await events.until_whole()
        back_at = time.monotonic()
        await asyncio.to_thread(observer.join)
        print(f"{end.__name__}: {(back_at - observer.seen_at) * 1000:.0f} ms after the replica took over")
        held_s = held_up_s() - held_s
        assert back_at - observer.seen_at < MOST_ADDED_S + held_s
        assert set(events.outages) == theirs
        assert set(events.outages.values()) == {1}
        await everything_is_heard(backbone, prefix, events, b"after")
        for writer in writers:
            await writer.until_written(5)
        await in_order(writers)
        assert all(writer.slowest_s < GIVE_UP_S + 3 + held_s for writer in writers)


@pytest.mark.asyncio
async def test_a_planned_change_loses_nothing(cluster_fleet: ClusterFleet, prefix: str) -> None:
    backbone = backbone_of(cluster_fleet, prefix)
    async with started(backbone) as events:
        await hear_all(backbone, prefix)
        writers = writers_of(backbone, prefix, range(0, PARTITIONS, 8))
        for writer in writers:
            await writer.until_written(5)
        old = cluster_fleet.masters[0]
        theirs = partitions_of(cluster_fleet, old)
        await asyncio.to_thread(cluster_fleet.fail_over, old)
        await events.until_whole()
        await everything_is_heard(backbone, prefix, events, b"after")
        for writer in writers:
            await writer.until_written(20)
        assert set(events.outages) == theirs
        assert set(events.outages.values()) == {1}
        assert await in_order(writers) == 0


class FakeMember(FakeServer):
    """Says that all slots are its own, or another's, and who has them in the eyes of the cluster."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.is_asked = 0
        self.epoch = 6
        self.master = self
        self.moved_to: FakeMember | None = None
        self.is_silent = False
        """From the first question for a key on."""
        self.is_mute = False
        self.refuse: set[bytes] = set()
        """Channels."""

    def _say(self, words: Sequence[bytes]) -> bytes:
        if words[:2] == [b"CLUSTER", b"INFO"]:
            return _bulk(b"cluster_current_epoch:%d\r\n" % self.epoch)
        if words[:2] == [b"CLUSTER", b"SLOTS"]:
            self.is_asked += 1
            return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % self.master.port
        if words[0] == b"INFO":
            return _bulk(b"redis_version:7.2.0\r\nrole:master\r\n")
        if words[0] == b"SSUBSCRIBE":
            return b"-NOPERM no access to this channel\r\n" if self.refuse & set(words) else SILENT
        self.is_mute |= self.is_silent and words[0] == b"GET"
        if self.is_mute:
            return SILENT
        if words[0] in {b"EXISTS", b"GET"}:
            return b":1\r\n" if self.moved_to is None else b"-MOVED 1 127.0.0.1:%d\r\n" % self.moved_to.port
        return b"+OK\r\n"


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


@pytest.mark.asyncio
async def test_who_hears_late_of_a_change_does_not_undo_it(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new epoch is known to all who were asked for their votes, before they know what it has changed."""
    monkeypatch.setattr(subject, "GRACE_S", 60.0)
    async with FakeMember() as old, FakeMember() as new:
        url = f"redis+cluster://127.0.0.1:{old.port},127.0.0.1:{new.port}"
        new.master = old
        backbone = make_backbone(url, prefix=prefix)
        async with started(backbone) as events:
            old.moved_to = new
            old.epoch = new.epoch = 7
            assert await backbone.call(9, "GET", "{9}") == 1
            await events.until_whole()
            asked = new.is_asked
            while new.is_asked < asked + 2:
                await asyncio.sleep(0.01)
            assert set(events.outages.values()) == {1}
            assert backbone.is_up(9)
            assert await backbone.call(9, "GET", "{9}") == 1


@pytest.mark.asyncio
async def test_a_command_that_was_refused_has_no_new_time_at_another_master(prefix: str) -> None:
    async with FakeMember() as old, FakeMember() as new:
        backbone = make_backbone(f"redis+cluster://127.0.0.1:{old.port},127.0.0.1:{new.port}", prefix=prefix)
        assert isinstance(backbone, Cluster)
        new.master = old
        new.is_silent = True
        async with started(backbone):
            old.moved_to = old.master = new.master = new
            old.epoch = new.epoch = 7
            begun = asyncio.get_running_loop().time()
            answer = backbone.call(7, "GET", "{7}")
            while [b"GET", b"{7}"] not in new.asked:
                await asyncio.sleep(0.01)
            ((due, watched),) = backbone._deadlines._watched
            assert watched is answer
            assert begun + DEADLINE_S <= due <= begun + DEADLINE_S + 1.0
            backbone._deadlines._watched[0] = (begun, watched)
            with pytest.raises(EngineError, match="no answer within 5 s"):
                await answer


@pytest.mark.asyncio
async def test_a_fault_of_ours_does_not_leave_partitions_away(
    prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeMember() as member:
        backbone = make_backbone(f"redis+cluster://127.0.0.1:{member.port}", prefix=prefix)
        assert isinstance(backbone, Cluster)
        settle, faults = backbone._orphans.settle, [KeyError("a fault"), RuntimeError("another")]

        async def faulty(*given: Any) -> Any:
            if faults:
                raise faults.pop()
            return await settle(*given)

        monkeypatch.setattr(backbone._orphans, "settle", faulty)
        async with started(backbone) as events:
            assert not faults
            assert not events.away
            assert "could not be brought back" in caplog.text


@pytest.mark.asyncio
async def test_a_partition_is_not_back_while_a_channel_of_it_is_refused(
    prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(orphans, "AGAIN_S", 0.05)
    async with FakeMember() as old, FakeMember() as new:
        backbone = make_backbone(f"redis+cluster://127.0.0.1:{old.port},127.0.0.1:{new.port}", prefix=prefix)
        new.master = old
        async with started(backbone) as events:
            for partition in (8, 9):
                answer = backbone.subscribe(partition, channel_of(prefix, partition))
                assert answer is not None
                await answer
            new.refuse = {channel_of(prefix, 9)}
            old.moved_to = old.master = new.master = new
            old.epoch = new.epoch = 7
            assert await backbone.call(7, "GET", "{7}") == 1
            await events.until(lambda: events.away == {9})
            asked = len(new.asked)
            while sum(b"SSUBSCRIBE" in words for words in new.asked[asked:]) < 3:
                await asyncio.sleep(0.01)
            with pytest.raises(EngineError, match="NOPERM"):
                backbone.call(9, "GET", "{9}")
            assert events.away == {9}
            assert backbone.is_up(8)
            new.refuse.clear()
            await events.until_whole()
            assert await backbone.call(9, "GET", "{9}") == 1
            assert set(events.outages.values()) == {1}
            assert caplog.text.count("NOPERM") == 1
            # A server that comes back with one that is refused: the others are back.
            new.refuse = {channel_of(prefix, 8)}
            for writer in list(new._writers):
                writer.close()
            await events.until(lambda: events.outages[8] == 2 and events.away == {8})
            new.refuse.clear()
            await events.until_whole()


@pytest.mark.asyncio
async def test_a_slot_that_moves_under_load(cluster_fleet: ClusterFleet, prefix: str) -> None:
    backbone = backbone_of(cluster_fleet, prefix)
    async with started(backbone) as events:
        await hear_all(backbone, prefix)
        writers = writers_of(backbone, prefix, range(40, 44))
        for writer in writers:
            await writer.until_written(5)
        for partition in range(40, 44):
            slot = SLOT_OF[partition]
            source = cluster_fleet.master_of(slot)
            target = next(server for server in cluster_fleet.masters if server is not source)
            await asyncio.to_thread(cluster_fleet.migrate, slot, target)
            await events.until(lambda partition=partition: events.outages[partition] and not events.away)  # type: ignore[misc]
        for writer in writers:
            await writer.until_written(20)
        assert set(events.outages) == set(range(40, 44))
        await everything_is_heard(backbone, prefix, events, b"after")
        assert await in_order(writers) == 0


@pytest.mark.asyncio
async def test_keys_that_are_on_their_way(cluster_fleet: ClusterFleet, prefix: str) -> None:
    """Commands wait, in order, for a slot that is being moved."""
    backbone = backbone_of(cluster_fleet, prefix)
    key = f"{prefix}:{{9}}:l".encode()
    slot = SLOT_OF[9]
    two_keys = _script(b"return redis.call('LLEN', KEYS[1]) + redis.call('EXISTS', KEYS[2])")
    async with started(backbone) as events:
        await backbone.call(9, "RPUSH", key, "before")
        target = next(server for server in cluster_fleet.masters if server is not cluster_fleet.master_of(slot))
        await asyncio.to_thread(cluster_fleet.begin_migration, slot, target)
        await asyncio.to_thread(cluster_fleet.move_keys, slot, target)
        given = [backbone.call(9, "RPUSH", key, number) for number in range(5)]
        given.append(backbone.run(two_keys, 9, [key, key + b"never there"], ()))
        await asyncio.sleep(0.05)
        given += [backbone.call(9, "RPUSH", key, number) for number in range(5, 10)]
        assert not any(answer.done() for answer in given)
        assert backbone.is_up(9)
        await asyncio.to_thread(cluster_fleet.end_migration, slot, target)
        answers = await asyncio.wait_for(asyncio.gather(*given), 5)
        assert answers == [2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11]
        assert set(events.outages) == {9}


def _script(text: bytes, *, needs_era: bool = False) -> Script:
    return Script("of a test", text, sha1(text, usedforsecurity=False).hexdigest().encode(), needs_era)


@pytest.mark.asyncio
async def test_a_slot_that_takes_long_is_away(cluster_fleet: ClusterFleet, prefix: str) -> None:
    backbone = backbone_of(cluster_fleet, prefix)
    slot = SLOT_OF[9]
    async with started(backbone) as events:
        target = next(server for server in cluster_fleet.masters if server is not cluster_fleet.master_of(slot))
        await asyncio.to_thread(cluster_fleet.begin_migration, slot, target)
        given = backbone.call(9, "RPUSH", f"{prefix}:{{9}}:l", 1)
        watch = Stopwatch()
        with pytest.raises(EngineError):
            await given
        assert watch.own_s < GIVE_UP_S
        assert events.away == {9}
        assert not backbone.is_up(9)
        with pytest.raises(EngineError):
            backbone.call(9, "PING")
        await asyncio.to_thread(cluster_fleet.end_migration, slot, target)
        await events.until_whole()
        assert await backbone.call(9, "RPUSH", f"{prefix}:{{9}}:l", 1) == 1


@pytest.mark.asyncio
async def test_it_begins_without_a_slot_that_takes_long(cluster_fleet: ClusterFleet, prefix: str) -> None:
    backbone = backbone_of(cluster_fleet, prefix)
    slot = SLOT_OF[9]
    target = next(server for server in cluster_fleet.masters if server is not cluster_fleet.master_of(slot))
    cluster_fleet.begin_migration(slot, target)
    events = Recorder()
    await backbone.start(events, 2.5)
    try:
        assert events.away == {9}
        await asyncio.to_thread(cluster_fleet.end_migration, slot, target)
        await events.until_whole()
    finally:
        await backbone.stop()


@pytest.mark.asyncio
async def test_it_begins_while_a_replica_takes_over(cluster_fleet: ClusterFleet, prefix: str) -> None:
    cluster_fleet.masters[0].stop()
    backbone = backbone_of(cluster_fleet, prefix)
    events = Recorder()
    await backbone.start(events, 20.0)
    assert not events.away
    await backbone.stop()


@pytest.mark.asyncio
async def test_a_slot_that_nobody_serves(cluster_fleet: ClusterFleet, prefix: str) -> None:
    backbone = backbone_of(cluster_fleet, prefix)
    slot = SLOT_OF[9]
    owner = cluster_fleet.master_of(slot)
    async with started(backbone) as events:
        owner.ask("CLUSTER", "DELSLOTS", slot)
        try:
            with pytest.raises(EngineError, match="CLUSTERDOWN"):
                await backbone.call(9, "GET", f"{prefix}:{{9}}:k")
            assert events.away == {9}
            assert backbone.subscribe(9, channel_of(prefix, 9)) is None
            assert await backbone.call(10, "PING") == b"PONG"
        finally:
            owner.ask("CLUSTER", "ADDSLOTS", slot)
        await events.until_whole()
        assert await backbone.say(9, channel_of(prefix, 9), b"back") == 1


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.asyncio
async def test_a_shard_more_and_one_less(prefix: str, tmp_path: Path, program: str) -> None:
    made = ClusterFleet(masters=1, replicas=0, spare=1, program=program, password="p@ss", tls=self_signed(tmp_path))
    with made as fleet:
        backbone = backbone_of(fleet, prefix)
        async with started(backbone) as events:
            await hear_all(backbone, prefix)
            source, target = fleet.nodes
            slot = SLOT_OF[9]
            await asyncio.to_thread(fleet.migrate, slot, target)
            await events.until_whole()
            assert set(events.outages) == {9}
            await backbone.call(9, "SET", f"{prefix}:{{9}}:k", "1")
            assert target.ask("GET", f"{prefix}:{{9}}:k") == b"1"
            await everything_is_heard(backbone, prefix, events, b"two")
            await asyncio.to_thread(fleet.migrate, slot, source)
            await events.until(lambda: events.outages[9] == 2 and not events.away)
            assert await backbone.call(9, "GET", f"{prefix}:{{9}}:k") == b"1"
            await everything_is_heard(backbone, prefix, events, b"one")
            # Who has nothing is not connected to.
            await asyncio.to_thread(fleet.wait_until, lambda: not _clients(target, "fastws"), "no connection is left")
        await asyncio.to_thread(fleet.wait_until, lambda: not _clients(source, "fastws"), "no connection is left")


def _clients(server: RedisServer, name: str) -> int:
    """Those for commands and channels; that of the survey comes and goes."""
    listed = server.ask("CLIENT", "LIST")
    assert isinstance(listed, bytes)
    return sum(f" name={name} " in line and "cmd=cluster" not in line for line in listed.decode().splitlines())


@pytest.mark.asyncio
async def test_the_era_of_a_partition_that_comes_back_is_another_one(cluster_fleet: ClusterFleet, prefix: str) -> None:
    backbone = backbone_of(cluster_fleet, prefix)
    era = f"{prefix}:{{9}}:era:"
    slot = SLOT_OF[9]
    probe = _script(b"return redis.call('HGET', KEYS[1], 'number')", needs_era=True)
    async with started(backbone) as events:
        source = cluster_fleet.master_of(slot)
        target = next(server for server in cluster_fleet.masters if server is not source)
        assert await backbone.run(probe, 9, [], ()) == b"1"
        for number, server in enumerate((target, source), 1):
            await asyncio.to_thread(cluster_fleet.migrate, slot, server)
            with contextlib.suppress(EngineError):
                await backbone.call(9, "EXISTS", era)
            await events.until(lambda number=number: events.outages[9] == number and not events.away)  # type: ignore[misc]
            assert await backbone.run(probe, 9, [], ()) == b"%d" % (number + 1)


@pytest.mark.asyncio
async def test_one_member_is_enough_to_begin(cluster_fleet: ClusterFleet, prefix: str) -> None:
    ports = [1, cluster_fleet.nodes[-1].port]
    async with started(make_backbone(cluster_fleet.url_of(ports), prefix=prefix)) as events:
        assert not events.outages


@pytest.mark.asyncio
async def test_without_any_it_does_not_begin(prefix: str) -> None:
    backbone = make_backbone("redis+cluster://127.0.0.1:1", prefix=prefix)
    assert isinstance(backbone, Cluster)
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1/0 cannot be reached"):
        await backbone.start(Recorder(), 2.5)


@pytest.mark.asyncio
async def test_a_server_of_no_cluster(redis_server: RedisServer, prefix: str) -> None:
    backbone = make_backbone(f"redis+cluster://127.0.0.1:{redis_server.port}", prefix=prefix)
    with pytest.raises(EngineError, match="begins with redis://"):
        await backbone.start(Recorder())


@pytest.mark.asyncio
async def test_a_wrong_password(cluster_fleet: ClusterFleet, prefix: str) -> None:
    port = cluster_fleet.nodes[0].port
    backbone = make_backbone(f"redis+cluster://wrong:wrong@127.0.0.1:{port}", prefix=prefix)
    with pytest.raises(EngineError, match="check those in the URL"):
        await backbone.start(Recorder())


@pytest.mark.asyncio
async def test_commands_given_before_the_end_are_done(cluster_fleet: ClusterFleet, prefix: str) -> None:
    async with AsyncExitStack() as stack:
        backbone = backbone_of(cluster_fleet, prefix)
        await stack.enter_async_context(started(backbone))
        given = [backbone.call(partition, "SET", f"{prefix}:{{{partition}}}:k", 1) for partition in ALL]
    assert await asyncio.gather(*given) == [b"OK"] * PARTITIONS
    assert not backbone.is_up(0)
    with pytest.raises(EngineError):
        backbone.call(0, "PING")
