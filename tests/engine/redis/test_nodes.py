"""Leases: who lives, who buries the dead, and what becomes of one that was dead and is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.engine.contract import NodeFigures, Order, Outcome
from fastws.engine.redis.fleet.living import number_of
from fastws.engine.redis.names import ALIVE, BURIALS, HOME, NODES, partition_of
from fastws.errors import EngineError
from tests.engine.redis.fleet.nodes import LEASE_S, Member, Members
from tests.engine.suite.stand import got, until, until_async
from tests.support.waiting import Stopwatch

pytestmark = pytest.mark.asyncio


async def names_of(member: Member) -> list[str]:
    return [figures.name for figures in await got(member.engine.nodes())]


async def test_nodes_say_how_they_are(members: Members) -> None:
    one, two = await members.some(2)
    two.attach("ann", "b-1")
    assert await names_of(one) == ["n1", "n2"]
    await got(two.engine._nodes.renew())
    assert await got(one.engine.nodes()) == [
        NodeFigures("n1", 0, "1.2.3", 0, 5.0, draining=False),
        NodeFigures("n2", 0, "1.2.3", 1, 5.0, draining=False),
    ]
    key = one.engine._common.names.key(NODES, HOME)
    for damaged in (b"", b"[]", b"[1,2,3,4,5,6]", b"\xff"):
        await one.command("HSET", key, two.id, damaged)
        assert await names_of(one) == ["n1"]


async def test_every_process_has_an_id_of_its_own(members: Members) -> None:
    same = [await members.make(name="same") for _ in range(3)]
    assert len({member.id for member in same}) == 3
    assert [member.id.split(".")[:2] for member in same] == [["same", "1"], ["same", "2"], ["same", "3"]]


async def test_who_stops_leaves_nothing_behind(members: Members) -> None:
    one = await members.make()
    before = await one.keys()
    two = await members.make()
    two.attach("ann", "b-1")  # and is not detached
    two.attach("", "b-2")
    two.come("room", "b-1", "ann")
    await until_async(lambda: one.conns("ann"))
    await two.stop()
    assert [key for key in await one.keys() if ":ls:" not in key] == before
    assert await names_of(one) == ["n1"]
    assert one.house.lost == []


async def test_a_dead_process_is_buried_once_within_its_lease(members: Members) -> None:
    three = await members.some(3, LEASE_S)
    dead, *alive = three
    for number in range(500):
        dead.attach(f"u{number}", f"a-{number}", "web", "t" if number % 2 else "")
    dead.attach("", "a-x")
    dead.come("room", "a-0", "u0")
    alive[0].attach("u0", "b-0")
    await until_async(lambda: alive[1].conns("t\0u499"))
    await dead.die()
    died = Stopwatch()
    await until(lambda: sum(len(member.house.lost) for member in alive) >= 501)
    took_s = died.own_s
    await until_async(lambda: _is_over(alive[0]))
    lost = [one for member in alive for one in member.house.lost]
    assert sorted(one.conn for one in lost) == sorted([*(f"a-{number}" for number in range(500)), "a-x"])
    assert {(one.user, one.tenant, one.device, one.node) for one in lost if one.conn in ("a-7", "a-x")} == {
        ("u7", "t", "web", "n1"),
        ("", "", "default", "n1"),
    }
    assert took_s < LEASE_S + 0.5, "a busy machine is not what this is about"
    assert await alive[0].conns("u0") == ["b-0"]
    assert (await got(alive[0].engine.presence_stats("room"))).connections == 0
    assert not [
        key for key in await alive[0].keys() if dead.id in key and not set(key.split(":")) & {"gone", "nr", "mb"}
    ]
    assert await names_of(alive[1]) == ["n2", "n3"]


async def _is_over(member: Member) -> bool:
    return not await member.command("HLEN", member.engine._common.names.key(BURIALS, HOME))


async def test_the_sessions_of_a_dead_process_are_not_shown_before_it_is_buried(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    two.attach("ann", "b-1")
    await until_async(lambda: one.conns("ann"))
    one.engine._nodes._look_around = _nothing  # type: ignore[method-assign]
    two.halt()
    await until_async(lambda: _is_gone(one, "ann"))
    one.halt()  # on a busy machine it might think that it was stopped itself, and begin to look anew
    assert not (await got(one.engine.status(["ann"])))[0].online
    assert await one.admit("ann", "a-1", limit=1) == (True, [])
    assert await names_of(one) == ["n1"]


async def _nothing() -> None: ...


async def _is_gone(member: Member, user: str) -> bool:
    return not await member.conns(user)


async def _is_counted(member: Member, topic: str, connections: int) -> bool:
    return (await got(member.engine.presence_stats(topic))).connections == connections


async def test_who_was_taken_for_dead_comes_back_with_everybody(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    await two.join("room")
    before = one.id
    one.attach("ann", "a-1", "web")
    one.come("room", "a-1", "ann")
    await until_async(lambda: two.conns("ann"))
    one.halt()
    await until(lambda: len(two.house.lost) == 1)
    one.attach("bob", "a-2", "web")  # it does not know yet
    one.go_on()
    await until(lambda: one.house.fenced == 1)
    await until_async(lambda: two.conns("ann"))
    await until_async(lambda: two.conns("bob"))
    assert one.id != before
    lost = [session.conn for session in two.house.lost]
    assert lost in (["a-1"], ["a-1", "a-2"]), "the burial may have met it"
    assert one.house.lost == []
    await until_async(lambda: _is_counted(two, "room", 1))
    await until_async(lambda: _has_no(one, before))
    assert await two.conns("ann") == ["a-1"]
    two.house.answer = lambda order: Outcome(2)
    assert await got(one.engine.order(Order("count", attribute="user", data=b'"x"'))) == Outcome(3)
    assert await got(two.engine.order(Order("disconnect", user="bob"))) == Outcome(3)


async def _has_no(member: Member, node: str) -> bool:
    return not [key for key in await member.keys() if node in key and not set(key.split(":")) & {"gone", "nr", "mb"}]


async def test_a_lease_that_ended_and_that_nobody_took_is_renewed(members: Members) -> None:
    (one,) = await members.some(1, LEASE_S)
    before = one.id
    one.halt()
    await asyncio.sleep(LEASE_S * 1.5)
    one.go_on()
    await asyncio.sleep(LEASE_S / 2)
    assert (one.id, one.house.fenced) == (before, 0)


async def test_a_redis_that_has_forgotten_everything_is_told_again(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    one.attach("ann", "a-1", "web")
    one.come("room", "a-1", "ann")
    await until_async(lambda: two.conns("ann"))
    await one.command("FLUSHALL")
    await until_async(lambda: _knows_two(two))
    await until_async(lambda: two.conns("ann"))
    await until_async(lambda: _is_present(two))
    assert await got(two.engine.order(Order("disconnect", user="ann"))) == Outcome(2)
    assert [member.house.fenced for member in (one, two)] == [0, 0]
    assert [member.house.lost for member in (one, two)] == [[], []]


async def _knows_two(member: Member) -> bool:
    return await names_of(member) == ["n1", "n2"]


async def _is_present(member: Member) -> bool:
    return (await got(member.engine.presence_stats("room"))).connections == 1


async def test_an_outage_lets_nobody_take_anybody_for_dead(members: Members) -> None:
    three = await members.some(3, LEASE_S)
    for at, member in enumerate(three):
        member.attach("ann", f"c-{at}")
    await until_async(lambda: _has_three(three[0]))
    three[0].house.forget_session("ann", "c-0")
    members.server.stop()
    for member in three:
        await until(lambda member=member: member.house.outages == ["degraded"])
    three[0].engine.detach("ann", "c-0", is_last=True)
    three[1].attach("bob", "c-4")
    await asyncio.sleep(1.5 * LEASE_S)
    with pytest.raises(EngineError):
        three[0].engine.nodes()
    members.server.start()
    for member in three:
        await until(lambda member=member: member.house.outages == ["degraded", "restored"])
    await asyncio.sleep(1.5 * LEASE_S)
    assert [(member.house.lost, member.house.fenced) for member in three] == [([], 0)] * 3
    assert sorted(await three[0].conns("ann")) == ["c-1", "c-2"]
    assert await three[0].conns("bob") == ["c-4"]


async def _has_three(member: Member) -> bool:
    return len(await member.conns("ann")) == 3


async def test_the_ends_that_redis_did_not_hear_of_are_told_afterwards(members: Members) -> None:
    one, two = await members.some(2)
    for conn in ("a-1", "a-2"):
        one.attach("ann", conn)
    await until_async(lambda: two.conns("ann"))
    one.house.forget_session("ann", "a-1")  # and nobody says so to Redis
    await one.engine._nodes.renew()
    await until_async(lambda: _has(two, 1))
    assert await two.conns("ann") == ["a-2"]


async def test_what_redis_refuses_to_note_is_noted_later(members: Members, caplog: pytest.LogCaptureFixture) -> None:
    one, two = await members.some(2, LEASE_S)
    backbone: Any = one.engine._common.backbone
    await one.command("CONFIG", "SET", "maxmemory", "1")
    one.attach("ann", "a-1")
    await until(lambda: "could not be noted" in caplog.text)
    await one.command("CONFIG", "SET", "maxmemory", "0")
    await until_async(lambda: two.conns("ann"))
    await until(lambda: not one.engine._sessions.is_doubtful)
    assert backbone.is_up(HOME)
    assert one.house.fenced == 0


async def test_a_reaper_that_dies_is_replaced(members: Members) -> None:
    dead, reaper, third = await members.some(3, LEASE_S)
    for number in range(20):
        dead.attach(f"u{number}", f"a-{number}")
    await until_async(lambda: third.conns("u19"))
    third.engine._nodes._look_around = _nothing  # type: ignore[method-assign]
    begun = asyncio.Event()

    async def never(*_: Any, **__: Any) -> int:
        begun.set()
        await asyncio.sleep(60)
        return 0

    reaper.engine._nodes._reaper.clear = never  # type: ignore[method-assign]
    await dead.die()
    async with asyncio.timeout(30):
        await begun.wait()
    await reaper.die()
    del third.engine._nodes._look_around
    await until(lambda: len(third.house.lost) == 20)
    await until_async(lambda: _is_over(third))
    await until_async(lambda: _knows_itself(third))


async def _knows_itself(member: Member) -> bool:
    return await names_of(member) == [member.house.name]


async def test_one_of_two_reapers_reports_each(members: Members) -> None:
    one, two, dead = await members.some(3)
    for number in range(300):
        dead.attach(f"u{number}", f"a-{number}")
    await until_async(lambda: one.conns("u299"))
    node = dead.id
    await dead.die()
    await asyncio.gather(
        *(member.engine._nodes._reaper.clear(node, report=True) for member in (one, two) for _ in range(2))
    )
    lost = [session.conn for member in (one, two) for session in member.house.lost]
    assert sorted(lost) == sorted(f"a-{number}" for number in range(300))


async def test_a_large_node_is_cleared_without_blocking_the_others(members: Members) -> None:
    one, dead = await members.some(2)
    for number in range(20_000):
        dead.house.note_session(f"u{number}", f"a-{number}", "web", 5)
    await dead.engine._sessions.register(dead.house.sessions_here())
    node = dead.id
    await dead.die()
    pages: list[int] = []
    on_lost = one.house.on_lost
    one.house.on_lost = lambda lost: (pages.append(len(lost)), on_lost(lost))[0]  # type: ignore[method-assign]
    clearing = asyncio.create_task(one.engine._nodes._reaper.clear(node, report=True))
    turns = most = 0
    while not clearing.done():
        before = len(one.house.lost)
        await asyncio.sleep(0)
        most = max(most, len(one.house.lost) - before)
        turns += 1
    assert await clearing == 20_000
    assert max(pages) <= 100
    assert most <= 2 * 100, "so many in one turn of the loop, about 2 ms"
    assert turns > 100


async def test_a_process_that_never_registered_stops_quietly(members: Members) -> None:
    one = await members.make()
    keys = await one.command("HGETALL", one.engine._common.names.key(ALIVE, HOME))
    assert len(keys) in (1, 2)
    await one.stop()
    await one.stop()


async def test_a_mailbox_that_could_not_be_opened_is_opened_later(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    post: Any = one.engine._post.mailbox
    opening, failures = post._open, 2

    async def open_late() -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise EngineError("away")
        await opening()

    post._open = open_late
    await one.command("FLUSHALL")
    await until(lambda: failures < 0)
    await until_async(lambda: _knows_two(two))
    await until(lambda: one.engine._post.mailbox.is_open)
    assert await got(two.engine.order(Order("count", attribute="user", data=b'"x"'))) == Outcome(2)


async def test_sessions_go_where_memory_is_short(members: Members) -> None:
    one, two = await members.some(2)
    two.attach("ann", "b-1")
    one.attach("ann", "a-1")
    await until_async(lambda: one.conns("ann"))
    sessions, partition, node = one.engine._sessions, partition_of("ann"), two.id
    await two.die()
    await one.command("CONFIG", "SET", "maxmemory", "1")
    one.detach("ann", "a-1")
    entries = await sessions.noted.lost(node, partition)
    assert [entry.conn for entry in await sessions.noted.forget(node, partition, entries)] == ["b-1"]
    assert await one.conns("ann") == []
    await one.command("CONFIG", "SET", "maxmemory", "0")
    assert not sessions.is_doubtful


async def test_who_was_reported_is_not_reported_again_when_its_process_dies_in_truth(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    one.attach("ann", "a-1", "web")
    await until_async(lambda: two.conns("ann"))
    one.halt()
    await until(lambda: len(two.house.lost) == 1)
    one.go_on()
    await until_async(lambda: two.conns("ann"))
    one.engine.attach("ann", "a-1", "tv")
    one.attach("ann", "a-2", "web")
    await until_async(lambda: _has(two, 2))
    await one.engine._nodes.renew()
    await one.die()
    await until(lambda: len(two.house.lost) == 2)
    await until_async(lambda: _is_over(two))
    assert [lost.conn for lost in two.house.lost] == ["a-1", "a-2"]


async def _has(member: Member, count: int) -> bool:
    return len(await member.conns("ann")) == count


async def test_numbers_go_on_counting_when_redis_has_forgotten_them(members: Members) -> None:
    three = await members.some(3, LEASE_S)
    before = {member.id for member in three}
    for member in three:
        await member.engine._nodes.renew()  # it sees the others
    await three[0].command("FLUSHALL")
    await until(lambda: not before & {member.id for member in three})
    assert sorted(number_of(member.id) for member in three) == [4, 5, 6]
    await until(lambda: not any(three[0].engine._sessions.living.is_living(node) for node in before))


async def test_a_burial_that_fails_begins_again(members: Members, caplog: pytest.LogCaptureFixture) -> None:
    one, dead = await members.some(2, LEASE_S)
    dead.attach("ann", "b-1")
    await until_async(lambda: one.conns("ann"))
    reaper: Any = one.engine._nodes._reaper
    clear, failures = reaper.clear, 1

    async def clear_late(*words: Any, **more: Any) -> int:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ValueError("a bug")
        found: int = await clear(*words, **more)
        return found

    reaper.clear = clear_late
    await dead.die()
    await until(lambda: len(one.house.lost) == 1)
    await until_async(lambda: _is_over(one))
    assert "clearing up behind a dead process failed" in caplog.text
