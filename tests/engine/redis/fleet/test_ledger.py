"""Orders that reach a process which could not hear them, and what happens where they cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fastws.closes import FORCE_RECONNECT
from fastws.engine.contract import Order, Outcome
from fastws.engine.redis import post as post_module
from fastws.engine.redis.fleet import ledger as ledger_module
from fastws.engine.redis.fleet.ledger import Ledger
from fastws.engine.redis.names import ALIVE, DEAD, HOME, ORDERS
from tests.engine.redis.fleet.nodes import LEASE_S, Member, Members
from tests.engine.suite.stand import got, until, until_async

pytestmark = pytest.mark.asyncio

BAN = Order("disconnect", user="ann", code=4503, reason="kicked")


def log_of(member: Member) -> bytes:
    return member.engine._common.names.key(ORDERS, HOME)


def meant(member: Member) -> list[Order]:
    """Its orders, without when they were given."""
    return [order._replace(until_ms=0) for order in member.house.orders]


async def until_buried(two: Member, one: Member) -> None:
    """One has stopped to beat, and two has taken it for dead."""
    names = two.engine._common.names

    async def is_buried() -> bool:
        is_dead = await two.command("ZSCORE", names.key(DEAD, HOME), one.id) is not None
        return is_dead and not await two.command("HEXISTS", names.key(ALIVE, HOME), one.id)

    await until_async(is_buried)


async def test_who_was_taken_for_dead_carries_out_what_it_missed_before_it_says_who_is_here(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    one.attach("ann", "a-1")
    one.attach("bob", "a-2")
    await until_async(lambda: two.conns("bob"))
    one.halt()
    await until_buried(two, one)
    orders = [BAN, Order("subscribe", user="bob", topic="x"), Order("unsubscribe", tenant="t", topic="y")]
    for order in orders:
        await got(two.engine.order(order))
    await got(two.engine.order(Order("push", tenant="t", data=b"1")))
    await got(two.engine.order(Order("count", attribute="user", data=b'"x"')))
    sessions: Any = one.engine._sessions
    register, before = sessions.register, list[Order]()

    async def register_later(*words: Any) -> None:
        before.extend(meant(one))
        await register(*words)

    sessions.register = register_later
    assert one.house.orders == []
    one.go_on()
    await until(lambda: before)
    assert before == meant(one) == orders
    assert all(order.until_ms for order in one.house.orders)
    assert len(two.house.orders) == 5, "its own orders are carried out once"


async def test_who_was_silent_and_is_alive_carries_out_what_it_missed(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    two.engine._nodes._look_around = _nothing  # type: ignore[method-assign]
    one.halt()
    await until(lambda: not two.engine._sessions.living.is_living(one.id))
    two.halt()  # on a busy machine it might begin to look anew
    assert await got(two.engine.order(BAN)) == Outcome(1)
    assert one.house.orders == []
    await one.engine._nodes._beat()
    assert meant(one) == [BAN]
    assert one.house.fenced == 0


async def _nothing() -> None: ...


async def test_nothing_is_done_twice(members: Members) -> None:
    one, two = await members.some(2)
    for member in (one, two):
        assert await got(member.engine.order(BAN)) == Outcome(2)
    members.server.kill_clients()
    for member in (one, two):
        await until(lambda member=member: member.house.outages == ["degraded", "restored"])
        member.engine._post.is_behind = True
        await member.engine._nodes._beat()
    three = await members.make()
    three.engine._post.is_behind = True
    await three.engine._nodes._beat()
    assert meant(one) == meant(two) == [BAN, BAN]
    assert all(order.until_ms > 0 for order in three.house.orders), "it had no connections then"


async def test_nothing_is_done_twice_however_much_else_there_was(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_module, "_REMEMBERED", 8)
    one, two = await members.some(2)
    assert await got(two.engine.order(BAN)) == Outcome(2)
    for _ in range(9):
        await got(two.engine.order(Order("push", tenant="t", data=b"1")))
    one.engine._post.is_behind = True
    await one.engine._nodes._beat()
    assert [order.action for order in one.house.orders] == ["disconnect", *["push"] * 9]


async def test_what_is_missed_while_the_log_is_read_is_read_as_well(members: Members) -> None:
    (one,) = await members.some(1)
    post: Any = one.engine._post
    read = post._ledger.read

    async def read_and_miss(take: Any) -> bool:
        answer: bool = await read(take)
        post._lack()
        return answer

    post._ledger.read = read_and_miss
    post.is_behind = True
    await one.engine._nodes._beat()
    assert post.is_behind
    post._ledger.read = read
    await one.engine._nodes._beat()
    assert not post.is_behind


async def test_who_has_come_again_with_a_lower_number_is_told(members: Members) -> None:
    """Redis has lost everything, and who came first again knew of fewer nodes."""
    one, two = await members.some(2)
    one.halt()
    one.engine._sessions.living._newest = 1000
    one.engine._sessions.living._beats.clear()
    assert await got(one.engine.order(BAN)) == Outcome(2)
    assert meant(two) == [BAN]


async def test_where_orders_are_missing_everybody_has_to_connect_again(
    members: Members, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_module, "KEPT", 5)
    one, two = await members.some(2, LEASE_S)
    one.halt()
    await until_buried(two, one)
    for number in range(8):
        await got(two.engine.order(BAN._replace(user=f"u{number}")))
    one.go_on()
    await until(lambda: len(one.house.orders) == 6)
    assert [order.user for order in one.house.orders] == ["u3", "u4", "u5", "u6", "u7", None]
    last = one.house.orders[-1]
    assert (last.action, last.code, last.conn, last.tenant) == ("disconnect", FORCE_RECONNECT.code, None, None)
    assert last.until_ms
    assert "everybody here has to connect again" in caplog.text
    assert await one.command("XLEN", log_of(one)) == 5


async def test_a_mailbox_that_redis_has_lost_is_replaced_and_nothing_is_missed(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    two.engine._nodes._look_around = _nothing  # type: ignore[method-assign]
    one.halt()
    mailbox = one.engine._post.mailbox
    key, partition = mailbox._key(one.id), mailbox._node
    for damage in (("DEL", key), ("SET", key, "x")):
        await one.command("DEL", key)
        await one.command(*damage)
        await got(two.engine.order(BAN._replace(user=f"u{mailbox.gaps}")))
        assert len(one.house.orders) == mailbox.gaps
        await one.engine._nodes._beat()
        assert [order.user for order in one.house.orders] == [f"u{number}" for number in range(mailbox.gaps)]
    assert (mailbox.gaps, partition) == (2, one.id)
    one.go_on()
    await until(lambda: two.engine._sessions.living.is_living(one.id))
    await got(two.engine.order(BAN))
    await until(lambda: len(one.house.orders) == 3)


async def test_what_a_mailbox_had_no_room_for_is_in_the_log(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_module, "ANSWER_S", 0.01)
    one, two = await members.some(2)
    one.halt()
    mailbox = one.engine._post.mailbox
    bell = one.engine._common.listeners.pop(mailbox._bell(one.id))
    for number in range(9):
        await got(two.engine.order(BAN._replace(user=f"u{number}")))
    await one.command("XTRIM", mailbox._key(one.id), "MAXLEN", 2)
    one.engine._common.listeners[mailbox._bell(one.id)] = bell
    await mailbox.catch_up()
    assert [order.user for order in one.house.orders] == ["u7", "u8"]
    await one.engine._nodes._beat()
    assert sorted(order.user or "" for order in one.house.orders) == [f"u{number}" for number in range(9)]


async def test_letters_to_who_stands_still_are_read_when_it_is_back(members: Members) -> None:
    one, two = await members.some(2, LEASE_S)
    one.engine._common.listeners.pop(one.engine._post.mailbox._bell(one.id))
    one.halt()
    two.engine._post.dismiss(one.id, "a-1")
    await until_buried(two, one)
    await until_async(lambda: _has_lost(two, one, "nodes"))
    one.go_on()
    await until(lambda: one.house.orders)
    assert [(order.conn, order.code) for order in one.house.orders] == [("a-1", 4506)]


async def _has_lost(member: Member, dead: Member, kind: str) -> bool:
    return not await member.command("HEXISTS", member.engine._common.names.key(kind.encode(), HOME), dead.id)


# The log by itself.


async def taken(ledger: Ledger) -> tuple[bool, list[bytes]]:
    """Whether it was complete, and what was in it."""
    found: list[bytes] = []

    def take(envelope: bytes, age_ms: int) -> None:
        assert age_ms >= 0
        found.append(envelope)

    return await ledger.read(take), found


async def test_it_is_read_in_parts_and_in_order(members: Members) -> None:
    one, two = await members.some(2)
    log = Ledger(one.engine._common)
    log.heard(await _now_ms(one))
    for number in range(450):
        assert sorted(await log.note(b"%d" % number)) == sorted([one.id, two.id])
    assert await taken(log) == (True, [b"%d" % number for number in range(450)])
    assert await taken(log) == (True, [b"%d" % number for number in range(450)]), "they may have been on their way"
    assert 0 < await one.command("PTTL", log_of(one)) <= ledger_module.KEPT_S * 1000


async def _now_ms(member: Member) -> int:
    seconds, rest = await member.command("TIME")
    return int(seconds) * 1000 + int(rest) // 1000


@pytest.mark.parametrize(
    ("away_s", "entries_s", "is_complete"),
    [
        (10, (), True),
        (100, (), False),
        (100, (120, 5), True),
        (100, (50, 5), False),
        (40, (50, 5), True),
        (40, (30, 20, 10), False),
        (40, (50, 20, 10), True),
    ],
)
async def test_it_is_known_whether_something_is_missing(
    members: Members, monkeypatch: pytest.MonkeyPatch, away_s: int, entries_s: tuple[int, ...], is_complete: bool
) -> None:
    """Kept are three orders, for 90 s."""
    monkeypatch.setattr(ledger_module, "KEPT", 3)
    monkeypatch.setattr(ledger_module, "KEPT_S", 90)
    (one,) = await members.some(1)
    log = Ledger(one.engine._common)
    now_ms = await _now_ms(one)
    log.heard(now_ms - away_s * 1000)
    for before_s in entries_s:
        await one.command("XADD", log_of(one), f"{now_ms - before_s * 1000}-0", "e", "x")
    assert (await taken(log))[0] is is_complete
    assert await taken(log) == (True, [b"x" for before_s in entries_s if before_s < 60])


@pytest.mark.parametrize("is_heard_since", [True, False])
async def test_a_clock_that_was_set_back_hides_no_orders(members: Members, is_heard_since: bool) -> None:
    (one,) = await members.some(1)
    log = Ledger(one.engine._common)
    now_ms = await _now_ms(one)
    log.heard(now_ms + 3_600_000)
    if is_heard_since:
        log.heard(now_ms - 200_000)
    await one.command("XADD", log_of(one), f"{now_ms - 100_000}-0", "e", "x")
    assert await taken(log) == (True, [b"x"])
    assert await taken(log) == (True, [])


async def test_old_orders_go(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "KEPT_S", 90)
    (one,) = await members.some(1)
    now_ms = await _now_ms(one)
    for number in range(300):
        await one.command("XADD", log_of(one), f"{now_ms - 100_000}-{number}", "e", "x")
    await Ledger(one.engine._common).note(b"new")
    assert await one.command("XLEN", log_of(one)) <= 101, "as many as are in one piece"


async def test_a_log_that_is_none_is_replaced(members: Members) -> None:
    one, two = await members.some(2)
    await one.command("SET", log_of(one), "x")
    log = Ledger(one.engine._common)
    log.heard(await _now_ms(one))
    assert await taken(log) == (False, [])
    assert len(await log.note(b"1")) == 2
    assert await taken(log) == (True, [b"1"])
    await one.command("XADD", log_of(one), "*", "only", b"\xff", "more", "")
    await one.command("SET", log_of(two), "x")
    assert await got(two.engine.order(BAN)) == Outcome(2)
    one.engine._post.is_behind = True
    await one.command("XADD", log_of(one), "*", "e", b"\xff")
    await one.engine._nodes._beat()
    assert one.engine._common.unreadable["order"] == 1
    assert meant(one) == [BAN]


async def test_orders_are_given_where_memory_is_short(members: Members, caplog: pytest.LogCaptureFixture) -> None:
    one, _ = await members.some(2)
    await one.command("CONFIG", "SET", "maxmemory", "1")
    try:
        assert len(await Ledger(one.engine._common).note(b"1")) == 2
    finally:
        await one.command("CONFIG", "SET", "maxmemory", "0")
    assert "could not be kept" in caplog.text


@pytest.mark.parametrize("answer", [[], [1, 2, 3], [b"x", 1, 1, []], [1, 1, 1, [b"x"]], [1, 1, 1, [[1, []]]], b"no"])
async def test_strange_answers_are_errors(members: Members, answer: Any) -> None:
    (one,) = await members.some(1)
    common: Any = one.engine._common
    run = common.backbone.run
    common.backbone.run = _answering(answer)
    with pytest.raises(ledger_module.EngineError):
        await Ledger(common).read(lambda *_: None)
    common.backbone.run = run


def _answering(answer: Any) -> Callable[..., asyncio.Future[Any]]:
    def run(*_: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(answer)
        return future

    return run
