"""Who is present in topics: listed, counted and told of, wherever somebody is."""

from __future__ import annotations

import asyncio
import random

import pytest

from fastws.engine.redis.engine import RedisEngine
from fastws.types import Member, Presence, PresenceStats
from tests.engine.suite.stand import KEEP, Node, Stand, got, until, until_async

pytestmark = pytest.mark.asyncio


async def presence(node: Node, topic: str = "t", limit: int = 1000) -> Presence:
    return await got(node.engine.presence(topic, limit))


async def stats(node: Node, topic: str = "t") -> PresenceStats:
    return await got(node.engine.presence_stats(topic))


async def written(stand: Stand) -> None:
    """What every process had to say has been said."""
    for node in stand.nodes:
        if not node.house.has_stopped:
            await stats(node)


async def test_who_is_there(stand: Stand) -> None:
    nodes = await stand.some()
    for node in nodes:
        await node.join("t")
    nodes[0].come("t", "a", "ann", info={"name": "Ann", "n": [1, None]})
    nodes[-1].come("t", "b", "ann", device="phone")
    nodes[-1].come("t", "c", "")
    nodes[-1].come("other", "c", "")
    await written(stand)
    for node in nodes:
        listed = await presence(node)
        assert listed.members == {
            "a": Member("ann", "default", {"name": "Ann", "n": [1, None]}),
            "b": Member("ann", "phone", None),
            "c": Member("", "default", None),
        }
        assert listed[1:] == (3, 1, False)
        assert await stats(node) == PresenceStats(3, 1)
        some = await presence(node, limit=2)
        assert (len(some.members), some.connections, some.users, some.truncated) == (2, 3, 1, True)
        assert await presence(node, limit=0) == Presence({}, 3, 1, truncated=True)
    nodes[0].go("t", "a")
    nodes[-1].go("t", "b")
    await written(stand)
    for node in nodes:
        assert (await presence(node)).members.keys() == {"c"}
        assert await stats(node) == PresenceStats(1, 0)
        assert await presence(node, "nobody") == Presence({}, 0, 0, truncated=False)


async def test_others_are_told_once_in_order_and_their_own_house_is_not(cluster: Stand) -> None:
    one, two, three = await cluster.some()
    for node in (one, two, three):
        await node.join("t")
    await three.join("other")
    one.come("t", "a", "ann", info=1)
    await stats(one)
    two.come("t", "b")
    two.come("t", "quiet", announce=False)
    await stats(two)
    one.go("t", "a")
    await stats(one)
    await until(lambda: [len(node.house.told("t")) for node in (one, two, three)] == [1, 2, 3])
    assert three.house.told("t") == [("join", "a"), ("join", "b"), ("leave", "a")]
    assert two.house.told("t") == [("join", "a"), ("leave", "a")]
    assert one.house.told("t") == [("join", "b")]
    two.go("t", "quiet")
    await cluster.settle("t")
    assert len(three.house.told("t")) == 3, "nobody was told that it came"
    assert three.house.told("other") == []


@pytest.mark.parametrize("keeps", [False, True])
async def test_a_join_comes_before_what_its_connection_publishes(cluster: Stand, keeps: bool) -> None:
    one, two = await cluster.pair()
    await two.join("t")
    for number in range(30):
        conn = f"c-{number}"
        answers = [one.publish_now("t", '"before"', KEEP if keeps else None)]
        one.come("t", conn)
        answers.append(one.publish_now("t", f'"{conn}"', KEEP if keeps else None, conn=conn))
        if number % 3 == 0:
            for answer in answers:
                await got(answer)
    await cluster.settle("t")
    told = [(what, about.strip('"')) for what, topic, about in two.house.story if topic == "t" and about != '"before"']
    kinds, story = zip(*told, strict=True)
    assert sorted(kinds) == ["join"] * 30 + ["publication"] * 30
    for number in range(30):
        first, second = (index for index, conn in enumerate(story) if conn == f"c-{number}")
        assert (kinds[first], kinds[second]) == ("join", "publication")


async def test_a_storm_is_told_as_a_number(cluster: Stand) -> None:
    one, two = await cluster.pair()
    await two.join("t")
    for number in range(3000):
        one.come("t", f"c-{number}", f"u-{number % 10}")
    assert await stats(one) == PresenceStats(3000, 10)
    await cluster.settle("t")
    assert sum(joined for _, joined, _ in two.house.crowds) + len(two.house.told("t")) == 3000
    assert len(two.house.crowds) < 10
    listed = await presence(two)
    assert (len(listed.members), listed.connections, listed.users, listed.truncated) == (1000, 3000, 10, True)


async def test_what_is_told_leads_to_what_is_listed(cluster: Stand) -> None:
    """Whoever begins with a list and follows what it is told knows who is there, whatever happens meanwhile."""
    nodes = await cluster.some()
    for node in nodes:
        await node.join("t")
    rng = random.Random(3)
    here: dict[str, Node] = {}
    for number in range(300):
        if here and rng.random() < 0.45:
            conn = rng.choice(list(here))
            here.pop(conn).go("t", conn)
        else:
            conn = f"c-{number}"
            here[conn] = rng.choice(nodes)
            here[conn].come("t", conn)
        if rng.random() < 0.3:
            await asyncio.sleep(0)
        if number == 150:
            listed = (await presence(nodes[0])).members
            assert listed.keys() <= {*here, *(f"c-{index}" for index in range(151))}
    await cluster.settle("t")
    await written(cluster)
    for node in nodes:
        known: set[str] = set()
        for what, conn in node.house.told("t"):
            assert (conn in known) == (what == "leave"), "each is told once, and has come before it leaves"
            (known.add if what == "join" else known.discard)(conn)
        assert known == {conn for conn, owner in here.items() if owner is not node}
        assert (await presence(node)).members.keys() == here.keys()
        assert await stats(node) == PresenceStats(len(here), 0)


