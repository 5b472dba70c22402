"""Orders and announcements between processes: each once, none lost, none waited for longer than may be."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from fastws.engine.contract import Order, Outcome
from fastws.engine.redis import post as post_module
from fastws.engine.redis.fleet.letters import letter_of
from fastws.engine.redis.names import ANNOUNCEMENTS, BELL, HOME, MAILBOX, partition_of
from tests.engine.redis.fleet.nodes import Member, Members, put
from tests.engine.suite.stand import PATIENCE_S, got, until, until_async
from tests.support.redis import RedisServer
from tests.support.waiting import Stopwatch

pytestmark = pytest.mark.asyncio

EVERY = Order("count", attribute="user", data=b'"x"')


async def test_orders_are_carried_out_everywhere_and_their_outcomes_add_up(members: Members) -> None:
    three = await members.some(3)
    for count, member in zip((1, 20, 300), three, strict=True):
        member.house.answer = lambda order, count=count: Outcome(count, 106 if count == 20 else 0)
    for member in three:
        assert await got(member.engine.order(EVERY)) == Outcome(321, 106)
        assert await got(member.engine.order(Order("disconnect", tenant="t", code=4503))) == Outcome(321, 106)
    assert [len(member.house.orders) for member in three] == [6, 6, 6]
    order = Order("push", None, None, "t\ud800", "a topic", b'{"a":1}', 77, 4503, "so \ud800", "x")
    await got(three[0].engine.order(order))
    assert [member.house.orders[-1] for member in three] == [order] * 3


async def test_a_push_to_a_user_goes_where_the_user_is(members: Members) -> None:
    one, two, three = await members.some(3)
    two.attach("ann", "b-1", tenant="t")
    await until_async(lambda: one.conns("t\0ann"))
    one.house.answer = lambda order: Outcome(0)
    assert await got(one.engine.order(Order("push", user="t\0ann", data=b"1"))) == Outcome(1)
    assert await got(one.engine.order(Order("push", user="ann", data=b"1"))) == Outcome(0)
    assert [len(member.house.orders) for member in (one, two, three)] == [2, 1, 0]


@pytest.mark.parametrize("action", ["disconnect", "subscribe", "unsubscribe"])
async def test_whoever_is_to_go_is_met_also_where_nothing_is_noted_yet(members: Members, action: str) -> None:
    one, two = await members.some(2)
    two.house.note_session("ann", "b-1", "web", 5)  # it is here, and Redis does not know it
    one.house.answer = lambda order: Outcome(0)
    assert await got(one.engine.order(Order(action, user="ann", topic="x"))) == Outcome(1)
    assert len(two.house.orders) == 1


async def test_who_came_while_its_process_was_cut_off_is_met_when_it_is_back(
    members: Members, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_module, "ANSWER_S", 1.0)
    one, two = await members.some(2)
    bell = two.engine._common.names.of(BELL, two.id)
    hear = two.engine._common.listeners.pop(bell)  # it is cut off
    two.house.note_session("ann", "b-1", "web", 5)
    asked = asyncio.ensure_future(got(one.engine.order(Order("disconnect", user="ann", code=4503))))
    await until(lambda: len(one.house.orders) == 1)
    await asked
    assert two.house.orders == []
    two.engine._common.listeners[bell] = hear
    redis_server.kill_clients("pubsub")
    await until(lambda: len(two.house.orders) == 1)
    assert two.house.orders[0].user == "ann"


async def test_an_order_about_a_connection_that_is_here_asks_nobody_else(members: Members) -> None:
    one, two = await members.some(2)
    assert await got(one.engine.order(Order("disconnect", conn="a-1"))) == Outcome(1)
    assert two.house.orders == []
    one.house.answer = lambda order: Outcome(0)
    assert await got(one.engine.order(Order("disconnect", conn="b-1"))) == Outcome(1)
    assert len(two.house.orders) == 1


async def test_a_user_is_disconnected_everywhere_within_a_second(members: Members) -> None:
    three = await members.some(3)
    for number in range(60):
        three[number % 3].attach("ann", f"c-{number}")
    await until_async(lambda: _has(three[0], 60))
    watch = Stopwatch()
    assert await got(three[0].engine.order(Order("disconnect", user="ann", code=4503))) == Outcome(3)
    assert watch.own_s < 1
    assert all(member.house.orders for member in three)


async def _has(member: Member, count: int) -> bool:
    return len(await member.conns("ann")) == count


async def test_orders_of_one_caller_keep_their_order(members: Members) -> None:
    one, two = await members.some(2)
    two.attach("ann", "b-1")
    await until_async(lambda: one.conns("ann"))
    orders = [Order("push", user="ann", data=b"%d" % number) for number in range(50)]
    await asyncio.gather(*(got(one.engine.order(order)) for order in orders))
    assert two.house.orders == orders


async def test_who_does_not_answer_is_waited_for_a_second(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_module, "ANSWER_S", 1.0)
    one, two, three = await members.some(3)

    async def never() -> Outcome:
        await asyncio.sleep(60)
        return Outcome(1000)

    two.house.answer = lambda order: never()  # type: ignore[assignment,return-value]
    watch = Stopwatch()
    assert await got(one.engine.order(EVERY)) == Outcome(2)
    assert watch.s >= 0.9
    assert watch.own_s < 3
    assert len(three.house.orders) == 1
    await three.die()
    watch = Stopwatch()
    assert await got(one.engine.order(EVERY)) == Outcome(1)
    assert watch.own_s < 3


async def test_who_is_quiet_is_asked_and_not_waited_for(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = await members.some(3)
    monkeypatch.setattr(post_module, "ANSWER_S", 2 * PATIENCE_S)
    living = one.engine._sessions.living
    monkeypatch.setattr(living, "is_quiet", {two.id}.__contains__)
    two.engine._common.listeners.pop(two.engine._common.names.of(BELL, two.id))
    assert await got(one.engine.order(EVERY)) == Outcome(2)
    assert len(three.house.orders) == 1
    await two.engine._post.mailbox.catch_up()
    assert len(two.house.orders) == 1


async def test_late_answers_are_part_of_the_outcome(members: Members) -> None:
    one, two = await members.some(2)

    async def later() -> Outcome:
        await asyncio.sleep(0.01)
        return Outcome(5, 102)

    for member in (one, two):
        member.house.answer = lambda order: later()  # type: ignore[assignment,return-value]
    assert await got(one.engine.order(EVERY)) == Outcome(10, 102)


async def test_orders_survive_an_outage_and_meet_only_who_was_there(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_module, "LATE_MS", 100)
    one, two = await members.some(2)
    kick = Order("disconnect", user="ann", code=4503, reason="kicked")
    before_ms = time.time() * 1000
    await put(one, letter_of(kick, 1, two.id))
    await put(one, letter_of(EVERY, 2, two.id))
    given_ms = time.time() * 1000
    await asyncio.sleep(0.2)
    asked_ms = time.time() * 1000
    await one.engine._post.mailbox.catch_up()
    took_ms = time.time() * 1000 - asked_ms  # in which Redis said how old it is
    (late,) = one.house.orders  # nobody waits for a count any more
    assert late._replace(until_ms=0) == kick
    assert before_ms - 2 <= late.until_ms <= given_ms + took_ms + 2


async def test_letters_that_cannot_be_read_are_left_out(members: Members) -> None:
    one, two = await members.some(2)
    common = two.engine._common
    bell, partition = common.names.of(BELL, two.id), partition_of(two.id)
    good = letter_of(EVERY, 1, one.id)
    for payload in (b"", b"0", b"x y", b"5", b"99999999999999999999999 x", good, b"2 \x01\x05", b"2 \x02\x05x"):
        await one.engine._common.backbone.say(partition, bell, payload)
    for damaged in (b"", b"\x09\x09", b"\x01\x05\xc1", good[:-1], good.replace(b"count", b"c\xffunt")):
        await put(two, damaged, rings=True)
    await got(one.engine.order(EVERY))
    assert len(two.house.orders) == 1
    assert common.unreadable["letter"] >= 8
    channel = common.names.key(ANNOUNCEMENTS, HOME)
    for payload in (b"", b"\x01\x04", b"\x01\x04short", b"\x01\x05" + bytes(20), b"\x07\x04" + bytes(20)):
        await one.engine._common.backbone.say(HOME, channel, payload)
    await got(one.engine.announce(b"1"))
    await until(lambda: two.house.announcements)
    assert [data for data, _ in two.house.announcements] == [b"1"]
    assert common.unreadable["announcement"] == 5


async def test_an_order_that_is_not_known_is_given_to_the_hub_as_it_is(members: Members) -> None:
    one, _ = await members.some(2)
    assert await got(one.engine.order(Order("of a newer version"))) == Outcome(2)


async def test_announcements_are_heard_once_by_everybody(members: Members) -> None:
    three = await members.some(3)
    now_ms = time.time() * 1000
    await got(three[0].engine.announce(b'{"a":1}'))
    await until(lambda: all(member.house.announcements for member in three))
    (heard,) = {tuple(member.house.announcements) for member in three}
    assert [data for data, _ in heard] == [b'{"a":1}']
    assert abs(heard[0][1] - now_ms) < 60_000


async def test_alone_orders_and_announcements_reach_who_is_here(members: Members) -> None:
    one, two = await members.some(2)
    members.server.stop()
    await until(lambda: one.house.outages and two.house.outages)
    assert one.engine.announce(b"1") is None
    assert [data for data, _ in one.house.announcements] == [b"1"]
    assert one.engine.order(EVERY) == Outcome(1)
    assert one.engine.order(Order("disconnect", user="ann")) == Outcome(1)
    one.engine._post.dismiss(two.id, "b-1")
    assert two.house.orders == []


async def test_places_are_given_up_by_letter(members: Members) -> None:
    one, two = await members.some(2)
    one.engine._post.dismiss(two.id, "b-1")
    one.engine._post.dismiss(one.id, "a-1")
    assert [(order.conn, order.code) for order in one.house.orders] == [("a-1", 4506)]
    await until(lambda: [(order.conn, order.code) for order in two.house.orders] == [("b-1", 4506)])
    one.engine._post.dismiss("nobody.7.ab", "b-1")
    assert not await _mailbox_of(one, "nobody.7.ab")


async def _mailbox_of(member: Member, node: str) -> Any:
    key = member.engine._common.names.of(MAILBOX, node)
    return await member.command("EXISTS", key, partition=partition_of(node))


async def test_orders_that_make_no_sense_harm_nobody(
    members: Members, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(post_module, "ANSWER_S", 1.0)
    one, two = await members.some(2)

    def fail(order: Order) -> Outcome:
        raise ValueError("no JSON")

    async def fail_later() -> Outcome:
        raise ValueError("no JSON")

    for answer, said in ((fail, "cannot be carried out"), (lambda order: fail_later(), "failed")):
        two.house.answer = answer  # type: ignore[assignment]
        asking = asyncio.create_task(_ask(one))
        await until(lambda said=said: said in caplog.text)
        assert await asking == Outcome(1)
    two.house.answer = lambda order: Outcome(1)
    assert await _ask(one) == Outcome(2)
    heard = two.house.on_announcement

    def refuse(data: bytes, ts_ms: int) -> None:
        if data == b"{":
            raise ValueError("no JSON")
        heard(data, ts_ms)

    two.house.on_announcement = refuse  # type: ignore[method-assign]
    for data in (b"{", b"1"):
        await got(one.engine.announce(data))
    await until(lambda: [data for data, _ in two.house.announcements] == [b"1"])
    assert two.engine._common.unreadable["announcement"] == 1


async def _ask(member: Member) -> Outcome:
    return await got(member.engine.order(EVERY))


@pytest.mark.parametrize("action", ["disconnect", "push"])
async def test_what_redis_does_not_take_is_not_answered_as_done_everywhere(
    members: Members, redis_server: RedisServer, action: str
) -> None:
    one, two = await members.some(2)
    two.attach("ann", "b-1")
    await until_async(lambda: one.conns("ann"))
    one.house.answer = lambda order: Outcome(3)
    order = Order(action, user="ann", data=b"1")
    assert await got(one.engine.order(order)) == Outcome(4)
    redis_server.config("maxmemory", 1)
    try:
        assert await got(one.engine.order(order)) == Outcome(3, is_partial=True)
    finally:
        redis_server.config("maxmemory", 0)
    assert await got(one.engine.order(order)) == Outcome(4)
