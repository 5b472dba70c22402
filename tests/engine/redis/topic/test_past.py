"""Histories: what was missed is told once and whole, or it is told that it is gone."""

import asyncio
import random
import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from fastws.core.publication import Position, Retention
from fastws.engine.contract import UNREACHED, EpochError, Page, Recovery
from fastws.engine.redis.names import ERA, HISTORY, META, partition_of
from fastws.engine.redis.topic import past
from fastws.errors import EngineError
from tests.engine.redis.topic.node import KEPT, Node, eventually, nodes
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio

MUCH = Retention(10_000, 0.0)


async def recovered(node: Node, since: Position | None, retention: Retention = KEPT, topic: str = "news") -> Recovery:
    recovery: Recovery = await node.topics.recover(topic, retention, since)  # type: ignore[misc]
    if recovery.recovered:
        assert since is not None
        offsets = [publication.offset for publication in recovery.publications]
        assert offsets == list(range(since.offset + 1, recovery.position.offset + 1))
    else:
        assert recovery.publications == ()
    return recovery


async def page(node: Node, *asked: Any, retention: Retention = KEPT, **more: Any) -> list[int]:
    answer: Page = await node.topics.history("news", retention, *asked, **more)  # type: ignore[misc]
    return [publication.offset for publication in answer.publications]


async def filled(node: Node, count: int = 7, retention: Retention = KEPT) -> str:
    """Publish so many; the epoch."""
    done = await asyncio.gather(*(node.publish("news", b"%d" % number, retention) for number in range(1, count + 1)))
    assert done[-1].offset == count
    epoch = done[-1].epoch
    assert epoch is not None
    return epoch


async def test_a_topic_begins_at_nothing_and_stays_what_it_is(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix, 2) as (first, second):
        recovery = await recovered(first, None)
        assert (recovery.position.offset, recovery.recovered) == (0, False)
        assert (await recovered(second, recovery.position)).recovered
        assert (await first.publish("news", b"1")).epoch == recovery.position.epoch
        again = await recovered(second, recovery.position)
        assert [(one.data, one.user) for one in again.publications] == [(b"1", None)]


