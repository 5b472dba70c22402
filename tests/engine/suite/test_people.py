"""Sessions, status and places of users, over all processes."""

from __future__ import annotations

import asyncio
import time

import pytest

from fastws.closes import REPLACED
from fastws.core.topics import scoped
from fastws.engine.contract import Admission, Cap
from fastws.types import UserStatus
from tests.engine.suite.stand import Node, Stand, got, until, until_async

pytestmark = pytest.mark.asyncio


async def conns(node: Node, user: str, tenant: str = "") -> list[str]:
    return [one.conn for one in await got(node.engine.sessions(scoped(tenant, user)))]


async def status(node: Node, *users: str) -> list[UserStatus]:
    return list(await got(node.engine.status([scoped("", user) for user in users])))


async def test_sessions_of_a_user(stand: Stand) -> None:
    first, last = await stand.pair()
    first.attach("ann", "c-1", "phone")
    last.attach("ann", "c-2", "web")
    last.attach("ann", "c-3", "web", tenant="acme")
    last.attach("an", "c-4")
    for node in (first, last):

        async def is_known(node: Node = node) -> bool:
            return sorted(await conns(node, "ann")) == ["c-1", "c-2"]

        await until_async(is_known)
        found = {one.conn: one for one in await got(node.engine.sessions(scoped("", "ann")))}
        assert {(one.user, one.tenant) for one in found.values()} == {("ann", "")}
        assert (found["c-1"].device, found["c-1"].node) == ("phone", first.house.name)
        assert (found["c-2"].device, found["c-2"].node) == ("web", last.house.name)
        assert abs(found["c-1"].since - time.time() * 1000) < 60_000
        assert await conns(node, "ann", "acme") == ["c-3"]
        assert await conns(node, "nobody") == []
    first.detach("ann", "c-1")
    last.detach("ann", "c-2")
    for node in (first, last):

        async def is_gone(node: Node = node) -> bool:
            return not await conns(node, "ann")

        await until_async(is_gone)


async def test_many_sessions_of_a_user_are_listed_up_to_a_limit(stand: Stand) -> None:
    first, last = await stand.pair()
    for number in range(150):
        first.attach("ann", f"c-{number}")
        last.attach("ann", f"d-{number}")
    everybody = {f"{kind}-{number}" for kind in "cd" for number in range(150)}
    for node in (first, last):

        async def are_known(node: Node = node) -> bool:
            return len(await conns(node, "ann")) == 300

        await until_async(are_known)
        for limit in (1, 149, 150, 151, 299, 300, 301):
            found = await got(node.engine.sessions(scoped("", "ann"), limit))
            assert len(found) == len({one.conn for one in found}) == min(limit, 300)
            assert {one.conn for one in found} <= everybody
            assert [one.since for one in found] == sorted(one.since for one in found)


async def test_status_of_users(stand: Stand) -> None:
    first, last = await stand.pair()
    before_ms = int(time.time() * 1000)
    first.attach("ann", "c-1", "phone")
    first.attach("ann", "c-2", "phone")
    last.attach("ann", "c-3", "tablet")
    first.attach("ben", "c-4")
    first.detach("ben", "c-4")
    for node in (first, last):

        async def is_known(node: Node = node) -> bool:
            ann, ben = await status(node, "ann", "ben")
            return list(ann.devices) == ["phone", "tablet"] and ben.last_seen is not None

        await until_async(is_known)
        ann, ben, nobody, again = await status(node, "ann", "ben", "nobody", "ann")
        assert ann == again._replace(last_seen=ann.last_seen)
        assert ann.online
        assert ben == UserStatus(False, (), ben.last_seen) or list(ben.devices) == []
        assert ben.last_seen is not None
        assert before_ms <= ben.last_seen <= time.time() * 1000 + 1000
        assert (nobody.online, list(nobody.devices), nobody.last_seen) == (False, [], None)
    assert list(await status(first)) == []
    many = await status(last, *(f"u-{number}" for number in range(500)))
    assert not any(one.online for one in many)


async def test_who_leaves_while_it_is_asked_for_was_seen_just_now(cluster: Stand) -> None:
    node = await cluster.node()
    for number in range(20):
        user = f"u-{number}"
        node.attach(user, f"c-{number}")
        await status(node, user)
        asked = asyncio.ensure_future(got(node.engine.status([scoped("", user)])))
        await asyncio.sleep(0)
        node.detach(user, f"c-{number}")
        (found,) = await asked
        assert found.online or found.last_seen is not None


async def test_last_seen_is_when_the_last_one_left_anywhere(cluster: Stand) -> None:
    one, two = await cluster.pair()
    one.attach("ann", "c-1")
    two.attach("ann", "c-2")

    async def are_both_there() -> bool:
        return len(await conns(one, "ann")) == len(await conns(two, "ann")) == 2

    await until_async(are_both_there)
    one.detach("ann", "c-1")
    assert (await status(one, "ann"))[0].online
    two.detach("ann", "c-2")

    async def is_offline() -> bool:
        found = (await status(one, "ann"))[0]
        return not found.online and found.last_seen is not None

    await until_async(is_offline)


async def test_two_at_the_same_moment_never_take_one_place(stand: Stand) -> None:
    nodes = await stand.some()
    cap = Cap(2, replaces=False)

    async def come(node: Node, conn: str) -> bool:
        admission = await got(node.engine.admit(scoped("", "ann"), conn, "default", cap))
        if admission.admitted:
            node.attach("ann", conn)
        return admission.admitted

    rounds = [come(nodes[number % len(nodes)], f"c-{number}") for number in range(12)]
    admitted = await asyncio.gather(*rounds)
    assert sum(admitted) == 2
    inside = [number for number, is_in in enumerate(admitted) if is_in]
    gone = inside[0]
    nodes[gone % len(nodes)].detach("ann", f"c-{gone}")

    async def is_free() -> bool:
        return await come(nodes[0], "c-99")

    await until_async(is_free)
    assert not await come(nodes[-1], "c-100")
    assert (await got(nodes[-1].engine.admit(scoped("", "ben"), "c-101", "default", cap))).admitted
    assert (await got(nodes[0].engine.admit(scoped("x", "ann"), "c-102", "default", cap))).admitted


async def test_the_oldest_go_and_those_with_the_same_device(stand: Stand) -> None:
    first, last = await stand.pair()
    user = scoped("", "ann")

    async def come(node: Node, conn: str, device: str, limit: int) -> Admission:
        admission = await got(node.engine.admit(user, conn, device, Cap(limit, replaces=True)))
        assert admission.admitted
        node.attach("ann", conn, device)
        return admission

    assert list((await come(first, "c-1", "web", 0)).replaced) == []
    assert list((await come(last, "c-2", "default", 0)).replaced) == []
    assert list((await come(last, "c-3", "default", 0)).replaced) == []
    assert list((await come(last, "c-4", "web", 0)).replaced) == ["c-1"]
    await until(lambda: first.house.orders)
    order = first.house.orders[0]
    assert (order.action, order.conn, order.code, order.reason) == ("disconnect", "c-1", *REPLACED)
    first.detach("ann", "c-1")

    async def are_three() -> bool:
        return len(await conns(last, "ann")) == 3

    await until_async(are_three)
    assert list((await come(last, "c-5", "phone", 3)).replaced) == ["c-2"]