async def test_a_node_that_stops_takes_its_members_along(cluster: Stand) -> None:
    one, two = await cluster.pair()
    await two.join("t")
    for number in range(5):
        one.come("t", f"c-{number}", "ann")
    two.come("t", "b", "ben")
    await written(cluster)
    await one.stop()
    assert await stats(two) == PresenceStats(1, 1)
    await until(lambda: len(two.house.told("t")) == 10)
    assert sorted(two.house.told("t")[5:]) == [("leave", f"c-{number}") for number in range(5)]


async def test_the_dead_leave_within_a_lease_and_are_reported_once(cluster: Stand) -> None:
    lease_s = 1.0
    one, two, three = [await cluster.node(lease_s) for _ in range(3)]
    for node in (two, three):
        await node.join("t")
    for number in range(30):
        one.attach(f"u-{number % 7}", f"c-{number}", "phone")
        one.come("t", f"c-{number}", f"u-{number % 7}")
    await written(cluster)
    await got(one.engine.sessions("u-1"))
    await until(lambda: len(two.house.told("t")) == 30)
    await one.vanish()

    async def is_gone() -> bool:
        return await stats(two) == PresenceStats(0, 0)

    await until_async(is_gone)
    for node in (two, three):
        await until(lambda node=node: len(node.house.told("t")) == 60)
        assert sorted(node.house.told("t")[30:]) == sorted(("leave", f"c-{number}") for number in range(30))
    await until(lambda: len(two.house.lost) + len(three.house.lost) >= 30)
    lost = [*two.house.lost, *three.house.lost]
    assert sorted(one.conn for one in lost) == sorted(f"c-{number}" for number in range(30))
    assert {(one.node, one.device, one.tenant) for one in lost} == {("n1", "phone", "")}
    assert list(await got(two.engine.sessions("u-1"))) == []
    status = (await got(two.engine.status(["u-1"])))[0]
    assert not status.online
    assert [one.name for one in await got(two.engine.nodes())] == ["n2", "n3"]


async def test_who_comes_back_while_it_is_being_buried_is_there_in_the_end(cluster: Stand) -> None:
    """Whoever buries it may be slow: that everybody left is not told after it was told that they came."""
    lease_s = 1.0
    one, two = await cluster.node(lease_s), await cluster.node(lease_s)
    for node in (one, two):
        await node.join("t")
    for number in range(5):
        one.come("t", f"c-{number}", "ann")
    await written(cluster)
    assert isinstance(one.engine, RedisEngine)
    assert isinstance(two.engine, RedisEngine)
    has_come = asyncio.Event()
    forget = two.engine._presence.forget

    async def forget_late(node: str, partition: int, most: int) -> bool:
        await has_come.wait()
        return await forget(node, partition, most)

    two.engine._presence.forget = forget_late  # type: ignore[method-assign]
    await one.engine._nodes._one_beats.acquire()
    await until(lambda: two.engine._nodes._burial is not None)
    one.engine._nodes._one_beats.release()
    await until(lambda: one.house.fenced)
    await until(lambda: one.engine._nodes._registering is not None and one.engine._nodes._registering.done())
    has_come.set()
    await until(lambda: two.engine._nodes._burial is not None and two.engine._nodes._burial.done())
    await cluster.settle("t")
    known: set[str] = set()
    for what, conn in two.house.told("t"):
        (known.add if what == "join" else known.discard)(conn)
    assert known == {f"c-{number}" for number in range(5)}
    assert one.house.told("t") == [], "it is not told of itself, whatever it was called"
    assert await stats(two) == await stats(one) == PresenceStats(5, 1)


async def test_who_was_taken_for_dead_comes_back_with_everybody(cluster: Stand) -> None:
    lease_s = 1.0
    one, two = await cluster.node(lease_s), await cluster.node(lease_s)
    for node in (one, two):
        await node.join("t")
    two.come("t", "b", "ben")
    for number in range(5):
        one.attach("ann", f"c-{number}")
        one.come("t", f"c-{number}", "ann")
    await written(cluster)
    assert isinstance(one.engine, RedisEngine)
    beats = one.engine._nodes._one_beats
    await beats.acquire()  # it says nothing any more, but does not know
    joins = [("join", f"c-{number}") for number in range(5)]
    leaves = [("leave", f"c-{number}") for number in range(5)]
    await until(lambda: len(two.house.told("t")) == 10)
    assert sorted(two.house.told("t")) == sorted(joins + leaves)
    await until(lambda: len(two.house.lost) == 5)
    one.come("t", "late", "ann")
    one.go("t", "c-0")
    beats.release()
    await until(lambda: one.house.fenced)

    async def is_right() -> bool:
        listed = await presence(two)
        return (
            listed.members.keys() == {"b", "late", *(f"c-{number}" for number in range(1, 5))}
            and listed.connections == 6
            and await stats(one) == PresenceStats(6, 2)
            and len(await got(two.engine.sessions("ann"))) == 5
        )

    await until_async(is_right)
    await cluster.settle("t")
    known: set[str] = set()
    for what, conn in two.house.told("t"):
        (known.add if what == "join" else known.discard)(conn)
    assert known == {"late", *(f"c-{number}" for number in range(1, 5))}
    assert [told for told in one.house.told("t") if told != ("join", "b")] == [], "it is not told of itself"
    assert one.house.fenced == 1