async def test_what_is_there_is_recovered_and_what_is_trimmed_is_not(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        epoch = await filled(node)
        for offset in range(9):
            recovery = await recovered(node, Position(epoch, offset))
            assert recovery.recovered is (2 <= offset <= 7)
            assert recovery.position == (epoch, 7)
        assert not (await recovered(node, Position("another", 5))).recovered
        smaller = Retention(2, 0.0)
        assert not (await recovered(node, Position(epoch, 4), smaller)).recovered
        assert (await recovered(node, Position(epoch, 5), smaller)).recovered


async def test_pages(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        epoch = await filled(node)
        assert await page(node, None, 100) == [3, 4, 5, 6, 7]
        assert await page(node, None, 2) == [3, 4]
        assert await page(node, Position(epoch, 4), 2) == [5, 6]
        assert await page(node, Position(epoch, 99), 2) == []
        assert await page(node, None, 0) == []
        assert await page(node, None, 2, reverse=True) == [7, 6]
        assert await page(node, Position(epoch, 5), 9, reverse=True) == [4, 3]
        assert await page(node, Position(epoch, 3), 9, reverse=True) == []
        assert await page(node, Position(epoch, 0), 9, reverse=True) == []
        for offset in (2**31, 2**53 - 1, 2**53, 2**63, 2**64):
            assert await page(node, Position(epoch, offset), 2) == []
            assert await page(node, Position(epoch, offset), 2, reverse=True) == [7, 6]
            assert not (await recovered(node, Position(epoch, offset))).recovered
        assert await page(node, Position(epoch, -5), 2) == [3, 4]
        assert not (await recovered(node, Position("\ud800", 5))).recovered
        assert not (await recovered(node, Position(epoch, -5))).recovered
        with pytest.raises(EpochError):
            await page(node, Position("another", 4), 2)


async def test_big_histories_are_read_in_parts(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "ENOUGH_BYTES", 500)
    monkeypatch.setattr(past, "AT_ONCE", 150)
    async with nodes(redis_server, prefix) as node:
        epoch = await filled(node, 400, MUCH)
        recovery = await recovered(node, Position(epoch, 0), MUCH)
        assert recovery.recovered
        assert recovery.position.offset == 400
        assert await page(node, Position(epoch, 10), 333, retention=MUCH) == list(range(11, 344))
        assert await page(node, None, 333, retention=MUCH, reverse=True) == list(range(400, 67, -1))
        assert await page(node, None, 1000, retention=MUCH, reverse=True) == list(range(400, 0, -1))


async def test_a_history_of_big_publications_is_not_read_again_for_each_of_them(prefix: str) -> None:
    with RedisServer("--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000") as server:
        async with nodes(server, prefix) as node:
            many = Retention(60, 0.0)
            for _ in range(60):
                epoch = (await node.publish("news", b'"%s"' % (b"x" * past.ENOUGH_BYTES), many)).epoch
            server.ask("SLOWLOG", "RESET")
            assert (await recovered(node, Position(epoch or "", 0), many)).recovered
            assert len(await page(node, None, 60, retention=many)) == 60
            log: Any = server.ask("SLOWLOG", "GET", 1000)
            read = [
                int(words[5]) for _, _, _, words, *_ in log if words[0] in (b"XRANGE", b"XREVRANGE") if len(words) == 6
            ]
            assert sum(read) <= 3 * 120  # two of each script look for the first one that is there


async def test_what_is_trimmed_while_it_is_read_in_parts_is_not_recovered(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "ENOUGH_BYTES", 100)
    async with nodes(redis_server, prefix, 2) as (node, other):
        epoch = await filled(node, 50, Retention(50, 0.0))
        read = node.topics._past._read

        async def read_slowly(*asked: Any, **more: Any) -> Any:
            part = await read(*asked, **more)
            await asyncio.gather(*(other.publish("news", b"0", Retention(50, 0.0)) for _ in range(20)))
            return part

        monkeypatch.setattr(node.topics._past, "_read", read_slowly)
        assert not (await recovered(node, Position(epoch, 5), Retention(50, 0.0))).recovered


def grow_old(server: RedisServer, node: Node, seconds: float) -> None:
    """What is there is older than it was."""
    key = node.common.names.of(HISTORY, "news")
    entries = server.ask("XRANGE", key, "-", "+")
    assert isinstance(entries, list)
    server.ask("DEL", key)
    for name, (_, value) in entries:
        ts_ms = int.from_bytes(value[12:20], "big") - int(seconds * 1000)
        server.ask("XADD", key, name, "e", value[:12] + ts_ms.to_bytes(8, "big") + value[20:])


async def test_what_is_too_old_is_gone(redis_server: RedisServer, prefix: str) -> None:
    short = Retention(1000, 1000.0)
    async with nodes(redis_server, prefix) as node:
        epoch = await filled(node, 20, short)
        grow_old(redis_server, node, 1001.0)
        for number in range(3):
            await node.publish("news", b"%d" % number, short)
        assert await page(node, None, 100, retention=short) == [21, 22, 23]
        assert not (await recovered(node, Position(epoch, 19), short)).recovered
        assert (await recovered(node, Position(epoch, 20), short)).recovered
        grow_old(redis_server, node, 1001.0)
        assert await page(node, None, 100, retention=short) == []
        assert (await recovered(node, Position(epoch, 23), short)).recovered
        assert not (await recovered(node, Position(epoch, 22), short)).recovered


async def test_the_oldest_that_is_young_enough_is_found_wherever_it_is(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        await filled(node, 40, MUCH)
        entries = redis_server.ask("XRANGE", node.common.names.of(HISTORY, "news"), "-", "+")
        assert isinstance(entries, list)
        now_ms = int.from_bytes(entries[-1][1][1][12:20], "big")
        for count in (0, 1, 7, 39, 40):
            topic = f"old{count}"
            redis_server.ask("DEL", node.common.names.of(META, topic))
            for number, (name, (_, value)) in enumerate(entries):
                ts_ms = now_ms - (3_600_000 if number < count else 0)
                aged = value[:12] + ts_ms.to_bytes(8, "big") + value[20:]
                redis_server.ask("XADD", node.common.names.of(HISTORY, topic), name, "e", aged)
            known = ("epoch", "e", "offset", 40, "era", redis_server.ask(*_era(node, topic)), "chain", "", "idle", 1000)
            redis_server.ask("HSET", node.common.names.of(META, topic), *known)
            answer: Page = await node.topics.history(topic, Retention(1000, 1800.0), None, 100)
            assert [one.offset for one in answer.publications] == list(range(count + 1, 41))


def _era(node: Node, topic: str) -> Sequence[object]:
    return ("HGET", node.common.names.key(ERA, partition_of(topic)), "number")


async def test_what_nobody_uses_is_forgotten_and_what_is_kept_for_ever_is_not(
    redis_server: RedisServer, prefix: str
) -> None:
    async with nodes(redis_server, prefix) as node:
        names = node.common.names

        def left_s(kind: bytes, topic: str) -> Any:
            return redis_server.ask("TTL", names.of(kind, topic))

        await recovered(node, None, topic="empty")
        assert 3500 < left_s(META, "empty") <= 3600
        await node.publish("empty", b"1")
        assert left_s(META, "empty") == left_s(HISTORY, "empty") == -1
        for ttl_s, idle_s in ((60.0, 3600), (7200.0, 7200)):
            topic = f"t{ttl_s}"
            await node.publish(topic, b"1", Retention(5, ttl_s))
            assert idle_s - 100 < left_s(META, topic) == left_s(HISTORY, topic) <= idle_s
        redis_server.ask("EXPIRE", names.of(META, "t60.0"), 1700)
        await node.topics.positions(["t60.0", "empty"])
        assert left_s(META, "t60.0") > 3500
        assert left_s(HISTORY, "t60.0") > 3500
        assert left_s(META, "empty") == -1
        await node.publish("empty", b"1", Retention(5, 60.0))
        assert left_s(HISTORY, "empty") > 3500


async def test_positions(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        epoch = await filled(node)
        topics = ["none", "news", *(f"t{number}" for number in range(300))]
        position = await recovered(node, None, topic="t7")
        found: Any = await node.topics.positions(topics)
        assert found[:2] == [None, (epoch, 7)]
        assert [each for each in found[2:] if each is not None] == [position.position]
        assert redis_server.ask("EXISTS", node.common.names.of(META, "none")) == 0


@pytest.mark.parametrize(
    "damage",
    [
        *({"offset": value} for value in ("", "x", "-1", "1.5", "nan", "inf", "1e300")),
        *({"idle": value} for value in ("", "x", "-1", "1e300")),
    ],
    ids=str,
)
async def test_a_topic_that_is_damaged_hides_no_other(
    redis_server: RedisServer, prefix: str, damage: dict[str, str]
) -> None:
    async with nodes(redis_server, prefix) as node:
        topics = _in_one_partition(3)
        epochs = [(await recovered(node, None, topic=topic)).position.epoch for topic in topics]
        for field, value in damage.items():
            redis_server.ask("HSET", node.common.names.of(META, topics[1]), field, value)
        assert await node.topics.positions(topics) == [(epochs[0], 0), None, (epochs[2], 0)]
        assert node.common.unreadable == {"position": 1}
        await node.publish(topics[1], b"1")
        redis_server.ask("DEL", node.common.names.of(META, topics[1]))
        redis_server.ask("SET", node.common.names.of(META, topics[1]), "no hash")
        assert await node.topics.positions(topics) == [(epochs[0], 0), None, (epochs[2], 0)]


def _in_one_partition(count: int) -> list[str]:
    names = (f"t{number}" for number in range(10_000))
    return [name for name in names if partition_of(name) == 7][:count]


@pytest.mark.parametrize("field", ["offset", "chain"])
async def test_a_topic_that_is_damaged_begins_anew(redis_server: RedisServer, prefix: str, field: str) -> None:
    async with nodes(redis_server, prefix) as node:
        epoch = await filled(node)
        key = node.common.names.of(META, "news")
        redis_server.ask("HDEL", key, field)
        recovery = await recovered(node, Position(epoch, 7))
        assert (recovery.recovered, recovery.position.offset) == (False, 0)
        assert recovery.position.epoch != epoch
        assert (await node.publish("news", b"1")).offset == 1
        redis_server.ask("HDEL", key, field)
        published = await node.publish("news", b"2")
        assert (published.offset, published.epoch == recovery.position.epoch) == (1, False)
        assert await page(node, None, 10) == [1]


async def test_positions_of_what_can_be_reached(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(redis_server, prefix) as node:
        there = await recovered(node, None, topic="there")
        run, away = node.backbone.run, partition_of("away")

        def run_elsewhere(script: Any, partition: int, *asked: Any) -> Any:
            if partition == away:
                raise EngineError("away")
            return run(script, partition, *asked)

        monkeypatch.setattr(node.backbone, "run", run_elsewhere)
        assert await node.topics.positions(["away", "there", "away"]) == [UNREACHED, there.position, UNREACHED]
        with pytest.raises(EngineError, match="away"):
            await node.topics.positions(["away"])
        assert await node.topics.positions([]) == []


async def test_a_topic_that_redis_has_forgotten_gets_another_epoch(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        epoch = await filled(node)
        redis_server.ask("DEL", node.common.names.of(META, "news"))
        recovery = await recovered(node, Position(epoch, 7))
        assert not recovery.recovered
        assert recovery.position.epoch != epoch
        assert recovery.position.offset == 0
        assert await page(node, None, 10) == []
        assert (await node.publish("news", b"1")).offset == 1


async def test_what_is_no_history_is_an_error(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(redis_server, prefix) as node:
        await filled(node)
        history = node.common.names.of(HISTORY, "news")
        redis_server.ask("XADD", history, "8-0", "e", b"\x01\x01\0\0" + b"\xff" * 30)
        redis_server.ask("HSET", node.common.names.of(META, "news"), "offset", 8)
        with pytest.raises(EngineError, match="something else"):
            await page(node, None, 10)
        for answer in (None, [], [b"e", b"x", 1, 1], [1, 1, 1, 1], [b"e", 1, 1, 1, 5]):
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            future.set_result(answer)
            monkeypatch.setattr(node.backbone, "run", lambda *_, done=future: done)
            with pytest.raises(EngineError, match="something else"):
                await recovered(node, None)
            with pytest.raises(EngineError, match="something else"):
                await node.topics.positions(["a", "b", "c"])


async def test_a_hole_in_a_history_is_no_recovery(redis_server: RedisServer, prefix: str) -> None:
    async with nodes(redis_server, prefix) as node:
        epoch = await filled(node)
        redis_server.ask("XDEL", node.common.names.of(HISTORY, "news"), "5-0")
        assert not (await recovered(node, Position(epoch, 3))).recovered
        assert (await recovered(node, Position(epoch, 5))).recovered


async def test_recovery_waits_until_the_topic_is_heard(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(redis_server, prefix, 2) as (node, other):
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        subscribe = node.backbone.subscribe

        async def subscribe_late(*asked: Any) -> None:
            await confirmed
            answer = subscribe(*asked)
            if answer is not None:
                await answer

        monkeypatch.setattr(node.backbone, "subscribe", subscribe_late)
        joining = node.topics.join("news")
        recovering = asyncio.ensure_future(recovered(node, None))
        await other.publish("news", b"1")
        assert not recovering.done()
        confirmed.set_result(None)
        assert (await recovering).position.offset == 1
        assert joining is not None
        await joining


async def test_while_redis_is_away_nothing_is_answered(prefix: str) -> None:
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            await filled(node)
            server.pause()
            asked = [asyncio.ensure_future(recovered(node, None)), asyncio.ensure_future(page(node, None, 5))]
            await asyncio.sleep(0.01)
            server.stop()
            for question in asked:
                with pytest.raises(EngineError):
                    await asyncio.wait_for(question, 30)
            await eventually(lambda: node.away == [True])
            with pytest.raises(EngineError, match="away"):
                node.topics.recover("news", KEPT, None)
            with pytest.raises(EngineError, match="away"):
                node.topics.history("news", KEPT, None, 5)
            with pytest.raises(EngineError):
                await node.topics.positions(["news"])


# Another server, or an older copy of its data.


async def restarted(server: RedisServer, node: Node) -> None:
    seen = len(node.away)
    server.stop()
    server.start()
    await eventually(lambda: len(node.away) == seen + 2, "it is back")


async def test_an_older_copy_begins_an_epoch_and_nobody_is_told_a_wrong_story(prefix: str) -> None:
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            epoch = await filled(node, 4)
            server.ask("SAVE")
            lost = await node.publish("news", b"lost")
            assert (lost.epoch, lost.offset) == (epoch, 5)
            await restarted(server, node)
            assert await node.topics.positions(["news"]) == [("", 4)]
            after = await node.publish("news", b"5")
            assert after.epoch != epoch
            assert after.offset == 5
            ahead = await recovered(node, Position(epoch, 5))
            assert (ahead.recovered, ahead.position) == (False, (after.epoch, 5))
            survivor = await recovered(node, Position(epoch, 3))
            assert survivor.recovered
            assert [one.data for one in survivor.publications] == [b"4", b"5"]
            assert survivor.position == (after.epoch, 5)
            assert await page(node, None, 10) == [1, 2, 3, 4, 5]


async def test_whoever_asks_first_begins_the_epoch(prefix: str) -> None:
    with RedisServer(persistent=True) as server:
        async with nodes(server, prefix) as node:
            epoch = await filled(node, 4)
            await restarted(server, node)
            recovery = await recovered(node, Position(epoch, 4))
            assert recovery.recovered
            assert recovery.position.epoch != epoch
            assert recovery.position.offset == 4
            assert (await recovered(node, Position(epoch, 2))).position == recovery.position
            assert (await node.publish("news", b"5")).epoch == recovery.position.epoch


async def test_a_history_that_is_longer_than_its_topic_was_said_to_be_goes_on_behind_it(prefix: str) -> None:
    with RedisServer(persistent=True) as server:
        async with nodes(server, prefix) as node:
            epoch = await filled(node, 4)
            server.ask("HSET", node.common.names.of(META, "news"), "offset", 2)
            await restarted(server, node)
            assert (await node.publish("news", b"5")).offset == 5
            assert (await recovered(node, Position(epoch, 2))).recovered
            assert not (await recovered(node, Position(epoch, 3))).recovered


async def test_the_last_four_epochs_are_remembered(prefix: str) -> None:
    with RedisServer(persistent=True) as server:
        async with nodes(server, prefix) as node:
            epochs = []
            for number in range(6):
                done = await node.publish("news", b"%d" % number, MUCH)
                epochs.append(done.epoch)
                assert done.offset == number + 1
                if number < 5:
                    await restarted(server, node)
            assert len(set(epochs)) == 6
            told = [(await recovered(node, Position(str(epoch), 1), MUCH)).recovered for epoch in epochs]
            assert told == [False, True, True, True, True, True]
            beyond = [
                (await recovered(node, Position(str(epoch), number + 2), MUCH)).recovered
                for number, epoch in enumerate(epochs)
            ]
            assert beyond == [False] * 6


async def test_a_key_is_known_as_long_as_its_publication(prefix: str) -> None:
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            await filled(node, 2)
            server.ask("SAVE")
            assert not (await node.publish("news", b"3", key="k")).duplicate
            await restarted(server, node)
            again = await node.publish("news", b"3", key="k")
            assert (again.duplicate, again.offset) == (False, 3)
            assert (await node.publish("news", b"3", key="k")).duplicate


async def test_any_number_of_older_copies(prefix: str) -> None:
    """What a client is told fits what it was told before, whatever was lost in between."""
    rng = random.Random(7)
    with RedisServer() as server:
        async with nodes(server, prefix) as node:
            copies: list[list[int]] = []
            """What the topic had when each was made."""
            live: list[int] = []
            clients: list[tuple[Position, list[int]]] = []
            for number in range(80):
                action = rng.choice(["publish", "publish", "save", "restore", "client", "check"])
                if action == "publish":
                    await node.publish("news", b"%d" % number, MUCH)
                    live.append(number)
                elif action == "save":
                    server.ask("SAVE")
                    shutil.copy(server.folder / "dump.rdb", server.folder / f"copy{len(copies)}")
                    copies.append(list(live))
                elif action == "restore" and copies:
                    which = rng.randrange(len(copies))
                    shutil.copy(server.folder / f"copy{which}", server.folder / "dump.rdb")
                    live = list(copies[which])
                    await restarted(server, node)
                elif action == "client":
                    clients.append(((await recovered(node, None, MUCH)).position, list(live)))
                for position, known in clients if action == "check" else ():
                    recovery = await recovered(node, position, MUCH)
                    if recovery.recovered:
                        told = known + [int(one.data) for one in recovery.publications]
                        assert told == live
