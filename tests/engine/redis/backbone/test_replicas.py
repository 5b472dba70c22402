"""What is answered as stored is at the replicas, with real ones: in order, late, standing still, and gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha1
from time import monotonic

import pytest

from fastws.engine.redis.backbone.commands import Commands
from fastws.engine.redis.backbone.making import make_backbone
from fastws.engine.redis.backbone.replicas import Replicas, connected_replicas
from fastws.engine.redis.names import Names
from fastws.engine.redis.resp.address import parse_address
from fastws.engine.redis.resp.errors import AwayError, BusyError, ReplicasError, ReplyError
from fastws.engine.redis.resp.link import DEFAULT_TUNING, Tuning
from fastws.engine.redis.resp.opening import open_link
from fastws.engine.redis.scripts import Script
from fastws.errors import EngineError
from tests.engine.redis.backbone.recorder import Recorder, started
from tests.engine.redis.loops import on_loops
from tests.engine.redis.pairs import Pair, stand_still
from tests.engine.redis.resp.fakes import FakeServer, politely
from tests.support.cluster import ClusterFleet
from tests.support.redis import RedisServer
from tests.support.sentinel import SentinelFleet
from tests.support.waiting import wait_until


def script_of(text: bytes, *, is_stored: bool = True) -> Script:
    return Script("test", text, sha1(text, usedforsecurity=False).hexdigest().encode(), False, is_stored)


APPEND = script_of(b"return redis.call('RPUSH', KEYS[1], ARGV[1])")
ASIDE = script_of(b"return redis.call('RPUSH', KEYS[1], ARGV[1]) ", is_stored=False)
PATIENT = DEFAULT_TUNING._replace(min_replicas=1, replicas_s=20.0, silence_s=60.0, answer_s=60.0)
"""Of a machine that may be busy."""
HASTY = PATIENT._replace(replicas_s=0.05)
"""Where no replica answers, nothing is gained by waiting for long."""


@asynccontextmanager
async def commands(server: RedisServer, tuning: Tuning = PATIENT) -> AsyncIterator[Commands]:
    link = await open_link(parse_address(server.url), None, tuning, name="test")
    try:
        replicas = Replicas("the server", tuning)
        await replicas.greet(link, "the server")
        made = Commands(link, Names("fastws"), "one", replicas)
        await made.begin()
        yield made
    finally:
        await link.close()


@on_loops()
async def test_what_is_answered_is_there(pair: Pair) -> None:
    async with commands(pair.master) as made:
        for round_ in range(20):
            assert await made.run(APPEND, 0, [b"list"], [round_]) == round_ + 1
            assert pair.replica.ask("LLEN", "list") == round_ + 1


@on_loops()
async def test_a_pass_costs_one_wait(pair: Pair) -> None:
    async with commands(pair.master) as made:
        await made.run(ASIDE, 0, [b"other"], [0])
        before = pair.waits()
        answers = await asyncio.gather(*(made.run(APPEND, 0, [b"list"], [number]) for number in range(500)))
        assert answers == list(range(1, 501))
        assert pair.waits() == before + 1
        await made.run(ASIDE, 0, [b"other"], [1])
        assert pair.waits() == before + 1


@on_loops()
async def test_nobody_waits_where_that_is_not_asked_for(pair: Pair) -> None:
    stand_still(pair.replica)
    async with commands(pair.master, DEFAULT_TUNING) as made:
        assert await made.run(APPEND, 0, [b"list"], [1]) == 1
        assert not pair.waits()


@on_loops()
async def test_an_error_of_the_script_is_that_of_the_script(pair: Pair) -> None:
    async with commands(pair.master) as made:
        wrong = made.run(script_of(b"return redis.call('NONSENSE')"), 0, [], [])
        right = made.run(APPEND, 0, [b"list"], [1])
        with pytest.raises(ReplyError, match="ERR"):
            await wrong
        assert await right == 1


@on_loops()
async def test_a_replica_that_stands_still_makes_it_fail_in_time(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastws.engine")
    async with commands(pair.master, HASTY) as made:
        await made.run(ASIDE, 0, [b"list"], [0])
        stand_still(pair.replica)
        writes = [made.run(APPEND, 0, [b"list"], [number]) for number in range(1, 6)]
        for write in writes:
            with pytest.raises(ReplicasError, match="0 of 1 replicas") as raised:
                await write
            assert raised.value.temporary
        assert await made.call(0, ["LLEN", "list"]) == 6, "it was done"
        assert await made.run(ASIDE, 0, [b"list"], [6]) == 7, "who does not ask for replicas does not wait for them"
        with pytest.raises(ReplicasError):
            await made.run(APPEND, 0, [b"list"], [7])
        pair.replica.resume()
        async with asyncio.timeout(30):
            while True:
                try:
                    count = await made.run(APPEND, 0, [b"list"], [8])
                    break
                except ReplicasError:
                    await asyncio.sleep(0.01)
        assert pair.replica.ask("LLEN", "list") == count
        assert [record.levelname for record in caplog.records if "safe" in record.message] == ["ERROR"]
        assert [record.levelname for record in caplog.records if "again" in record.message] == ["INFO"]


@on_loops()
async def test_writes_that_go_on_while_a_replica_stands_still_do_not_pile_up(pair: Pair) -> None:
    """Each has its answer, and what is read over the same connection is answered between them."""
    async with commands(pair.master, HASTY) as made:
        stand_still(pair.replica)
        writes = []
        before, begun = pair.waits(), monotonic()
        for number in range(300):
            writes.append(made.run(APPEND, 0, [b"list"], [number]))
            await asyncio.sleep(0.001)
        assert await made.call(0, ["LLEN", "list"]) == 300
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(result) for result in results} == {ReplicasError}
        assert pair.waits() - before <= (monotonic() - begun) / 0.05 + 2, "one at a time"


@on_loops()
async def test_a_connection_that_is_lost_meanwhile_leaves_nobody_waiting(pair: Pair) -> None:
    async with commands(pair.master) as made:
        await made.run(APPEND, 0, [b"list"], [0])
        stand_still(pair.replica)
        write = made.run(APPEND, 0, [b"list"], [1])
        await asyncio.to_thread(wait_until, lambda: pair.master.info("clients")["blocked_clients"] == "1")
        late = made.run(APPEND, 0, [b"list"], [2])
        await asyncio.to_thread(pair.master.kill_clients)
        for each in (write, late):
            with pytest.raises(AwayError):
                await each


@on_loops()
async def test_an_answer_that_cannot_be_is_no_success() -> None:
    def answer(words: list[bytes]) -> bytes:
        if words[0].upper() == b"WAIT":
            return b"+OK\r\n" if words[1] == b"1" else b":1\r\n"
        if words[0].upper() == b"EVALSHA":
            return b":7\r\n"
        return politely(words)

    async with FakeServer(answer) as server:
        link = await open_link(server.address, None, PATIENT, name="test")
        made = Commands(link, Names("fastws"), "one", Replicas("it", PATIENT))
        with pytest.raises(ReplicasError, match="does not say"):
            await made.run(APPEND, 0, [b"list"], [1])
        await link.close()


@on_loops()
async def test_a_link_that_takes_no_more_is_no_success(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    async with commands(pair.master) as made:
        await made.run(APPEND, 0, [b"list"], [0])
        write = made.run(APPEND, 0, [b"list"], [1])

        def refuse(*_: object) -> None:
            raise BusyError("too much waits")

        monkeypatch.setattr(made.link, "send", refuse)
        with pytest.raises(ReplicasError, match="too much waits"):
            await write


@pytest.mark.parametrize(
    ("info", "count"),
    [
        (b"# Replication\r\nrole:master\r\nconnected_slaves:2\r\nslave0:ip=127.0.0.1\r\n", 2),
        (b"connected_slaves:0\r\n", 0),
        (b"connected_slaves:-1\r\n", 0),
        (b"connected_slaves:" + b"9" * 5000, 0),
        (b"xconnected_slaves:3\r\n", 0),
        (b"", 0),
        (None, 0),
        (ReplyError("NOPERM", "NOPERM may not"), 0),
    ],
)
def test_how_many_there_are(info: object, count: int) -> None:
    assert connected_replicas(info) == count


def test_who_did_not_answer_is_waited_for_in_full_now_and_then() -> None:
    replicas = Replicas("it", PATIENT._replace(replicas_s=1.0))
    assert replicas.time_ms(0.0) == replicas.time_ms(1.0) == 1000
    assert replicas.judge(0, 3) is not None
    assert (replicas.refused, replicas.is_short) == (3, True)
    assert [replicas.time_ms(now_s) for now_s in (2.0, 5.9, 6.0, 6.1, 10.9, 11.0)] == [50, 50, 1000, 50, 50, 1000]
    assert replicas.judge(1, 1) is None
    assert replicas.time_ms(11.1) == 1000
    tiny = Replicas("it", PATIENT._replace(replicas_s=0.0001))
    assert tiny.time_ms(0.0) == 1, "0 would be for ever"


def test_replicas_that_come_and_go_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastws.engine")
    replicas = Replicas("it", PATIENT)
    for now_s in range(100):  # ten to the second
        replicas.time_ms(now_s / 10)
        assert (replicas.judge(now_s % 2, 3) is None) is bool(now_s % 2)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    caplog.clear()
    for now_s in (10.0, 11.0, 12.0):
        replicas.time_ms(now_s)
        replicas.judge(0, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    replicas.judge(1, 1)
    assert f"{49 * 3 + 3} writes were refused" in caplog.text


@on_loops("uvloop")
async def test_too_few_of_them_are_in_the_log_at_once(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = make_backbone(redis_server.url, prefix=prefix, min_replicas=2, replicas_s=0.01)
    async with started(backbone):
        assert "has 0 of the 2 replicas" in caplog.text
        with pytest.raises(ReplicasError, match="0 of 2"):
            await backbone.run(APPEND, 7, [f"{prefix}:list".encode()], [1])


@on_loops("uvloop")
async def test_enough_of_them_are_no_news(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    async with commands(pair.master) as made:
        await made.run(APPEND, 0, [b"list"], [1])  # what replicas have not acknowledged yet does not make them fewer
        async with commands(pair.master):
            assert "--min-replicas" not in caplog.text


@on_loops("uvloop")
async def test_who_may_not_wait_for_them_is_told_so_at_once(prefix: str) -> None:
    with RedisServer(users={"ann": "on nopass ~* &* +@all -wait"}) as server:
        url = server.url.replace("redis://", "redis://ann:x@")
        backbone = make_backbone(url, prefix=prefix, min_replicas=1)
        with pytest.raises(EngineError, match=r"(?i)wait.*access list"):
            await backbone.start(Recorder())


@on_loops("uvloop")
async def test_a_master_of_sentinels(sentinel_fleet: SentinelFleet, prefix: str) -> None:
    backbone = make_backbone(sentinel_fleet.url, prefix=prefix, min_replicas=2, replicas_s=1.0)
    key = f"{prefix}:list".encode()
    async with started(backbone):
        first, second = sentinel_fleet.replicas
        async with asyncio.timeout(30):
            while True:  # a machine that is busy may keep a replica for longer than it has
                try:
                    count = await backbone.run(APPEND, 7, [key], [1])
                    break
                except ReplicasError:
                    pass
        assert first.ask("LLEN", key) == second.ask("LLEN", key) == count
        stand_still(second)
        with pytest.raises(ReplicasError, match="of 2 replicas"):
            await backbone.run(APPEND, 7, [key], [2])


@on_loops("uvloop")
async def test_each_master_of_a_cluster_has_its_own(cluster_fleet: ClusterFleet, prefix: str) -> None:
    backbone = make_backbone(cluster_fleet.url, prefix=prefix, min_replicas=1, replicas_s=1.0)
    keys = [f"{prefix}:{{{partition}}}:list".encode() for partition in range(256)]
    masters = [cluster_fleet.master_of(cluster_fleet.slot_of(key)) for key in keys]
    other = next(partition for partition in range(256) if masters[partition] is not masters[0])
    async with started(backbone):
        stand_still(cluster_fleet.replica_of(masters[0]))
        with pytest.raises(ReplicasError, match="0 of 1"):
            await backbone.run(APPEND, 0, keys[:1], [1])
        async with asyncio.timeout(30):
            while True:
                try:
                    count = await backbone.run(APPEND, other, [keys[other]], [1])
                    break
                except ReplicasError:
                    pass
        replica = cluster_fleet.replica_of(masters[other])
        link = await open_link(parse_address(replica.url), None, DEFAULT_TUNING, name="test")
        await link.ask("READONLY")
        assert await link.ask("LLEN", keys[other]) == count
        await link.close()
