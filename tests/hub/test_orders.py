"""Orders: whom they mean, what they do, what comes of them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

import pytest

from fastws import TopicError
from fastws.closes import Unsubscribed
from fastws.engine.contract import Answer, Order, Outcome
from fastws.errors import EngineError, UsageError
from fastws.hub import orders
from fastws.hub.topic import Topic
from fastws.types import SendStatus
from tests.gateway.stage import MSGPACK, staged

pytestmark = pytest.mark.asyncio


async def outcome(answer: Answer[Outcome]) -> Outcome:
    return await answer if inspect.isawaitable(answer) else answer


async def test_whom_they_mean() -> None:
    async with staged() as stage:
        players = [stage.connect(subprotocol=codec) for codec in ("", MSGPACK, "", "")]
        for player, user, tenant in zip(players, ("u", "u", "v", "u"), ("", "", "", "a"), strict=True):
            stage.name(player, user, tenant)
        meant: list[tuple[Order, list[int]]] = [
            (Order("push", user="u", data=b"1"), [0, 1]),
            (Order("push", user="a\0u", data=b"1"), [3]),
            (Order("push", user="nobody", data=b"1"), []),
            (Order("push", conn=players[2].conn.id, data=b"1"), [2]),
            (Order("push", conn="x-1", data=b"1"), []),
            (Order("push", tenant="", data=b"1"), [0, 1, 2]),
            (Order("push", tenant="a", data=b"1"), [3]),
            (Order("push", tenant="b", data=b"1"), []),
            (Order("push", data=b"1"), [0, 1, 2, 3]),
            (Order("of a newer version", user="u"), []),
        ]
        for order, expected in meant:
            assert await outcome(stage.engine.order(order._replace(ts_ms=5))) == Outcome(len(expected))
            await stage.settle()
            for number, player in enumerate(players):
                heard = [{"event": "message", "data": 1, "ts": 5}] if number in expected else []
                assert player.hear() == heard, order


async def test_disconnecting() -> None:
    async with staged() as stage:
        players = [stage.connect() for _ in range(3)]
        for player in players[:2]:
            stage.name(player, "u")
        order = Order("disconnect", user="u", code=4503, reason="kicked")
        assert await outcome(stage.engine.order(order)) == Outcome(2)
        await stage.settle()
        for player in players:
            player.hear()
        assert [player.closed for player in players] == [(4503, "kicked"), (4503, "kicked"), None]


async def test_counting() -> None:
    async with staged() as stage:
        players = [stage.connect(subprotocol=codec) for codec in ("", MSGPACK, "")]
        stage.name(players[0], "u", device="web", info={"plan": "pro", "n": None})
        stage.name(players[1], "v", "a", info="text")
        for attribute, value, tenant, count in [
            ("user", b'"u"', None, 1),
            ("user", b'""', None, 1),
            ("device", b'"default"', None, 2),
            ("tenant", b'"a"', None, 1),
            ("codec", b'"json"', None, 2),
            ("codec", b'"json"', "", 2),
            ("codec", b'"json"', "a", 0),
            ("plan", b'"pro"', None, 1),
            ("n", b"null", None, 1),
            ("other", b"null", None, 0),
            ("role", b'"admin"', None, 0),
        ]:
            order = Order("count", tenant=tenant, attribute=attribute, data=value)
            assert await outcome(stage.engine.order(order)) == Outcome(count), (attribute, value)


class Refusing:
    """Refuses what is called `no`, and answers later what is called `late`."""

    def __init__(self) -> None:
        self.subscribed: list[Any] = []

    def subscribe_by_server(self, conn: Any, session: Any, topic: str) -> Answer[bool]:
        assert session is conn.session
        if topic == "no":
            raise TopicError(106)
        if topic == "away":
            raise EngineError("away")
        if topic == "bug":
            raise ValueError
        if topic == "usage":
            raise UsageError("x")
        if topic == "late":
            return self.later(conn, refuse=False)
        if topic == "late no":
            return self.later(conn, refuse=bool(self.subscribed))
        self.subscribed.append(conn)
        return True

    async def later(self, conn: Any, *, refuse: bool) -> bool:
        await asyncio.sleep(0)
        if refuse:
            raise TopicError(106)
        self.subscribed.append(conn)
        return True

    def unsubscribe_by_server(self, conn: Any, session: Any, topic: str) -> bool:
        return topic == "t"

    def end(self, conn: Any, session: Any, topic: Topic, why: Unsubscribed) -> None: ...


@pytest.mark.parametrize("crowd", [2, 100])
async def test_what_comes_of_them(crowd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "SLICE_S", 0.0)
    async with staged() as stage:
        for player in [stage.connect() for _ in range(crowd)]:
            stage.name(player, "u")
        stage.hub.serve(Refusing())
        for topic, expected in [
            ("yes", Outcome(crowd)),
            ("late", Outcome(crowd)),
            ("no", Outcome(0, 106)),
            ("away", Outcome(0, 113)),
            ("bug", Outcome(0, 100)),
            ("usage", Outcome(0, 100)),
            ("late no", Outcome(0, 106)),
        ]:
            answer = stage.engine.order(Order("subscribe", user="u", topic=topic))
            assert isinstance(answer, Awaitable) or (crowd == 2 and "late" not in topic)
            assert await outcome(answer) == expected, topic
        assert await outcome(stage.engine.order(Order("unsubscribe", user="u", topic="t"))) == Outcome(crowd)
        assert await outcome(stage.engine.order(Order("unsubscribe", user="u", topic="x"))) == Outcome(0)


async def test_a_crowd_is_served_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "SLICE_S", 0.0)
    async with staged() as stage:
        for player in [stage.connect() for _ in range(200)]:
            stage.name(player, "u")
        turns = 0
        done = asyncio.Event()

        async def bystander() -> None:
            nonlocal turns
            while not done.is_set():
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(bystander())
        assert await outcome(stage.engine.order(Order("count", attribute="user", data=b'"u"'))) == Outcome(200)
        done.set()
        await task
        assert turns >= 6


async def test_orders_at_the_same_time_share_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "SLICE_S", 0.0)
    async with staged() as stage:
        for player in [stage.connect() for _ in range(320)]:
            stage.name(player, "u")
        looked_at = 0

        def look(conn: Any, session: Any, topic: str) -> bool:
            nonlocal looked_at
            looked_at += 1
            return True

        refusing = Refusing()
        refusing.unsubscribe_by_server = look  # type: ignore[method-assign]
        stage.hub.serve(refusing)
        order = Order("unsubscribe", user="u", topic="t")
        under_way = [asyncio.create_task(outcome(stage.engine.order(order))) for _ in range(5)]
        passes = 0
        while not all(task.done() for task in under_way):
            before = looked_at
            await asyncio.sleep(0)
            assert looked_at - before <= 32
            passes += 1
        assert [task.result() for task in under_way] == [Outcome(320)] * 5
        assert passes < 5 * 10 * 4


async def test_who_has_ended_meanwhile_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "SLICE_S", 0.0)
    async with staged() as stage:
        players = [stage.connect() for _ in range(200)]
        counting = asyncio.create_task(outcome(stage.engine.order(Order("count", attribute="user", data=b'""'))))
        subscribing = asyncio.create_task(outcome(stage.engine.order(Order("subscribe", tenant="", topic="t"))))
        await asyncio.sleep(0)
        for player in players[100:]:
            player.vanish()
        assert 100 <= (await counting).connections < 200
        assert (await subscribing).refused == 0
        assert len(stage.hub.topics["t"].audience) == 100


async def test_what_comes_late_does_not_concern_who_came_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000_000.0
    monkeypatch.setattr("fastws.hub.users.time", lambda: now_s)
    async with staged() as stage:
        early = stage.name(stage.connect(), "u")
        now_s += 60
        late = stage.name(stage.connect(), "u")
        until_ms = 1_000_030_000
        for order in (
            Order("push", user="u"),
            Order("push"),
            Order("push", tenant=""),
            Order("push", conn=late.conn.id),
        ):
            expected = 0 if order.conn else 1
            assert await outcome(stage.engine.order(order._replace(data=b"1", until_ms=until_ms))) == Outcome(expected)
        kick = Order("disconnect", user="u", code=4503, until_ms=until_ms)
        assert await outcome(stage.engine.order(kick)) == Outcome(1)
        await stage.settle()
        early.hear()
        assert late.hear() == []
        assert (early.closed, late.closed) == ((4503, ""), None)


class Raw:
    """A connection of a raw endpoint."""

    codec, tenant, number, close_code = "raw", "a", 1, 0

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def send_frame(self, frame: bytes) -> SendStatus:
        self.heard.append(frame)
        return SendStatus.SENT


class OneRaw:
    """The users of a process that has but that one."""

    def __init__(self, conn: Raw) -> None:
        self._found = [conn]

    def everybody(self, _tenant: str | None) -> list[Raw]:
        return self._found

    def connections_of(self, _tenant: str, _user: str) -> list[Raw]:
        return self._found


async def test_what_is_for_everybody_is_not_for_raw_endpoints_when_it_comes_late() -> None:
    raw = Raw()
    users: Any = OneRaw(raw)
    carried = orders.Orders(users, lambda _: raw, lambda _: 9.0)
    for order, expected in (
        (Order("push", tenant="a"), 0),
        (Order("push", user="a\0u"), 1),
        (Order("push", conn="n-1"), 1),
    ):
        raw.heard.clear()
        assert await outcome(carried.carry_out(order._replace(data=b'"x"', until_ms=5))) == Outcome(expected), order
        assert raw.heard == [b'\x81\x03"x"'] * expected
