"""The history of a topic: pages, recovery from every position, what is trimmed or too old."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence

import pytest

from fastws.core.publication import Position, Publication, Retention
from fastws.engine.contract import EpochError
from tests.engine.suite.stand import KEEP, KEEP_3, Node, Stand, got, until_async
from tests.support.waiting import Stopwatch

pytestmark = pytest.mark.asyncio


def offsets(publications: Sequence[Publication]) -> list[int]:
    return [publication.offset for publication in publications]


async def test_recovery_gives_everything_or_nothing(stand: Stand) -> None:
    first, last = await stand.pair()
    empty = await got(last.engine.recover("t", KEEP_3, None))
    assert (empty.position.offset, empty.recovered, list(empty.publications)) == (0, False, [])
    epoch = empty.position.epoch
    for number in range(5):
        assert (await first.publish("t", number, KEEP_3)).epoch == epoch
    for offset, expected in {0: None, 1: None, 2: [3, 4, 5], 3: [4, 5], 4: [5], 5: [], 6: None, 2**40: None}.items():
        recovery = await got(last.engine.recover("t", KEEP_3, Position(epoch, offset)))
        assert recovery.position == (epoch, 5)
        assert recovery.recovered is (expected is not None)
        assert offsets(recovery.publications) == (expected or [])
    for since in (Position("other", 5), Position("", 5), Position("x y\0*", 0), None):
        recovery = await got(last.engine.recover("t", KEEP_3, since))
        assert (recovery.position, recovery.recovered) == ((epoch, 5), False)
        assert list(recovery.publications) == []


async def test_what_is_recovered_is_what_was_published(stand: Stand) -> None:
    first, last = await stand.pair()
    start = await got(last.engine.recover("t", KEEP, None))
    await first.publish("t", '{"a":1}', KEEP, user="ann", conn="c-1", exclude="c-2")
    await first.publish("t", "null", KEEP)
    recovery = await got(last.engine.recover("t", KEEP, start.position))
    assert [(one.data, one.user, one.conn) for one in recovery.publications] == [
        (b'{"a":1}', "ann", "c-1"),
        (b"null", None, ""),
    ]
    assert recovery.publications[0].ts_ms > 1_600_000_000_000


async def test_pages_of_history_both_ways(stand: Stand) -> None:
    first, last = await stand.pair()
    keep = Retention(10, 0.0)
    epoch = {(await first.publish("t", number, keep)).epoch for number in range(12)}.pop()
    assert epoch

    async def page(since: int | None, limit: int, *, reverse: bool = False) -> list[int]:
        at = None if since is None else Position(epoch, since)
        answer = await got(last.engine.history("t", keep, at, limit, reverse=reverse))
        assert answer.position == (epoch, 12)
        return offsets(answer.publications)

    assert await page(None, 3) == [3, 4, 5]
    assert await page(5, 3) == [6, 7, 8]
    assert await page(0, 100) == list(range(3, 13))
    assert await page(11, 5) == [12]
    assert await page(12, 5) == await page(99, 5) == await page(None, 0) == []
    assert await page(None, 3, reverse=True) == [12, 11, 10]
    assert await page(5, 3, reverse=True) == [4, 3]
    assert await page(99, 1, reverse=True) == [12]
    assert await page(3, 5, reverse=True) == await page(0, 5, reverse=True) == []
    assert await page(None, 0, reverse=True) == []
    with pytest.raises(EpochError):
        await got(last.engine.history("t", keep, Position("other", 1), 1))


async def test_long_histories_are_given_whole(stand: Stand) -> None:
    first, last = await stand.pair()
    keep = Retention(2000, 0.0)
    start = (await got(last.engine.recover("t", keep, None))).position
    answers = [first.publish_now("t", f'"{"x" * 1000}{number}"', keep) for number in range(1500)]
    for answer in answers:
        await got(answer)
    recovery = await got(last.engine.recover("t", keep, start))
    assert recovery.recovered
    assert offsets(recovery.publications) == list(range(1, 1501))
    page = await got(last.engine.history("t", keep, None, 1000))
    assert offsets(page.publications) == list(range(1, 1001))
    page = await got(last.engine.history("t", keep, None, 1000, reverse=True))
    assert offsets(page.publications) == list(range(1500, 500, -1))


async def test_what_is_too_old_is_gone_and_its_offsets_stay_used(stand: Stand) -> None:
    first, last = await stand.pair()
    keep = Retention(100, 0.3)
    epoch = (await first.publish("t", 1, keep)).epoch
    assert epoch

    async def is_gone() -> bool:
        page = await got(last.engine.history("t", keep, None, 100))
        return not page.publications

    await until_async(is_gone)
    assert not (await got(last.engine.recover("t", keep, Position(epoch, 0)))).recovered
    assert (await got(last.engine.recover("t", keep, Position(epoch, 1)))).recovered
    for offset in itertools.count(2):
        watch = Stopwatch()
        published = await first.publish("t", offset, keep)
        assert (published.epoch, published.offset) == (epoch, offset)
        assert not (await got(last.engine.recover("t", keep, Position(epoch, 0)))).recovered
        found = offsets((await got(last.engine.recover("t", keep, Position(epoch, offset - 1)))).publications)
        assert found in ([offset], [])
        if watch.s < keep.ttl_s - 0.05:  # else it may be too old again
            assert found == [offset]
            break


async def test_a_history_may_become_shorter(stand: Stand) -> None:
    first, last = await stand.pair()
    for number in range(5):
        await first.publish("t", number, KEEP)
    assert offsets((await got(last.engine.history("t", KEEP_3, None, 10))).publications) == [3, 4, 5]
    await first.publish("t", 6, Retention(2, 0.0))
    assert offsets((await got(last.engine.history("t", Retention(2, 0.0), None, 10))).publications) == [5, 6]


async def test_positions_change_nothing(stand: Stand) -> None:
    first, last = await stand.pair()
    topics = [f"t{number}" for number in range(40)]
    published = {topic: await first.publish(topic, 1, KEEP) for topic in topics[::2]}
    for _ in range(2):
        positions = await got(last.engine.positions([*topics, "plain"]))
        assert list(positions) == [
            (published[topic].epoch, 1) if topic in published else None for topic in [*topics, "plain"]
        ]
    assert list(await got(last.engine.positions([]))) == []
    again = await first.publish(topics[0], 2, KEEP)
    assert list(await got(last.engine.positions(topics[:1]))) == [(again.epoch, 2)]


@pytest.mark.parametrize("seed", range(3))
async def test_recovery_while_publications_arrive_leaves_no_gap(stand: Stand, seed: int) -> None:
    """Joined first and asked then: what is answered and what is heard after that are everything, in order."""
    nodes = await stand.some()
    rng = random.Random(seed)
    keep = Retention(1000, 0.0)
    start = (await got(nodes[0].engine.recover("t", keep, None))).position
    total = 0

    async def say(node: Node) -> None:
        nonlocal total
        for _ in range(rng.randrange(1, 4)):
            total += 1
            node.publish_now("t", total, keep)
            if rng.random() < 0.5:
                await asyncio.sleep(0)

    hearers = []
    for round_ in range(12):
        for node in rng.sample(nodes, len(nodes)):
            await say(node)
        if round_ % 4 == 0:
            hearer = await stand.node() if stand.connects else nodes[0]
            if hearer is not nodes[0] or round_ == 0:
                joined = hearer.engine.join("t")
                asked = hearer.engine.recover("t", keep, start)
                await say(nodes[0])
                hearers.append((hearer, await got(asked)))
                if joined is not None:
                    await got(joined)
    await stand.settle("t")
    for hearer, recovery in hearers:
        assert recovery.recovered
        answered = offsets(recovery.publications)
        assert answered == list(range(1, recovery.position.offset + 1))
        later = [one.offset for one in hearer.house.heard if one.topic == "t" and one.offset > recovery.position.offset]
        assert later == list(range(recovery.position.offset + 1, total + 1))
