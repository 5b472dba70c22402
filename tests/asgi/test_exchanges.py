"""What is said between an ASGI server and the wire, in both directions."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import msgspec
import pytest

from fastws import Connection, FastWS, Reject
from fastws.asgi import mount
from fastws.asgi.exchanges import HIGH_WATER
from fastws.net.http import HttpRequest
from fastws.types import CloseInfo, ConnectionInfo
from tests.asgi.calling import Call, calling, scope_of

pytestmark = pytest.mark.asyncio


class Recorded:
    """An application and what happened to it."""

    def __init__(self, **settings: Any) -> None:
        self.ended: asyncio.Queue[tuple[str, int, str]] = asyncio.Queue()
        self.conns: list[Connection] = []
        self.go_on = asyncio.Event()
        app = FastWS(namespaces={"chat": {"subscribe": "all", "publish": "all"}}, keep_headers=("x-kept",))
        self.mounted = mount(app, **{"anonymous": True, "dev": True, **settings})

        @app.on_connect
        def connect(conn: Connection) -> None:
            self.conns.append(conn)
            if conn.query.get("enter") == "no":
                raise Reject(4507)

        @app.on_disconnect
        def bye(info: ConnectionInfo, close: CloseInfo) -> None:
            self.ended.put_nowait((info.user, int(close.code), close.reason))

        @app.on_upgrade
        async def upgrade(request: HttpRequest) -> None:
            await asyncio.sleep(0)
            if "pay" in request.query:
                raise Reject(402, "pay first")

        @app.raw("/echo")
        def echo(conn: Connection, message: str | bytes) -> None:
            conn.send(message)

        @app.raw("/slow")
        async def slow(conn: Connection, message: str | bytes) -> None:
            await self.go_on.wait()
            conn.send(message)

        @app.raw("/talkative", auth=True)
        def talk(conn: Connection, message: str | bytes) -> None:
            for _ in range(int(message)):
                conn.send("x" * 50_000)

        @app.raw("/told", auth=True)
        async def told(conn: Connection) -> None:
            conn.ping(b"are you there")
            conn.send_json([conn.path, conn.query, conn.headers.get("x-kept"), conn.remote, conn.subprotocol])
            async for message in conn:
                conn.close(int(message), "because")

        @app.http("/request", methods=("GET", "POST"))
        async def request(request: HttpRequest) -> Any:
            if request.query.get("wait"):
                await self.go_on.wait()
            return [request.method, request.path, request.query, request.body.decode(), request.scheme, request.remote]

    async def end(self) -> tuple[str, int, str]:
        async with asyncio.timeout(30):
            return await self.ended.get()


async def welcomed(call: Call) -> dict[str, Any]:
    event = await call.hear()
    assert event["type"] == "websocket.send"
    content: dict[str, Any] = json.loads(event["text"]) if "text" in event else msgspec.msgpack.decode(event["bytes"])
    assert content["event"] == "welcome"
    return content


async def test_text_and_bytes_both_ways() -> None:
    async with calling(Recorded().mounted) as caller:
        call = await caller.connect("/echo")
        for size in (0, 1, 125, 126, 65535, 65536):
            call.say(text="ü" * (size // 2))
            assert await call.hear() == {"type": "websocket.send", "text": "ü" * (size // 2)}
            call.say(bytes=b"\xff" * size, text=None)
            assert await call.hear() == {"type": "websocket.send", "bytes": b"\xff" * size}


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_the_client_protocol(codec: str) -> None:
    async with calling(Recorded().mounted) as caller:
        call = caller.call(subprotocols=["other", f"fastws.{codec}.v1"])
        call.incoming.put_nowait({"type": "websocket.connect"})
        assert await call.hear() == {"type": "websocket.accept", "subprotocol": f"fastws.{codec}.v1", "headers": []}
        welcome = await welcomed(call)
        assert welcome["ping"] == 0  # the ASGI server pings, and this one cannot
        command = {"id": 1, "cmd": "sub", "topic": "chat:1"}
        if codec == "json":
            call.say(text=json.dumps(command))
            assert json.loads((await call.hear())["text"])["result"]["topic"] == "chat:1"
        else:
            call.say(bytes=msgspec.msgpack.encode(command))
            assert msgspec.msgpack.decode((await call.hear())["bytes"])["result"]["topic"] == "chat:1"


async def test_publications_reach_everybody() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        calls = [await caller.connect() for _ in range(70)]
        for call in calls:
            await welcomed(call)
            call.say(text='{"cmd":"sub","topic":"chat:1"}')
            call.say(text='{"id":1,"cmd":"ping"}')
            await call.hear()
        await recorded.mounted.app.publish("chat:1", {"n": 1})
        for call in calls:
            assert json.loads((await call.hear())["text"])["data"] == {"n": 1}


async def test_a_client_closes() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        for said, told in [
            ({"code": 1000}, (1000, "")),
            ({"code": 4321, "reason": "enough"}, (4321, "enough")),
            ({"code": 1012, "reason": None}, (1012, "")),
            ({"code": 1005}, (1005, "")),
            ({}, (1005, "")),
            ({"code": 1006}, (1006, "")),
        ]:
            call = await caller.connect("/told")
            await call.hear()
            call.say(**said)
            await call.end()
            assert await recorded.end() == ("", *told)
            assert call.outgoing.empty()


async def test_the_server_closes() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        call = await caller.connect("/told")
        await call.hear()
        call.say(text="4444")
        assert await call.hear() == {"type": "websocket.close", "code": 4444, "reason": "because"}
        await call.end()
        assert await recorded.end() == ("", 4444, "because")
        call = await caller.connect()
        await welcomed(call)
        call.say(text="[]")
        assert await call.hear() == {"type": "websocket.close", "code": 4501, "reason": "bad_request"}
        call = await caller.connect("/echo")
        call.say(text="x" * 70_000)
        assert (await call.hear())["code"] == 1009
        call = await caller.connect(query_string=b"enter=no")
        assert await call.hear() == {"type": "websocket.close", "code": 4507, "reason": "permission_denied"}


async def test_what_an_upgrade_tells() -> None:
    headers = [(b"Host", b"a.example"), (b"X-Kept", b"me"), (b"origin", b"https://a.example")]
    async with calling(Recorded().mounted) as caller:
        call = await caller.connect(
            "/told", headers=headers, query_string=b"a=%C3%A4", client=("10.1.2.3", 5), subprotocols=["x"]
        )
        told = json.loads((await call.hear())["text"])
        assert told == ["/told", {"a": "ä"}, "me", ["10.1.2.3", 5], ""]
        for client in (None, ("testclient", 50000), ("", 0)):
            call = await caller.connect("/told", client=client, headers=[])
            assert json.loads((await call.hear())["text"])[3] is None


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({"path": "/nothing"}, 404),
        ({"headers": [(b"host", b"a"), (b"origin", b"https://b")]}, 403),
        ({"headers": [(b"host", b"a"), (b"authorization", b"Bearer wrong")]}, 401),
        ({"query_string": b"pay"}, 402),
        ({"headers": [(b"host", b"a"), (b"x", b"a\r\nb: c")]}, 400),
        ({"headers": [(b"host", b"a"), (b"x y", b"a")]}, 400),
        ({"headers": [(b"host", b"a"), (b"x", b"a" * 20_000)]}, 431),
        ({"query_string": b"a b"}, 400),
        ({"path": "/ws/" + "ü" * 2000}, 414),
    ],
)
async def test_refusals(scope: dict[str, Any], status: int) -> None:
    async with calling(Recorded(jwt_secret="x" * 32).mounted) as caller:
        answered, headers, body = await caller.refused(**scope)
        assert answered == status
        assert json.loads(body)["error"]["status"] == status
        assert int(headers[b"content-length"]) == len(body)
        assert b"connection" not in headers
        call = caller.call("websocket", **{"path": "/ws", **scope, "extensions": {}})
        call.incoming.put_nowait({"type": "websocket.connect"})
        assert (await call.hear())["type"] == "websocket.close"


async def test_plain_http() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        status, headers, body = await caller.ask("/request", query_string=b"a=1")
        assert (status, headers[b"content-type"]) == (200, b"application/json")
        assert json.loads(body) == ["GET", "/request", {"a": "1"}, "", "http", ["127.0.0.1", 50000]]
        status, _, body = await caller.ask("/request", b"he", b"", b"llo", method="POST", scheme="https")
        assert json.loads(body) == ["POST", "/request", {}, "hello", "https", ["127.0.0.1", 50000]]
        assert (await caller.ask("/request", method="PUT"))[0] == 405
        assert (await caller.ask("/request", method="HEAD"))[2] == b""
        assert (await caller.ask("/request", *[b"x" * 30_000] * 5, method="POST"))[0] == 413
        assert (await caller.ask("/nothing"))[0] == 404
        status, headers, _ = await caller.ask("/ws")
        assert (status, headers[b"upgrade"]) == (426, b"websocket")
        assert (await caller.ask("/healthz"))[0] == 200


async def test_a_body_that_is_announced_is_passed_on_as_it_comes() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:

        def announcing(length: int) -> dict[str, Any]:
            return {"method": "POST", "headers": [(b"host", b"a"), (b"content-length", b"%d" % length)]}

        status, _, body = await caller.ask("/request", b"he", b"llo", **announcing(5))
        assert (status, json.loads(body)[3]) == (200, "hello")
        for path, status in (("/request", 413), ("/nothing", 413)):
            call = caller.call("http", path, **announcing(99_999_999))
            assert (await call.hear())["status"] == status  # without waiting for any of it
        call = caller.call("http", "/nothing", **announcing(10))
        assert (await call.hear())["status"] == 404


async def test_who_does_not_wait_for_an_answer() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        call = caller.call("http", "/request", query_string=b"wait=1")
        call.incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        call.incoming.put_nowait({"type": "http.disconnect"})
        await call.end()
        assert call.outgoing.empty()
        call = caller.call("http", "/request")
        call.incoming.put_nowait({"type": "http.disconnect"})
        await call.end()
        call = caller.call("websocket")
        call.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await call.end()
        assert call.outgoing.empty()


async def test_an_asgi_server_that_cannot_send_any_more() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        call = await caller.connect("/told")
        await call.hear()
        call.refuses = OSError("gone")
        recorded.conns[-1].send("into the void")
        await call.end()
        assert await recorded.end() == ("", 1006, "")


async def test_an_asgi_server_that_says_what_nobody_understands(caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        call = await caller.connect("/told")
        call.incoming.put_nowait({"type": "websocket.receive", "txt": "x"})
        await call.end()
        assert await recorded.end() == ("", 1006, "")
    assert [record.levelname for record in caplog.records if record.name == "fastws.asgi"] == ["ERROR"]


async def test_an_asgi_server_that_cannot_receive_any_more(caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> dict[str, str]:
        if events:
            return {"type": events.pop()}
        raise RuntimeError("closed")

    async def send(event: object) -> None: ...

    recorded = Recorded()
    async with calling(recorded.mounted):
        for path in ("/told", "/ws"):
            events = ["websocket.connect"]
            async with asyncio.timeout(30):
                await recorded.mounted(scope_of("websocket", path), receive, send)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_to_be_cancelled_is_to_lose_the_connection() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        call = await caller.connect("/told")
        await call.hear()
        call.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.end()
        assert await recorded.end() == ("", 1006, "")


async def test_what_is_not_read_waits_with_the_asgi_server() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        call = await caller.connect("/slow")
        for _ in range(1000):
            call.say(text="x")
        while call.incoming.qsize() > 990:
            await asyncio.sleep(0)
        for _ in range(2000):
            await asyncio.sleep(0)
        assert call.incoming.qsize() > 500
        recorded.go_on.set()
        for _ in range(1000):
            assert (await call.hear())["text"] == "x"


async def test_a_slow_consumer_waits_in_the_outbox_and_is_heard_of() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        call = await caller.connect("/talkative")
        call.may_send.clear()
        call.say(text="10")
        while not recorded.conns or recorded.conns[-1].buffered == 0:
            await asyncio.sleep(0)
        conn = recorded.conns[-1]
        assert conn.buffered > HIGH_WATER
        assert conn.congested
        call.may_send.set()
        for _ in range(10):
            assert len((await call.hear())["text"]) == 50_000
        assert conn.buffered == 0


async def test_a_consumer_that_is_too_slow() -> None:
    recorded = Recorded(max_outbox=200_000)
    async with calling(recorded.mounted) as caller:
        call = await caller.connect("/talkative")
        call.may_send.clear()
        call.say(text="20")
        while not recorded.conns or recorded.conns[-1].close_code == 0:
            await asyncio.sleep(0)
        call.may_send.set()
        events = [await call.hear()]
        while events[-1]["type"] == "websocket.send":
            events.append(await call.hear())
        assert events[-1] == {"type": "websocket.close", "code": 4003, "reason": "slow_consumer"}
        await call.end()
        assert len(events) < 10
        assert await recorded.end() == ("", 4003, "slow_consumer")


async def test_a_connection_that_is_reset_takes_nobody_hostage() -> None:
    recorded = Recorded()
    async with calling(recorded.mounted) as caller:
        call = await caller.connect("/talkative")
        call.may_send.clear()
        call.say(text="1")
        while call.sent < 2:
            await asyncio.sleep(0)
        recorded.conns[-1].abort()
        await call.end()
        assert await recorded.end() == ("", 1006, "")
