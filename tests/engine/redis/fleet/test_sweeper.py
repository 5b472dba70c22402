"""What is left of nodes that are in no list is found; nobody who lives is touched, whatever Redis has lost of it."""

from __future__ import annotations

import asyncio

import pytest

from fastws.engine.redis.fleet import sweeper as sweeper_module
from fastws.engine.redis.fleet.sweeper import Sweeper
from fastws.engine.redis.names import ALIVE, HERE, HOME, NODES, PARTITIONS, partition_of
from fastws.errors import EngineError
from tests.engine.redis.fleet.nodes import LEASE_S, Member, Members
from tests.engine.suite.stand import got, until, until_async

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper_module, "LEAST_S", 0.0)
    monkeypatch.setattr(sweeper_module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(sweeper_module, "_STEP_S", 0.05)


def sweeper_of(member: Member, lease_s: float = LEASE_S) -> Sweeper:
    return Sweeper(member.engine._common, lease_s)


def always() -> bool:
    return True


async def strike(member: Member, node: str) -> None:
    """Redis has lost that there is such a node."""
    for kind in (ALIVE, NODES):
        await member.command("HDEL", member.engine._common.names.key(kind, HOME), node)


async def marks(member: Member, node: str) -> list[int]:
    """Partitions in which a node is known to have something."""
    names, found = member.engine._common.names, []
    for partition in range(PARTITIONS):
        if await member.command("SISMEMBER", names.key(HERE, partition), node, partition=partition):
            found.append(partition)
    return found


async def test_the_dead_that_nobody_knows_are_buried(members: Members) -> None:
    one, two, dead = await members.some(3)
    await one.join("room")
    dead.attach("ann", "c-1", "web")
    dead.attach("", "c-2")
    dead.come("room", "c-1", "ann")
    two.attach("ann", "b-1")
    await until(lambda: one.house.told("room") == [("join", "c-1")])
    await until_async(lambda: _has(one, "ann", 2))
    node = dead.id
    await dead.die()
    await strike(one, node)
    sweeper = sweeper_of(one, 0.1)
    assert await sweeper.find(always) == [node]
    assert await sweeper._adopt(node)
    assert not await sweeper_of(two)._adopt(node), "somebody is at it"
    one.engine._nodes._adopted.append(node)
    await one.engine._nodes._look_around()
    await until(lambda: sorted(lost.conn for lost in one.house.lost) == ["c-1", "c-2"])
    await until(lambda: one.house.told("room")[1:] == [("leave", "c-1")])
    await until_async(lambda: _is_forgotten(one, node))
    assert await one.conns("ann") == ["b-1"]
    assert await sweeper_of(two, 0.1).find(always) == []


async def _has(member: Member, user: str, count: int) -> bool:
    return len(await member.conns(user)) == count


async def _is_forgotten(member: Member, node: str) -> bool:
    left = [key for key in await member.keys() if node in key and not set(key.split(":")) & {"gone", "nr", "mb"}]
    return not left and not await marks(member, node)


async def test_who_lives_and_is_in_no_list_is_left_alone(members: Members) -> None:
    one, two = await members.some(2)
    two.attach("ann", "b-1")
    two.come("room", "b-1", "ann")
    await until_async(lambda: _has(one, "ann", 1))
    two.halt()
    before = two.id
    await strike(one, before)
    sweeper = sweeper_of(one, 0.1)
    unlisted, looks = sweeper._unlisted, list[list[str]]()

    async def look_and_wait(nodes: dict[str, list[int]]) -> dict[str, list[int]]:
        """Two beats between the looks, as a lease is many beats."""
        found = await unlisted(nodes)
        looks.append(list(found))
        await two.engine._nodes._beat()
        await two.engine._nodes._look_around()
        await until_async(lambda: _is_forgotten(one, before))
        return found

    sweeper._unlisted = look_and_wait  # type: ignore[method-assign]
    assert await sweeper.find(always) == []
    assert looks == [[before], [before]]
    assert two.id != before
    await until_async(lambda: _has(one, "ann", 1))
    assert [member.house.lost for member in (one, two)] == [[], []]
    assert two.house.fenced == 0
    assert (await got(one.engine.presence_stats("room"))).connections == 1


async def test_who_stands_still_and_is_in_no_list_is_fenced(members: Members) -> None:
    one, two = await members.some(2)
    two.attach("ann", "b-1")
    await until_async(lambda: _has(one, "ann", 1))
    two.halt()
    await strike(one, two.id)
    sweeper = sweeper_of(one, 0.1)
    assert await sweeper.find(always) == [two.id]
    assert await sweeper._adopt(two.id)
    one.engine._nodes._adopted.append(two.id)
    await one.engine._nodes._look_around()
    await until(lambda: one.house.lost)
    assert [lost.conn for lost in one.house.lost] == ["b-1"]
    await two.engine._nodes._beat()
    assert two.house.fenced == 1
    assert two.house.unreported == set()
    await until_async(lambda: _has(one, "ann", 1))


async def test_it_is_looked_now_and_then(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    one, dead = await members.some(2)
    await asyncio.sleep(0)  # their own sleep from now on
    monkeypatch.setattr(sweeper_module, "EVERY_S", 0.02)
    dead.attach("ann", "c-1")
    await until_async(lambda: _has(one, "ann", 1))
    node = dead.id
    await dead.die()
    sweeper, found = sweeper_of(one, 0.1), list[str]()
    may_look = False
    looking = asyncio.create_task(sweeper.keep(found.append, lambda: may_look))
    await strike(one, node)
    await asyncio.sleep(0.1)
    assert found == []
    may_look = True
    await until(lambda: found == [node])
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking


async def test_a_disturbed_look_finds_nobody(members: Members) -> None:
    one, dead = await members.some(2)
    dead.attach("ann", "c-1")
    await until_async(lambda: _has(one, "ann", 1))
    node = dead.id
    await dead.die()
    await strike(one, node)
    sweeper = sweeper_of(one, 5.0)
    looking = asyncio.create_task(sweeper.find(always))
    await until_async(lambda: _is_waiting(looking))
    sweeper.disturb()
    assert await looking == []
    answers = iter([False])
    assert await sweeper.find(lambda: next(answers)) == []
    sweeper.own = [node]
    assert await sweeper_of(one, 0.1).find(always) == [node]
    assert await sweeper.find(always) == []


async def _is_waiting(task: asyncio.Task[object]) -> bool:
    await asyncio.sleep(0.2)
    return not task.done()


async def test_an_outage_disturbs(members: Members) -> None:
    (one,) = await members.some(1)
    sweeper = one.engine._nodes._sweeper
    sweeper._is_disturbed = False
    members.server.kill_clients()
    await until(lambda: sweeper._is_disturbed)
    await until(lambda: one.house.outages == ["degraded", "restored"])


async def test_one_looks_at_a_time(members: Members) -> None:
    one, two = await members.some(2)
    assert await sweeper_of(one)._is_mine()
    assert not await sweeper_of(two)._is_mine()


async def test_what_has_nothing_left_is_not_looked_for_again(members: Members) -> None:
    one, dead = await members.some(2)
    dead.attach("ann", "c-1")
    await until_async(lambda: _has(one, "ann", 1))
    dead.detach("ann", "c-1")
    await until_async(lambda: _has(one, "ann", 0))
    node = dead.id
    await dead.die()
    await strike(one, node)
    assert await marks(one, node) == [partition_of("ann")]
    assert await sweeper_of(one, 0.1).find(always) == []
    assert await marks(one, node) == []


async def test_who_has_something_somewhere_is_marked_there(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    one.attach("ann", "a-1")
    one.attach("ben", "a-2")
    one.come("room", "a-1", "ann")
    await until_async(lambda: _has(two, "ben", 1))
    assert (await got(one.engine.presence_stats("room"))).connections == 1
    expected = sorted({partition_of(name) for name in ("ann", "ben", "room")})
    assert await marks(two, one.id) == expected
    await one.command("FLUSHALL")
    await until_async(lambda: _has(two, "ben", 1))
    await until_async(lambda: _is_marked(one, expected))
    assert await one.admit("cid", "a-3", limit=1) == (True, [])
    assert partition_of("cid") in await marks(two, one.id)


async def _is_marked(member: Member, partitions: list[int]) -> bool:
    return await marks(member, member.id) == partitions


async def test_a_part_that_is_away_ends_a_look(members: Members) -> None:
    one, two = await members.some(2)
    await one.command("SET", one.engine._common.names.key(HERE, 9), "x", partition=9)
    with pytest.raises(EngineError):
        await sweeper_of(one).find(always)
    await one.command("DEL", one.engine._common.names.key(HERE, 9), partition=9)
    assert await sweeper_of(two).find(always) == []
