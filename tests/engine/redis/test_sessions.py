"""Which connections users have, over several processes and one Redis."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from fastws.engine.redis import sessions as sessions_module
from fastws.engine.redis.names import LAST_SEEN, NODE_USERS, SESSIONS, partition_of
from fastws.errors import EngineError
from fastws.types import SessionInfo
from tests.engine.redis.fleet.nodes import Members
from tests.engine.suite.stand import got, until, until_async

pytestmark = pytest.mark.asyncio


async def test_sessions_are_known_everywhere(members: Members) -> None:
    one, two, three = await members.some(3)
    now_ms = int(time.time() * 1000)
    one.attach("ann", "a-1", "web")
    two.attach("ann", "b-1", "a device 3")
    two.attach("bob", "b-2", "web", "t")
    await until_async(lambda: _has(three, "ann", 2))
    for member in (one, two, three):
        found = sorted(await member.sessions("ann"))
        assert [(s.conn, s.user, s.tenant, s.device, s.node) for s in found] == [
            ("a-1", "ann", "", "web", "n1"),
            ("b-1", "ann", "", "a device 3", "n2"),
        ]
        assert all(abs(s.since - now_ms) < 60_000 for s in found)
    assert [s.tenant for s in await one.sessions("t\0bob")] == ["t"]
    assert await one.conns("bob") == []
    two.detach("ann", "b-1")
    await until_async(lambda: _has(one, "ann", 1))
    one.detach("ann", "a-1")
    await until_async(lambda: _has(three, "ann", 0))


async def _has(member: Any, user: str, count: int) -> bool:
    return len(await member.conns(user)) == count


async def test_nothing_is_left_of_who_has_gone_but_when(members: Members) -> None:
    one, two = await members.some(2)
    before = await one.keys()
    for conn in ("a-1", "a-2"):
        one.attach("ann", conn)
    two.attach("ann", "b-1")
    one.attach("", "a-3")
    one.attach("", "a-4", tenant="t")
    await until_async(lambda: _has(one, "ann", 3))
    for conn in ("a-1", "a-2"):
        one.detach("ann", conn)
    one.detach("", "a-3")
    one.detach("", "a-4", "t")
    two.detach("ann", "b-1")
    await until_async(lambda: _has(one, "ann", 0))
    names, home = one.engine._common.names, partition_of("ann")
    last_seen = names.key(LAST_SEEN, home, "ann")
    assert await one.keys() == sorted([*before, last_seen.decode()])
    assert 604_000 < await one.command("TTL", last_seen, partition=home) <= 604_800


async def test_names_of_every_kind(members: Members) -> None:
    one, two = await members.some(2)
    names = ["", " ", "7 8", "a\nb", "\ud800", "é" * 40, "{1}", "*"]
    for number, device in enumerate(names):
        one.attach(f"u{device}", f"a-{number}", device, "t {2}:*")
    for number, device in enumerate(names):
        found: list[SessionInfo] = []
        for _ in range(100):
            found = await two.sessions(f"t {{2}}:*\0u{device}")
            if found:
                break
        assert [(s.conn, s.user, s.tenant, s.device) for s in found] == [
            (f"a-{number}", f"u{device}", "t {2}:*", device)
        ]


async def test_status(members: Members) -> None:
    one, two = await members.some(2)
    one.attach("ann", "a-1", "web")
    two.attach("ann", "b-1", "phone")
    two.attach("ann", "b-2", "phone")
    two.attach("bob", "b-3", "tv")
    one.attach("eve", "a-2", "tv")
    one.detach("eve", "a-2")
    await until_async(lambda: _has(one, "bob", 1))
    now_ms = int(time.time() * 1000)
    for member in (one, two):
        ann, bob, nobody, eve, again = await got(member.engine.status(["ann", "bob", "nobody", "eve", "ann"]))
        assert (ann.online, ann.devices, bob.devices) == (True, ["phone", "web"], ["tv"])
        assert again == ann
        assert abs(ann.last_seen - now_ms) < 60_000
        assert nobody == (False, (), None)
        assert (eve.online, eve.devices) == (False, ())
        assert abs(eve.last_seen - now_ms) < 60_000
    assert await got(one.engine.status([])) == []


async def test_status_of_500_users_takes_one_round_trip(members: Members) -> None:
    one, two = await members.some(2)
    users = [f"u{number}" for number in range(500)]
    for user in users[::2]:
        two.attach(user, f"b-{user}")
    await until_async(lambda: _has(one, "u498", 1))
    calls: list[int] = []
    backbone: Any = one.engine._common.backbone
    run = backbone.run
    under_way = 0

    def counting(*words: Any) -> Any:
        nonlocal under_way
        under_way += 1
        calls.append(under_way)
        future = run(*words)
        future.add_done_callback(lambda _: done())
        return future

    def done() -> None:
        nonlocal under_way
        under_way -= 1

    backbone.run = counting
    found = await got(one.engine.status(users))
    assert [status.online for status in found] == [True, False] * 250
    assert calls == list(range(1, len(calls) + 1)), "all were asked before the first had answered"
    assert len(calls) <= 256


async def test_a_user_with_very_many_connections_does_not_make_a_status_slow(members: Members) -> None:
    one, two = await members.some(2)
    for number in range(3000):
        two.attach("crowd", f"b-{number}", f"d{number}")
    await until_async(lambda: _has(one, "crowd", 3000))
    (status,) = await got(one.engine.status(["crowd"]))
    assert status.online
    assert 30 <= len(status.devices) <= 300


async def test_own_connections_are_right_at_once(members: Members) -> None:
    one, _ = await members.some(2)
    one.house.note_session("ann", "a-1", "web", 5)
    assert await one.conns("ann") == ["a-1"]
    assert (await got(one.engine.status(["ann"])))[0].devices == ["web"]


async def test_what_is_no_session_is_an_error_and_no_more(members: Members) -> None:
    (one,) = await members.some(1)
    names, home = one.engine._common.names, partition_of("ann")
    key = names.key(SESSIONS, home, "ann")
    for value in (b"", b"x y z", b"5 n1", b"5 n1.1.ab \xff", b"99999999999999999999999 n d"):
        await one.command("HSET", key, "c", value, partition=home)
        with pytest.raises(EngineError):
            await one.sessions("ann")
        with pytest.raises(EngineError):
            await got(one.engine.status(["ann"]))
    await one.command("DEL", key, partition=home)
    own = names.node_key(NODE_USERS, 7, one.id)
    for value in (b"", b"1", b"1 9 a", b"1 -1 a", b"1 x a", b"1 1 a\xff"):
        await one.command("HSET", own, b"c\xff", value, partition=7)
        (entry,) = await one.engine._sessions.noted.lost(one.id, 7)
        assert (entry.user, entry.is_reported) == ("", True)
        assert await one.engine._sessions.noted.forget(one.id, 7, [entry]) == [entry]
    assert await one.engine._sessions.noted.sizes(one.id) == []


# A place.


async def test_a_place_is_refused_over_all_processes(members: Members) -> None:
    one, two = await members.some(2)
    assert await one.admit("ann", "a-1", limit=2) == (True, [])
    assert await two.admit("ann", "b-1", limit=2) == (True, [])
    assert await one.admit("ann", "a-2", limit=2) == (False, [])
    assert await two.admit("ann", "b-1", limit=2) == (True, []), "it has its place"
    assert await one.admit("bob", "a-2", limit=2) == (True, [])
    assert await one.admit("t\0ann", "a-3", limit=1) == (True, [])
    two.house.note_session("ann", "b-1", "default", 0)
    two.detach("ann", "b-1")
    await until_async(lambda: _is_admitted(one, "ann", "a-2"))


async def _is_admitted(member: Any, user: str, conn: str) -> bool:
    return (await member.admit(user, conn, limit=2)).admitted is True


async def test_two_newcomers_never_take_one_place(members: Members) -> None:
    three = await members.some(3)
    for number in range(50):
        user = f"u{number}"
        answers = await asyncio.gather(*(member.admit(user, f"c-{member.id}", limit=2) for member in three))
        assert sorted(answer.admitted for answer in answers) == [False, True, True]


async def test_the_oldest_go_wherever_they_are(members: Members) -> None:
    one, two = await members.some(2)
    for member, conn in ((one, "a-1"), (two, "b-1"), (one, "a-2")):
        assert await member.admit("ann", conn, limit=2, replaces=True) == (True, ["a-1"] if conn == "a-2" else [])
        await asyncio.sleep(0.002)  # ages are milliseconds
    assert [(order.action, order.conn, order.code) for order in one.house.orders] == [("disconnect", "a-1", 4506)]
    assert await one.admit("ann", "a-3", limit=2, replaces=True) == (True, ["b-1"])
    await until(lambda: [(order.conn, order.code) for order in two.house.orders] == [("b-1", 4506)])
    assert await one.admit("ann", "a-4", limit=1, replaces=True) == (True, ["a-2", "a-3"])


async def test_the_same_device_goes_first(members: Members) -> None:
    one, two = await members.some(2)
    for member, conn, device in ((one, "a-1", "web"), (two, "b-1", "tv"), (one, "a-2", "default")):
        assert (await member.admit("ann", conn, device, 3, replaces=True)).replaced == []
    assert await two.admit("ann", "b-2", "web", 3, replaces=True) == (True, ["a-1"])
    assert await two.admit("ann", "b-3", "default", 0, replaces=True) == (True, [])
    assert await two.admit("ann", "b-4", "tv", 0, replaces=True) == (True, ["b-1"])
    assert await two.admit("ann", "b-4", "web", 0, replaces=True) == (True, ["b-2"]), "it has another device now"


@pytest.mark.parametrize("replaces", [False, True])
async def test_who_came_in_an_outage_counts_before_redis_knows_it(members: Members, replaces: bool) -> None:
    (one,) = await members.some(1)
    backbone: Any = one.engine._common.backbone
    backbone.is_up = lambda _partition: False
    for number in range(3):
        one.attach("ann", f"a-{number}")
    del backbone.is_up
    admission = await one.admit("ann", "a-9", limit=3, replaces=replaces)
    assert admission.admitted is replaces
    assert [order.conn for order in one.house.orders] == list(admission.replaced) == ["a-0"] * replaces
    key = one.engine._common.names.of(SESSIONS, "ann")
    assert await one.command("HLEN", key, partition=partition_of("ann")) == replaces


async def test_a_place_of_a_dead_process_does_not_count(members: Members) -> None:
    (one,) = await members.some(1)
    key, home = one.engine._common.names.key(SESSIONS, partition_of("ann"), "ann"), partition_of("ann")
    await one.command("HSET", key, "x-1", "5 n9.0.ab web", "x-2", "6 n9.0.ab tv", partition=home)
    assert await one.conns("ann") == []
    assert await one.admit("ann", "a-1", limit=1) == (True, [])
    assert await one.admit("ann", "a-2", limit=1) == (False, [])
    assert await one.command("HLEN", key, partition=home) == 1


async def test_without_redis_the_connections_here_are_all_that_counts(members: Members) -> None:
    (one,) = await members.some(1)
    members.server.stop()
    await until(lambda: not one.engine._common.is_home_up)
    one.house.note_session("ann", "a-1", "web", 5)
    assert await one.admit("ann", "a-2", limit=1) == (False, ())
    assert await one.admit("ann", "a-2", limit=2) == (True, ())
    assert await one.admit("ann", "a-2", limit=1, replaces=True) == (True, ["a-1"])
    assert [order.conn for order in one.house.orders] == ["a-1"]
    for ask in (lambda: one.engine.sessions("ann"), lambda: one.engine.status(["ann"])):
        with pytest.raises(EngineError):
            ask()


# Everybody of a node.


async def test_everybody_is_registered_and_who_is_not_here_is_weeded(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "AT_ONCE", 7)
    one, two = await members.some(2)
    for number in range(1000):
        one.house.note_session(f"u{number % 300}", f"a-{number}", "web", 1000 + number)
    one.house.note_session("", "a-x", "default", 1)
    one.engine.attach("u1", "ghost-1", "web")
    one.engine.attach("gone", "ghost-2", "web")
    one.engine.attach("t\0", "ghost-3", "web")
    one.engine.attach("u7", "a-1", "web")  # it is another user's by now
    here = one.engine._sessions
    await here.register(one.house.sessions_here())
    await here.weed()
    assert await two.conns("gone") == []
    assert [(s.conn, s.since) for s in await two.sessions("u1")] == [
        ("a-1", 1001),
        ("a-301", 1301),
        ("a-601", 1601),
        ("a-901", 1901),
    ]
    assert len(await two.conns("u7")) == 4
    names = one.engine._common.names
    noted = [await one.command("HLEN", names.node_key(NODE_USERS, at, one.id), partition=at) for at in range(256)]
    assert sum(noted) == 1001


async def test_what_was_there_keeps_its_age(members: Members) -> None:
    one, two = await members.some(2)
    one.attach("ann", "a-1", "web")
    await until_async(lambda: _has(two, "ann", 1))
    since = (await two.sessions("ann"))[0].since
    await asyncio.sleep(0.005)
    one.attach("ann", "a-1", "phone")
    await one.engine._sessions.register([one.house.sessions_of("ann")[0]._replace(since=since - 500)])
    (found,) = await two.sessions("ann")
    assert (found.since, found.device) == (since, "phone")


@pytest.mark.parametrize("replaces", [False, True])
async def test_a_place_of_a_user_with_very_many_connections_is_given_by_looking_at_some(
    members: Members, replaces: bool
) -> None:
    one, two = await members.some(2)
    for number in range(9000):
        two.house.note_session("crowd", f"b-{number}", "tv", 5)
    await two.engine._sessions.register(two.house.sessions_here())
    key, home = one.engine._common.names.key(SESSIONS, partition_of("crowd"), "crowd"), partition_of("crowd")
    assert await one.admit("crowd", "a-1", limit=9001, replaces=replaces) == (True, [])
    assert await one.admit("crowd", "a-1", limit=9001, replaces=replaces) == (True, [])
    answer = await one.admit("crowd", "a-2", limit=9001, replaces=replaces)
    assert answer.admitted is replaces
    assert len(answer.replaced) == replaces
    assert await one.command("HLEN", key, partition=home) == 9001
    answer = await one.admit("crowd", "a-3", limit=5, replaces=replaces)
    assert answer.admitted is replaces
    assert len(answer.replaced) <= 2000


async def test_a_place_where_what_redis_has_is_damaged(members: Members) -> None:
    one, two = await members.some(2)
    home = partition_of("ann")
    for key in (one.engine._common.names.key(SESSIONS, home, "ann"), one.engine._sessions._node_key(home)):
        await one.command("SET", key, "x", partition=home)
    assert await one.admit("ann", "a-1", limit=1) == (True, [])
    assert await two.admit("ann", "b-1", limit=1) == (False, [])
