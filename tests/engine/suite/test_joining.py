"""Wanting topics and wanting them no longer; announcements; the beginning and the end of an engine."""

from __future__ import annotations

import asyncio

import pytest

from fastws.errors import FastWSError
from fastws.types import TopicInfo
from tests.engine.suite.stand import KEEP, Stand, got, until

pytestmark = pytest.mark.asyncio


async def test_what_is_published_after_a_join_has_answered_is_heard(stand: Stand) -> None:
    nodes = await stand.some(2)
    for number in range(30):
        topic = f"t{number}"
        await nodes[-1].join(topic)
        await nodes[0].publish(topic, number, KEEP if number % 2 else None)
    await until(lambda: len(nodes[-1].house.heard) == 30)


async def test_nothing_is_heard_of_a_topic_that_nobody_wants_for_a_while(stand: Stand) -> None:
    nodes = await stand.some(2)
    for node in nodes:
        await node.join("t")
    nodes[-1].leave("t")
    await nodes[0].publish("t", 1)
    await stand.settle("t")
    assert nodes[-1].house.data("t") == []
    assert len(nodes) == 1 or nodes[0].house.data("t") == [b"1"]


async def test_joining_and_leaving_in_a_hurry_ends_as_it_was_asked(stand: Stand) -> None:
    nodes = await stand.some(2)
    last = nodes[-1].engine
    for topic, ends in (("in", True), ("out", False)):
        answer = None
        for _ in range(5):
            last.join(topic)
            last.leave(topic)
            await asyncio.sleep(0)
        if ends:
            answer = last.join(topic)
        if answer is not None:
            await got(answer)
        await nodes[0].publish(topic, 1)
        await stand.settle(topic)
    assert nodes[-1].house.data("in") == [b"1"]
    assert nodes[-1].house.data("out") == []


async def test_topics_that_somebody_is_subscribed_to(stand: Stand) -> None:
    nodes = await stand.some(2)
    for topic in ("chat:a", "chat:b", "acme\0chat:a", "news"):
        await nodes[0].join(topic)
    await nodes[-1].join("chat:a", "other")

    async def topics(tenant: str, pattern: str) -> set[TopicInfo]:
        return set(await got(nodes[-1].engine.topics(tenant, pattern)))

    assert await topics("", "chat:*") == {TopicInfo("chat:a", 2), TopicInfo("chat:b", 1)}
    assert await topics("", "chat:a") == {TopicInfo("chat:a", 2)}
    assert await topics("acme", "*") == {TopicInfo("chat:a", 1)}
    assert {info.topic for info in await topics("", "*")} >= {"chat:a", "chat:b", "news", "other"}
    assert await topics("", "none*") == await topics("", "none") == set()


async def test_announcements_reach_every_process_once(stand: Stand) -> None:
    nodes = await stand.some()
    for number in range(5):
        await got(nodes[number % len(nodes)].engine.announce(b"%d" % number))
    await until(lambda: all(len(node.house.announcements) == 5 for node in nodes))
    for node in nodes:
        assert sorted(data for data, _ in node.house.announcements) == [b"%d" % number for number in range(5)]
        assert all(ts_ms > 1_600_000_000_000 for _, ts_ms in node.house.announcements)


async def test_all_nodes_are_named(stand: Stand) -> None:
    nodes = await stand.some()
    nodes[0].attach("ann", "c-1")
    found = await got(nodes[-1].engine.nodes())
    assert sorted(one.name for one in found) == sorted(node.house.name for node in nodes)
    assert {one.version for one in found} == {"1.2.3"}
    if stand.connects:
        await nodes[0].stop()
        found = await got(nodes[-1].engine.nodes())
        assert sorted(one.name for one in found) == sorted(node.house.name for node in nodes[1:])


async def test_nothing_comes_after_the_end(stand: Stand) -> None:
    nodes = await stand.some(2)
    for node in nodes:
        await node.join("t")
    for number in range(50):
        nodes[0].publish_now("t", number)
    nodes[-1].come("t", "c-1")
    await nodes[-1].stop()  # its house complains of whatever comes from now on
    if stand.connects:
        await nodes[0].publish("t", 1)
        await got(nodes[0].engine.announce(b"1"))
        await stand.settle("t")
    with pytest.raises(FastWSError):
        await got(nodes[-1].engine.announce(b"1"))


async def test_an_engine_may_start_after_another_one_has_stopped(stand: Stand) -> None:
    node = await stand.node()
    published = await node.publish("t", 1, KEEP)
    await node.stop()
    if stand.connects:
        again = await stand.node()
        assert await again.publish("t", 2, KEEP) == published._replace(offset=2)
