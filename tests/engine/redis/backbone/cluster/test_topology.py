"""Who has which partition, as members of a cluster tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from fastws.engine.redis.backbone.cluster import topology
from fastws.engine.redis.backbone.cluster.topology import ANSWER_S, SLOT_OF, SLOTS, Survey, read_view
from fastws.engine.redis.names import PARTITIONS, Names
from fastws.engine.redis.resp.address import Address
from fastws.errors import EngineError
from tests.engine.redis.backbone.fake import SILENT, FakeServer, bulks
from tests.support.cluster import ClusterFleet
from tests.support.redis import RedisServer

INFO = b"cluster_state:ok\r\ncluster_current_epoch:6\r\n"
ASKED = ("seed", 7000)


def test_the_slot_of_a_partition_is_that_of_its_keys(cluster_fleet: ClusterFleet) -> None:
    names = Names("prefix")
    for partition in range(0, PARTITIONS, 17):
        assert cluster_fleet.slot_of(names.key(b"m", partition, "a{b}c")) == SLOT_OF[partition]


def test_a_view() -> None:
    slots = [
        [0, 8191, [b"10.0.0.1", 7001, b"id", []], [b"10.0.0.2", 7002, b"id"]],
        [8192, SLOTS - 1, [None, 7003, b"id"], [b"", 0]],
    ]
    view = read_view(ASKED, INFO, slots)
    assert view.epoch == 6
    assert set(view.owners) == {("10.0.0.1", 7001), ("seed", 7003)}
    assert all((place == ("10.0.0.1", 7001)) is (slot < 8192) for place, slot in zip(view.owners, SLOT_OF, strict=True))
    assert view.nodes == [("10.0.0.1", 7001), ("10.0.0.2", 7002), ("seed", 7003), ("seed", 7000)]


def test_slots_that_nobody_has() -> None:
    assert set(read_view(ASKED, INFO, []).owners) == {None}


@pytest.mark.parametrize(
    ("info", "slots"),
    [
        (None, []),
        (b"", []),
        (b"cluster_current_epoch:x", []),
        (b"cluster_current_epoch:" + b"9" * 30, []),
        (INFO, None),
        (INFO, [1]),
        (INFO, [[0, 1]]),
        (INFO, [[0, 1, []]]),
        (INFO, [[0, 1, [b"h", -1]]]),
        (INFO, [[0, 1, [b"h", 70000]]]),
        (INFO, [[0, 1, [b"h" * 300, 1]]]),
        (INFO, [[b"0", 1, [b"h", 1]]]),
        (INFO, [[0, 1, *([b"h%d" % number, 1] for number in range(5000))]]),
    ],
)
def test_what_cannot_be(info: object, slots: object) -> None:
    with pytest.raises(EngineError):
        read_view(ASKED, info, slots)


@pytest.mark.asyncio
async def test_a_real_one(cluster_fleet: ClusterFleet) -> None:
    survey = Survey([Address("127.0.0.1", server.port) for server in cluster_fleet.nodes[:1]], "test")
    try:
        view = await survey.look(first=True)
        assert view is not None
        assert {port for _, port in view.nodes} == {server.port for server in cluster_fleet.nodes}
        for partition in (0, 17, 255):
            assert view.owners[partition] == ("127.0.0.1", cluster_fleet.master_of(SLOT_OF[partition]).port)
        # Those that were not asked yet have their turn.
        cluster_fleet.nodes[0].pause()
        async with asyncio.timeout(30):
            while await survey.look() is None:
                await asyncio.sleep(0.01)
    finally:
        await survey.close()


@pytest.mark.asyncio
async def test_a_server_of_no_cluster(redis_server: RedisServer) -> None:
    survey = Survey([Address("127.0.0.1", redis_server.port)], "test")
    assert await survey.look() is None
    assert "redis://" in str(survey.failure)
    assert survey.failure is not None
    assert not survey.failure.temporary
    await survey.close()


class FakeMember(FakeServer):
    """Says that one place has everything."""

    def __init__(self, epoch: int, port: int) -> None:
        super().__init__(self._say)
        self.epoch = epoch
        self.named = port

    def _say(self, words: Sequence[bytes]) -> bytes:
        if words[1] == b"INFO":
            text = b"cluster_current_epoch:%d\r\n" % self.epoch
            return b"$%d\r\n%s\r\n" % (len(text), text)
        if words[1] == b"SLOTS":
            return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % self.named
        return bulks()


@pytest.mark.asyncio
async def test_an_older_view_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    members = [FakeMember(5, 1005), FakeMember(6, 1006)]
    async with AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(member)
        survey = Survey([Address("127.0.0.1", member.port) for member in members], "test")
        stack.push_async_callback(survey.close)
        with monkeypatch.context() as patient:
            patient.setattr(topology, "_LATE_S", 20.0)  # they are to be heard both
            patient.setattr(topology, "ANSWER_S", 20.0)
            view = await survey.look(first=True)
        assert view is not None
        assert view.owners[0] == ("127.0.0.1", 1006)
        members[1].answer = lambda words: SILENT
        for _ in range(3):
            assert await survey.look(first=True) is None
        members[0].epoch, members[0].named = 7, 1007
        view = await survey.look(first=True)
        assert view is not None
        assert view.owners[0] == ("127.0.0.1", 1007)


class FarMember(FakeMember):
    """To whom a connection takes longer than a look."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)  # it is closed in the end, even if it never gets further
        await asyncio.sleep(ANSWER_S * 1.5)
        await super()._serve(reader, writer)


@pytest.mark.asyncio
async def test_who_is_far_away_is_connected_to_all_the_same() -> None:
    async with FarMember(5, 1005) as member:
        survey = Survey([Address("127.0.0.1", member.port)], "test")
        assert await survey.look() is None
        assert "does not answer within" in str(survey.failure)
        async with asyncio.timeout(30):
            while await survey.look() is None:
                await asyncio.sleep(0.01)
        await survey.close()
        survey = Survey([Address("127.0.0.1", member.port)], "test")
        assert await survey.look() is None
        await survey.close()  # while it connects
        assert not any("_open" in repr(task) for task in asyncio.all_tasks())
