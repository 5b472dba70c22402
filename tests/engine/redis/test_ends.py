"""Who tells of the end of a connection: its own process, or one that has taken that for dead; always one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fastws.engine.redis.names import GONE, MAILBOX, REPORTED
from fastws.engine.redis.resp.errors import AwayError
from tests.engine.redis.fleet.nodes import LEASE_S, Member, Members
from tests.engine.suite.stand import got, until, until_async

pytestmark = pytest.mark.asyncio

KEPT = {REPORTED.decode(), GONE.decode(), MAILBOX.decode()}
"""Kinds of keys that are there for a while after a burial."""


def unheard(member: Member, *, arrives: bool) -> Callable[[], None]:
    """From now on what is written behind may reach Redis, but no answer comes, until what is returned is called."""
    backbone: Any = member.engine._common.backbone
    run = backbone.run

    def run_unheard(script: Any, *words: Any) -> Any:
        if script.name not in ("attach", "detach"):
            return run(script, *words)
        if arrives:
            run(script, *words)
        future = asyncio.get_running_loop().create_future()
        future.set_exception(AwayError("the link broke"))
        return future

    backbone.run = run_unheard

    def restore() -> None:
        del backbone.run

    return restore


async def is_told(member: Member, user: str, conn: str) -> bool:
    """End it; whether its process may tell of that at once."""
    member.house.forget_session(user, conn)
    return bool(await got(member.engine.detach(user, conn, is_last=True)))


async def fenced(one: Member, two: Member, reported: int) -> None:
    """One comes back after two has taken it for dead."""
    await until(lambda: len(two.house.lost) >= reported)
    await until_async(lambda: _is_buried(two, one))
    one.go_on()
    await until(lambda: one.house.fenced == 1)


async def _is_buried(two: Member, one: Member) -> bool:
    return not [key for key in await two.keys() if one.id in key and not set(key.split(":")) & KEPT]


async def test_the_own_process_tells_where_nothing_fails(members: Members) -> None:
    (one,) = await members.some(1)
    one.attach("ann", "a-1")
    one.attach("", "a-2")
    assert await is_told(one, "ann", "a-1")
    assert await is_told(one, "", "a-2")
    assert not await got(one.engine.detach("ann", "a-1", is_last=True))
    assert not one.engine._sessions.is_doubtful


@pytest.mark.parametrize("arrives", [True, False])
async def test_what_was_not_answered_before_a_process_was_taken_for_dead(members: Members, arrives: bool) -> None:
    one, two = await members.some(2, LEASE_S)
    for conn in ("a-1", "a-2"):
        one.attach("ann", conn)
    await until_async(lambda: _has(two, "ann", 2))
    restore = unheard(one, arrives=arrives)
    one.house.forget_session("ann", "a-1")
    told = one.engine.detach("ann", "a-1", is_last=True)
    one.attach("bob", "a-3")
    one.attach("", "a-4")
    restore()
    one.halt()  # in the same turn of the loop: no beat comes in between, after which all of it would be noted anew
    assert not await got(told)
    await fenced(one, two, 3 if arrives else 2)
    lost = [session.conn for session in two.house.lost]
    assert sorted(lost) == (["a-2", "a-3", "a-4"] if arrives else ["a-1", "a-2"])
    assert one.house.unreported == ({"a-1"} if arrives else {"a-3", "a-4"})


async def test_who_comes_and_goes_before_a_process_knows_that_it_was_taken_for_dead(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    for conn in ("a-1", "a-2"):
        one.attach("ann", conn)
    await until_async(lambda: _has(two, "ann", 2))
    one.halt()
    await until(lambda: len(two.house.lost) == 2)
    await until_async(lambda: _is_buried(two, one))
    assert not await is_told(one, "ann", "a-1")
    one.attach("bob", "a-3")
    one.go_on()
    await until(lambda: one.house.fenced == 1)
    assert one.house.unreported == {"a-3"}
    await until_async(lambda: _has(two, "bob", 1))
    assert not one.engine._sessions._unsure


async def test_who_came_while_a_process_stood_still_is_noted_when_it_is_not_taken_for_dead(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    one.halt()
    two.engine._nodes._look_around = _nothing  # type: ignore[method-assign] # however busy the machine is
    await until(lambda: not one.engine._nodes._is_assured())
    one.attach("ann", "a-1")
    await until_async(lambda: _has(two, "ann", 1))
    assert one.engine._sessions._unsure == {"a-1": "ann"}
    await one.engine._nodes._beat()
    assert one.house.fenced == 0
    assert not one.engine._sessions._unsure
    del two.engine._nodes._look_around
    await until(lambda: len(two.house.lost) == 1)
    await fenced(one, two, 1)
    assert one.house.unreported == set()


async def test_who_goes_before_the_burial_is_told_here(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    for conn in ("a-1", "a-2"):
        one.attach("ann", conn)
    await until_async(lambda: _has(two, "ann", 2))
    begun, may_go_on = asyncio.Event(), asyncio.Event()
    reaper: Any = two.engine._nodes._reaper
    clear = reaper.clear

    async def clear_late(*words: Any, **more: Any) -> Any:
        begun.set()
        await may_go_on.wait()
        return await clear(*words, **more)

    reaper.clear = clear_late
    one.halt()
    async with asyncio.timeout(30):
        await begun.wait()
    assert await is_told(one, "ann", "a-1")
    may_go_on.set()
    await fenced(one, two, 1)
    assert [session.conn for session in two.house.lost] == ["a-2"]
    assert one.house.unreported == set()


async def test_whom_others_reported_is_asked_again_when_that_fails(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    one.attach("ann", "a-1")
    await until_async(lambda: _has(two, "ann", 1))
    one.halt()
    await until(lambda: len(two.house.lost) == 1)
    one.attach("bob", "a-2")
    sessions: Any = one.engine._sessions
    ask, failures = sessions.unreported, 2

    async def ask_late(node: str) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise AwayError("away")
        assert one.house.fenced == 0
        assert one.engine.assure() is not None
        return await ask(node)

    sessions.unreported = ask_late
    one.go_on()
    await until(lambda: one.house.fenced == 1)
    assert failures == -1
    assert one.house.unreported | {session.conn for session in two.house.lost} == {"a-1", "a-2"}
    await until_async(lambda: _has(two, "bob", 1))


async def test_of_many_in_doubt_each_is_asked_about(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = await members.some(2, LEASE_S)
    for number in range(300):
        one.attach("ann" if number % 2 else f"u{number}", f"a-{number}")
    await until_async(lambda: _has(two, "u298", 1))
    restore = unheard(one, arrives=False)
    gone = [(f"u{number}", f"a-{number}") for number in range(0, 300, 2)]
    told = []
    for user, conn in gone:
        one.house.forget_session(user, conn)
        told.append(one.engine.detach(user, conn, is_last=True))
    new = [("ann" if number % 3 else f"v{number}", f"b-{number}") for number in range(900)]
    for each in new:
        one.attach(*each)
    restore()
    one.halt()  # in the same turn of the loop, as above
    assert not any([await got(each) for each in told])
    await fenced(one, two, 300)
    assert len(two.house.lost) == 300
    assert one.house.unreported == {conn for _, conn in new}


async def _nothing() -> None: ...


async def _has(member: Member, user: str, count: int) -> bool:
    return len(await member.conns(user)) == count
