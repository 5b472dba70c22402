"""Publications: everybody who joined hears each once, in one order; offsets; keys; who shall not hear."""

from __future__ import annotations

import asyncio
import random

import pytest

from fastws.types import Published
from tests.engine.suite.stand import KEEP, KEEP_3, Stand, got, until

pytestmark = pytest.mark.asyncio


async def test_only_those_who_joined_hear_it_once(stand: Stand) -> None:
    nodes = await stand.some()
    for node in nodes:
        await node.join("t")
    await nodes[0].join("other")
    for index, node in enumerate(nodes):
        await node.publish("t", index, user="u", conn="c", exclude="x")
        await node.publish("nobody", index)
    await stand.settle("t")
    await stand.settle("nobody")
    for node in nodes:
        assert sorted(node.house.data("t")) == [b"%d" % index for index in range(len(nodes))]
        assert {(one.user, one.conn, one.exclude, one.offset, one.epoch) for one in node.house.heard[:1]} == {
            ("u", "c", "x", 0, "")
        }
        assert node.house.data("nobody") == node.house.data("other") == []


async def test_the_publisher_hears_it_before_or_after_the_answer_but_hears_it(stand: Stand) -> None:
    node = await stand.node()
    await node.join("t")
    for number in range(20):
        published = await node.publish("t", number)
        assert published == Published(None, None, duplicate=False)
    await until(lambda: len(node.house.heard) == 20)
    assert node.house.data("t") == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("keeps", [False, True])
async def test_one_order_for_all_in_the_order_of_each_publisher(stand: Stand, keeps: bool) -> None:
    nodes = await stand.some()
    retention = KEEP if keeps else None
    for node in nodes:
        await node.join("t")
    answers = []
    for number in range(60):
        for index, node in enumerate(nodes):
            answers.append(node.publish_now("t", f'"{index}-{number}"', retention))
        if number % 7 == 0:
            await asyncio.sleep(0)
    positions = [(await got(answer)).offset for answer in answers]
    await stand.settle("t")
    stories = [node.house.data("t") for node in nodes]
    assert all(story == stories[0] for story in stories)
    assert len(stories[0]) == 60 * len(nodes)
    for index in range(len(nodes)):
        mine = [data for data in stories[0] if data.startswith(b'"%d-' % index)]
        assert mine == [b'"%d-%d"' % (index, number) for number in range(60)]
    if keeps:
        assert sorted(positions) == list(range(1, 60 * len(nodes) + 1))
        for node in nodes:
            assert [one.offset for one in node.house.heard if one.topic == "t"] == sorted(positions)
            assert len({one.epoch for one in node.house.heard if one.topic == "t"}) == 1


async def test_offsets_count_up_by_one_over_all_publishers(stand: Stand) -> None:
    nodes = await stand.some()
    published = [await nodes[number % len(nodes)].publish("t", number, KEEP_3) for number in range(10)]
    assert [one.offset for one in published] == list(range(1, 11))
    assert len({one.epoch for one in published}) == 1
    assert published[0].epoch
    other = await nodes[0].publish("other", 0, KEEP_3)
    assert other.offset == 1
    assert other.epoch != published[0].epoch


async def test_what_was_answered_is_in_the_history_and_so_is_what_was_heard(stand: Stand) -> None:
    first, last = await stand.pair()
    await last.join("t")
    for number in range(5):
        published = await first.publish("t", number, KEEP)
        page = await got(last.engine.history("t", KEEP, None, 100))
        assert page.position == (published.epoch, published.offset)
        assert [one.data for one in page.publications] == [b"%d" % index for index in range(number + 1)]
    await stand.settle("t")
    page = await got(last.engine.history("t", KEEP, None, 100))
    assert [one.ts_ms for one in page.publications] == [one.ts_ms for one in last.house.heard if one.topic == "t"]


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("key", ["k", "", "long" * 1000, "\ud800é\0"])
async def test_a_key_is_taken_once_wherever_it_comes(stand: Stand, keeps: bool, key: str) -> None:
    nodes = await stand.some()
    retention = KEEP if keeps else None
    for node in nodes:
        await node.join("t")
    answers = [node.publish_now("t", index, retention, key=key) for index, node in enumerate(nodes * 3)]
    published = [await got(answer) for answer in answers]
    assert [one.duplicate for one in published].count(False) == 1
    assert len({(one.offset, one.epoch) for one in published}) == 1
    other = await nodes[-1].publish("t", '"other"', retention, key=f"{key}2")
    elsewhere = await nodes[-1].publish("u", '"elsewhere"', retention, key=key)
    assert not other.duplicate
    assert not elsewhere.duplicate
    assert other.offset == (2 if keeps else None)
    await stand.settle("t")
    for node in nodes:
        assert len(node.house.data("t")) == 2
        assert node.house.data("t")[1] == b'"other"'


async def test_who_published_is_told(stand: Stand) -> None:
    nodes = await stand.some(2)
    for node in nodes:
        await node.join("t")
    authors = [(None, ""), ("", "c-1"), ("ann", "c-2"), ("é" * 1000, "c-3")]
    for user, conn in authors:
        await nodes[0].publish("t", 1, KEEP, user=user, conn=conn)
    await stand.settle("t")
    page = await got(nodes[-1].engine.history("t", KEEP, None, 10))
    for node in nodes:
        assert [(one.user, one.conn) for one in node.house.heard if one.topic == "t"] == authors
    assert [(one.user, one.conn) for one in page.publications] == authors


async def test_data_of_all_sizes_comes_as_it_is(stand: Stand) -> None:
    nodes = await stand.some(2)
    rng = random.Random(7)
    for node in nodes:
        await node.join("t")
    sent = [b'"%s"' % (b"x" * size) for size in (0, 1, 125, 126, 65_535, 65_536, 300_000, rng.randrange(9999))]
    for data in sent:
        await nodes[0].publish("t", data.decode(), KEEP)
        await nodes[0].publish("t", data.decode())
    await stand.settle("t")
    for node in nodes:
        assert [one.data for one in node.house.heard if one.topic == "t" and one.offset] == sent
        assert [one.data for one in node.house.heard if one.topic == "t" and not one.offset] == sent


async def test_names_of_topics_are_only_names(stand: Stand) -> None:
    nodes = await stand.some(2)
    topics = ["t", "T", "t*", "t?", "[t]", "{t}", "a}b{c", "t:é", "tenant\0t", "t\n", "*", " "]
    for topic in topics:
        for node in nodes:
            await node.join(topic)
    for topic in topics:
        assert (await nodes[0].publish(topic, f'"{topic.encode().hex()}"', KEEP)).offset == 1
    for topic in topics:
        await stand.settle(topic)
        for node in nodes:
            assert node.house.data(topic) == [f'"{topic.encode().hex()}"'.encode()]
