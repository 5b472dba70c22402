"""An application with everything, in a real server: what one would write, and what its clients see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from fastws import Connection, Context, FastWS, Reject, TopicError
from fastws.testing import CommandError, ConnectionClosed, TestServer

pytestmark = pytest.mark.asyncio


class Order(msgspec.Struct):
    item: str
    count: int = 1


class Shop:
    """The application, and what happened in it."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.app = app = FastWS(
            namespaces={
                "chat": {"history_size": 10, "presence": True},
                "orders": {"publish": "nobody", "subscribe": "authenticated"},
            },
            keep_headers=("traceparent",),
        )
        app.on_startup(self.start)
        app.use(self.watch)
        app.on_connect(self.connect)
        app.can_subscribe("chat:{room}")(self.may_join)
        app.can_publish("chat:{room}")(lambda conn, room: room in conn.topics[0])
        app.on_publish("chat:{room}")(self.clean)
        app.on_subscribe("chat:{room}")(self.joined)
        app.on_unsubscribe("chat:{room}")(self.left)
        app.rpc("order")(self.order)
        app.raw("/raw", auth=True)(self.raw)

    async def start(self) -> None:
        self.clock = asyncio.create_task(self.tick())

    async def tick(self) -> None:
        while True:
            await self.app.publish("orders:time", "tick")
            await asyncio.sleep(0.01)

    async def watch(self, ctx: Context, call_next: Callable[[Context], Awaitable[Any]]) -> Any:
        self.told.append((ctx.conn.user, ctx.cmd, ctx.trace))
        if ctx.conn.user == "banned":
            raise Reject(4507)
        return await call_next(ctx)

    async def connect(self, conn: Connection) -> None:
        assert conn.remote is not None
        conn.state["rooms"] = conn.claims.get("rooms", [])

    async def may_join(self, conn: Connection, room: str) -> bool:
        await asyncio.sleep(0)
        return room in conn.state["rooms"]

    def clean(self, conn: Connection, data: Any, room: str) -> Any:
        if data == "rude":
            raise TopicError(1001, "be nice")
        return {"text": data, "by": conn.user, "room": room}

    async def joined(self, conn: Connection, room: str) -> None:
        await self.app.push(conn, f"welcome to {room}")

    def left(self, conn: Connection, room: str) -> None:
        self.told.append((conn.user, "left", room))

    async def order(self, conn: Connection, data: Order) -> dict[str, Any]:
        await self.app.publish("orders:new", data)
        return {"ordered": data.count}

    def raw(self, conn: Connection, message: str | bytes) -> None:
        conn.send(f"{conn.codec} {conn.user}: {message!s}")


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_everything_together(codec: str) -> None:
    shop = Shop()
    async with TestServer(shop.app) as server:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ann = await server.connect(user="ann", claims={"rooms": ["lobby"]}, codec=codec, headers={"traceparent": trace})
        ben = await server.connect(user="ben", claims={"rooms": ["lobby", "cellar"]}, codec=codec)
        await ann.subscribe("chat:lobby")
        assert (await ann.expect("message"))["data"] == "welcome to lobby"
        with pytest.raises(CommandError) as refused:
            await ann.subscribe("chat:cellar")
        assert refused.value.code == 103
        await ben.subscribe("chat:lobby")
        await ben.publish("chat:lobby", "hello")
        said = await ann.expect("publication", topic="chat:lobby")
        assert said["data"] == {"text": "hello", "by": "ben", "room": "lobby"}
        for topic, data, code in (("chat:lobby", "rude", 1001), ("orders:new", "x", 103), ("other:x", "x", 102)):
            with pytest.raises(CommandError) as refused:
                await ben.publish(topic, data)
            assert refused.value.code == code
        await ann.subscribe("orders:new")
        await ann.subscribe("orders:time")
        await ann.expect("publication", topic="orders:time", data="tick")
        assert await ben.rpc("order", {"item": "tea", "count": 2}) == {"ordered": 2}
        new = await ann.expect("publication", topic="orders:new")
        assert new["data"] == {"item": "tea", "count": 2}
        with pytest.raises(CommandError) as refused:
            await ben.rpc("order", {"item": 5})
        assert refused.value.code == 107
        await ben.close()
        await ann.unsubscribe("chat:lobby")
        shop.clock.cancel()
    assert ("ann", "connect", trace) in shop.told
    assert ("ann", "sub", trace) in shop.told
    assert {told for told in shop.told if told[1] == "left"} == {("ann", "left", "lobby"), ("ben", "left", "lobby")}


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("runs", ["before the end", "at the end"])
async def test_hooks_that_wait_know_whose_subscription_has_ended(end: str, runs: str) -> None:
    app = FastWS(namespaces={"chat": {}})
    told: list[Any] = []
    begun, goes_on = asyncio.Event(), asyncio.Event()
    conns: list[Connection] = []
    app.on_connect(conns.append)

    @app.on_unsubscribe("chat:{room}")
    async def left(conn: Connection, room: str) -> None:
        conn.state["rooms"] = conn.state.get("rooms", 0) + 1
        begun.set()
        await goes_on.wait()
        told.append((room, conn.user, conn.state.get("rooms")))

    async with TestServer(app) as server:
        client = await server.connect(user="ann")
        await client.subscribe("chat:a")
        await client.subscribe("chat:b")
        if runs == "before the end":
            await client.unsubscribe("chat:a")
        await getattr(client, end)()
        await begun.wait()
        while conns[0].phase != 4:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        goes_on.set()
        while len(told) < 2:
            await asyncio.sleep(0.001)
        assert told == [("a", "ann", 1), ("b", "ann", 2)]
        await asyncio.sleep(0)
        assert conns[0].session is None


async def test_middleware_is_around_raw_endpoints_that_ask_who_it_is() -> None:
    shop = Shop()
    async with TestServer(shop.app) as server:
        raw = await server.connect("/raw", user="ann")
        await raw.send_text("hello")
        assert await raw.receive() == "raw ann: hello"
        assert shop.told == [("ann", "connect", None)]
        banned = await server.connect("/raw", user="banned")
        assert await banned.wait_closed() == (4507, "permission_denied")
        with pytest.raises(ConnectionClosed) as closed:
            await server.connect(user="banned")
        assert closed.value.code == 4507
        shop.clock.cancel()


async def test_a_handler_that_a_disconnect_hook_wakes_still_knows_whose_call_it_is() -> None:
    app = FastWS()
    told: list[Any] = []
    begun, gone = asyncio.Event(), asyncio.Event()
    app.on_disconnect(lambda info, close: gone.set())

    @app.rpc("wait")
    async def wait(conn: Connection, data: Any) -> None:
        conn.state["order"] = data
        begun.set()
        await gone.wait()
        told.append((conn.user, conn.state.get("order")))

    async with TestServer(app) as server:
        client = await server.connect(user="ann")
        await client.send("rpc", method="wait", data=7)
        await begun.wait()
        await client.abort()
        while not told:
            await asyncio.sleep(0.001)
    assert told == [("ann", 7)]
