"""What connects processes is away: nobody hangs, nothing is said to be done that is not, and it comes back whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fastws.core.publication import Position
from fastws.engine.contract import PUSH, Order, Outcome
from fastws.errors import EngineError
from fastws.types import PresenceStats, Published
from tests.engine.suite.stand import KEEP, Node, Stand, got, until, until_async
from tests.support.waiting import Stopwatch

pytestmark = pytest.mark.asyncio

DEADLINE_S = 6.0
_TURNS = 10  # of the loop, for tasks that wait for each other


async def is_away(*nodes: Node) -> None:
    await until(lambda: all(node.house.outages[-1:] == ["degraded"] for node in nodes), "degraded")


async def is_back(*nodes: Node) -> None:
    await until(lambda: all(node.house.outages[-1:] == ["restored"] for node in nodes), "restored", 30.0)


async def refused(ask: Callable[[], Any]) -> None:
    """It is refused, and at once: without waiting for anything, however busy the machine is."""

    async def answered() -> Any:
        return await got(ask())

    asked = asyncio.create_task(answered())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    assert asked.done(), "it waits for something"
    with pytest.raises(EngineError) as failed:
        await asked
    assert failed.value.temporary


def everything(node: Node) -> dict[str, Callable[[], Any]]:
    """Every question and every order."""
    engine = node.engine
    return {
        "publish": lambda: node.publish_now("t", 1),
        "publish kept": lambda: node.publish_now("t", 1, KEEP),
        "publish once": lambda: node.publish_now("t", 1, key="k"),
        "join": lambda: engine.join("another"),
        "recover": lambda: engine.recover("t", KEEP, None),
        "history": lambda: engine.history("t", KEEP, None, 10),
        "positions": lambda: engine.positions(["t", "u"]),
        "presence": lambda: engine.presence("t", 10),
        "presence_stats": lambda: engine.presence_stats("t"),
        "sessions": lambda: engine.sessions("ann"),
        "status": lambda: engine.status(["ann", "ben"]),
        "topics": lambda: engine.topics("", "*"),
        "nodes": engine.nodes,
        "announce": lambda: engine.announce(b"1"),
        "order": lambda: engine.order(Order(PUSH, data=b"1")),
        "order for a user": lambda: engine.order(Order(PUSH, user="ann", data=b"1")),
    }


async def test_alone_while_it_is_away_and_whole_when_it_is_back(restarted: Stand) -> None:
    one, two = await restarted.pair()
    for node in (one, two):
        await node.join("t")
    one.attach("ann", "c-1")
    one.come("t", "c-1", "ann")
    one.come("t", "c-2", "ben")
    two.attach("ann", "c-3")
    kept = await one.publish("t", '"before"', KEEP)
    await restarted.settle("t")

    await restarted.take_away()
    await is_away(one, two)
    assert await one.publish("t", '"local"') == Published(None, None, duplicate=False, degraded=True)
    await got(one.engine.announce(b'"local"'))
    assert await got(one.engine.order(Order(PUSH, data=b"1"))) == Outcome(1)
    for ask in (
        lambda: one.publish_now("t", 1, KEEP),
        lambda: one.publish_now("t", 1, key="k"),
        lambda: one.engine.recover("t", KEEP, None),
        lambda: one.engine.history("t", KEEP, None, 1),
        lambda: one.engine.presence("t", 10),
        lambda: one.engine.presence_stats("t"),
        lambda: one.engine.sessions("ann"),
        lambda: one.engine.status(["ann"]),
        one.engine.nodes,
    ):
        await refused(ask)
    assert one.house.data("t") == [b'"before"', b'"local"']
    assert one.house.announcements[-1][0] == b'"local"'
    assert len(one.house.orders) == 1
    await one.join("meanwhile")
    await one.publish("meanwhile", 1)
    await until(lambda: one.house.data("meanwhile") == [b"1"])
    one.go("t", "c-2")
    one.come("t", "c-4", "dan")
    two.attach("cat", "c-5")
    two.detach("ann", "c-3")

    await restarted.bring_back()
    await is_back(one, two)
    assert two.house.data("t").count(b'"local"') == two.house.data("meanwhile").count(b"1") == 0
    assert one.house.outages == two.house.outages == ["degraded", "restored"]
    await two.publish("meanwhile", 2)
    await until(lambda: one.house.data("meanwhile") == [b"1", b"2"])

    async def is_right() -> bool:
        listed = await got(two.engine.presence("t", 10))
        sessions = [one.conn for one in await got(two.engine.sessions("ann"))]
        others = [one.conn for one in await got(one.engine.sessions("cat"))]
        return (
            listed.members.keys() == {"c-1", "c-4"}
            and await got(two.engine.presence_stats("t")) == PresenceStats(2, 2)
            and sessions == ["c-1"]
            and others == ["c-5"]
        )

    await until_async(is_right)
    assert await got(one.engine.order(Order(PUSH, user="ann", data=b"1"))) == Outcome(1)
    # What it kept is gone, and nobody is told that it goes on.
    assert kept.epoch
    recovery = await got(two.engine.recover("t", KEEP, Position(kept.epoch, 1)))
    assert not recovery.recovered
    assert recovery.position.epoch != kept.epoch
    again = await one.publish("t", '"after"', KEEP)
    assert again.epoch == recovery.position.epoch
    await restarted.settle("t")
    assert two.house.data("t")[-1] == b'"after"'


async def test_a_link_that_is_cut_loses_nothing_that_is_kept(restarted: Stand) -> None:
    one, two = await restarted.pair()
    await two.join("t")
    start = (await got(two.engine.recover("t", KEEP, None))).position
    one.come("t", "c-1", "ann")
    for number in range(5):
        await one.publish("t", number, KEEP)
    for kind in ("normal", "pubsub"):
        before = {node: len(node.house.outages) for node in (one, two)}
        await asyncio.to_thread(restarted.server.kill_clients, kind)
        await until(lambda before=before: all(len(node.house.outages) >= count + 2 for node, count in before.items()))
        await is_back(one, two)
    published = await one.publish("t", 5, KEEP)
    assert (published.epoch, published.offset) == (start.epoch, 6)
    recovery = await got(two.engine.recover("t", KEEP, start))
    assert [int(one.data) for one in recovery.publications] == list(range(6))
    await restarted.settle("t")
    assert two.house.data("t")[-1] == b"5"
    assert await got(two.engine.presence_stats("t")) == PresenceStats(1, 1)
    for node in (one, two):
        assert node.house.outages == ["degraded", "restored"] * (len(node.house.outages) // 2)


async def test_nothing_hangs_while_it_does_not_answer(restarted: Stand) -> None:
    one, two = await restarted.pair()
    await one.join("t")
    asks = everything(one)

    async def outcome(answer: Any) -> str:
        try:
            if isinstance(answer, Awaitable):
                async with asyncio.timeout(DEADLINE_S):
                    await answer
        except EngineError:
            return "refused"
        except TimeoutError:
            return "hangs"
        return "answered"

    await restarted.pause()
    try:
        answers = {name: ask() for name, ask in asks.items()}
        one.come("t", "c-1")
        one.attach("ann", "c-1")
        ends = dict(zip(answers, await asyncio.gather(*map(outcome, answers.values())), strict=True))
        assert "hangs" not in ends.values(), ends
        for name in ("publish kept", "publish once", "recover", "history", "presence", "sessions", "status", "nodes"):
            assert ends[name] == "refused", ends
        await is_away(one, two)
    finally:
        await restarted.resume()
    await is_back(one, two)
    await two.publish("t", '"after"')
    await until(lambda: b'"after"' in one.house.data("t"))

    async def is_there() -> bool:
        return await got(two.engine.presence_stats("t")) == PresenceStats(1, 0)

    await until_async(is_there)


async def test_an_engine_stops_while_it_is_away(restarted: Stand) -> None:
    one, two = await restarted.pair()
    one.come("t", "c-1")
    await restarted.take_away()
    await is_away(one, two)
    async with asyncio.timeout(DEADLINE_S):
        await one.stop()
    await restarted.bring_back()
    await is_back(two)


async def test_an_engine_that_cannot_start_says_so(restarted: Stand) -> None:
    await restarted.take_away()
    watch = Stopwatch()
    with pytest.raises(EngineError):
        await restarted.node()
    assert watch.own_s < 2 * DEADLINE_S
    await restarted.bring_back()
    await (await restarted.node()).publish("t", 1)


async def test_a_failover_is_an_outage_that_ends(fleet: Stand) -> None:
    """What the new master has goes on, and nothing is made up."""
    one, two = await fleet.pair()
    for node in (one, two):
        await node.join("t")
    one.come("t", "c-1", "ann")
    start = (await got(two.engine.recover("t", KEEP, None))).position
    last = [await one.publish("t", number, KEEP) for number in range(5)][-1]
    await fleet.settle("t")
    await fleet.fail_over("t")

    async def goes_on() -> bool:
        try:
            await one.publish("t", '"after"', KEEP)
        except EngineError:
            return False
        return b'"after"' in two.house.data("t")

    await until_async(goes_on, patience_s=40.0)
    await until(lambda: all(node.house.outages[-1:] in ([], ["restored"]) for node in (one, two)))
    position = (await got(two.engine.recover("t", KEEP, None))).position
    assert position.offset > last.offset or position.epoch != last.epoch
    recovery = await got(two.engine.recover("t", KEEP, start))
    if recovery.recovered:
        assert [one.offset for one in recovery.publications] == list(range(1, recovery.position.offset + 1))

    async def is_present() -> bool:
        return await got(two.engine.presence_stats("t")) == PresenceStats(1, 1)

    await until_async(is_present)
