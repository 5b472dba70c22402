"""The client of tests: what it says, what it keeps, and how it explains what came instead."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fastws import Connection, FastWS, TopicError, UsageError
from fastws.testing import Client, CommandError, ConnectError, ConnectionClosed, TestServer
from fastws.types import CloseInfo

pytestmark = pytest.mark.asyncio

CODECS = pytest.mark.parametrize("codec", ["json", "msgpack"])


def application() -> FastWS:
    open_to_all = {"subscribe": "all", "publish": "all"}
    app = FastWS(namespaces={"chat": open_to_all, "log": {**open_to_all, "history_size": 10, "recover": True}})

    @app.raw("/echo")
    def echo(conn: Connection, message: str | bytes) -> None:
        if message == "leave":
            conn.close(4321, "as you like")
        elif message == "flood":
            for _ in range(20):
                conn.send("x" * 50_000)
        else:
            conn.send(message)

    return app


@pytest_asyncio.fixture
async def server() -> AsyncIterator[TestServer]:
    async with TestServer(application()) as server:
        yield server


@CODECS
async def test_what_commands_answer(server: TestServer, codec: str) -> None:
    ann, ben = await server.connect(codec=codec), await server.connect(codec=codec)
    assert ann.id == ann.welcome["conn"] != ben.id
    first = await ann.subscribe("log:1")
    assert (first["recovered"], first["publications"]) == (False, [])
    result = await ben.publish("log:1", {"n": 1}, key="k")
    assert (result["offset"], result["duplicate"]) == (1, False)
    assert (await ben.publish("log:1", {"n": 1}, key="k"))["duplicate"] is True
    publication = await ann.expect("publication", topic="log:1", data={"n": 1}, offset=1)
    assert publication["from"] == {"user": "", "conn": ben.id}
    again = await ben.subscribe("log:1", recover=first)
    assert [entry["data"] for entry in again["publications"]] == [{"n": 1}]
    await ben.unsubscribe("log:1")
    assert (await ben.subscribe("log:1", recover=(result["epoch"], 1)))["publications"] == []
    await ann.nothing_arrives()


@CODECS
async def test_an_error_of_a_command(server: TestServer, codec: str) -> None:
    ws = await server.connect(codec=codec)
    with pytest.raises(CommandError) as caught:
        await ws.subscribe("nowhere:1")
    error = caught.value
    assert (error.cmd, error.code, error.reason, error.temporary) == ("sub", 102, "unknown_topic", False)
    assert str(error) == f"sub: 102 unknown_topic: {error.message}"
    with pytest.raises(CommandError, match="104"):
        await ws.request("dance", id="my own id")
    assert TopicError(102).code == 102


async def test_pushes_are_kept_until_somebody_wants_them(server: TestServer) -> None:
    ws = await server.connect()
    await ws.subscribe("chat:1")
    await ws.publish("chat:1", "a")
    await ws.publish("chat:1", "b")
    await ws.send("sub", topic="chat:1")
    error = await ws.next_event("error")
    assert error["error"]["code"] == 105
    assert [message["data"] for message in ws.arrived] == ["a", "b"]
    assert (await ws.next_event())["data"] == "a"
    assert (await ws.receive())["data"] == "b"
    await ws.nothing_arrives()


async def test_replies_that_nobody_waits_for_are_messages(server: TestServer) -> None:
    ws = await server.connect()
    await ws.send("ping", id="p")
    assert (await ws.receive())["id"] == "p"
    await ws.send_text("PING")
    assert await ws.receive() == "PONG"
    await ws.send_text("PING")
    with pytest.raises(AssertionError, match="but 'PONG' came"):
        await ws.expect("publication")


async def test_what_came_instead_is_shown(server: TestServer) -> None:
    ws = await server.connect()
    await ws.subscribe("chat:1")
    await ws.publish("chat:1", {"text": "hello"})
    with pytest.raises(AssertionError) as caught:
        await ws.expect("publication", topic="chat:2", colour="red")
    text = str(caught.value)
    assert "topic is 'chat:1', not 'chat:2'; colour is missing, not 'red'" in text
    assert '> {"cmd":"pub","topic":"chat:1","data":{"text":"hello"},"id":2}' in text
    await ws.publish("chat:1", 2)
    with pytest.raises(AssertionError, match=r"nothing was expected, but .*'data': 2"):
        await ws.nothing_arrives()
    assert (await ws.receive())["data"] == 2
    with pytest.raises(AssertionError, match=r"join did not come within 0\.01 s"):
        await ws.next_event("join", timeout=0.01)


async def test_what_was_not_taken_is_shown_in_msgpack_too(server: TestServer) -> None:
    ws = await server.connect(codec="msgpack")
    await ws.subscribe("chat:1")
    await ws.publish("chat:1", 1)
    with pytest.raises(AssertionError) as caught:
        await ws.next_event("join", timeout=0.01)
    assert "not taken yet: {'event': 'publication'" in str(caught.value)
    assert "> {'cmd': 'sub', 'topic': 'chat:1', 'id': 1}" in str(caught.value)


async def test_raw_endpoints(server: TestServer) -> None:
    async with server.connect("/echo") as ws:
        await ws.send_text("grüß")
        await ws.send_bytes(b"\x00\xff")
        assert [await ws.receive(), await ws.receive()] == ["grüß", b"\x00\xff"]
        await ws.nothing_arrives()
        await ws.send_text("more")
        assert await ws.receive() == "more"
        for method in (ws.request, ws.expect, ws.next_event):
            with pytest.raises(UsageError, match="raw endpoint"):
                await method("sub")
    assert ws.closed == CloseInfo(1000, "")
    assert ws.subprotocol is None


async def test_the_end(server: TestServer) -> None:
    ws = await server.connect("/echo")
    await ws.send_text("last words")
    await ws.send_text("leave")
    assert await ws.wait_closed() == (4321, "as you like")
    assert [message async for message in ws] == ["last words"]
    with pytest.raises(ConnectionClosed) as caught:
        await ws.receive()
    assert (caught.value.code, caught.value.reason) == (4321, "as you like")
    assert "closed 4321 as you like" in str(caught.value)
    with pytest.raises(ConnectionClosed):
        await ws.nothing_arrives()
    for sending in (ws.send_text("x"), ws.send_bytes(b"x"), ws.send("ping")):
        with pytest.raises(ConnectionClosed, match=r"closed \(4321 as you like\) before it could be sent"):
            await sending
    assert await ws.close() == (4321, "as you like")


async def test_who_waits_for_an_answer_learns_of_the_end(server: TestServer) -> None:
    ws = await server.connect()
    await ws.send_text("not json")
    with pytest.raises(ConnectionClosed, match="4501 bad_request"):
        await ws.request("ping")
    assert await ws.wait_closed() == (4501, "bad_request")


async def test_a_connection_that_is_dropped(server: TestServer) -> None:
    ws = await server.connect()
    await ws.abort()
    assert ws.closed == CloseInfo(1006)


async def test_a_client_that_does_not_read() -> None:
    async with TestServer(application(), max_outbox=100_000) as server:
        ws = await server.connect("/echo")
        ws.pause_reading()
        for _ in range(10):
            await ws.send_text("flood")
        await server.http_get("/healthz")
        assert len(ws.arrived) < 20
        ws.resume_reading()
        assert (await ws.wait_closed())[0] in (4003, 1006)


@CODECS
async def test_any_server_can_be_talked_to(server: TestServer, codec: str) -> None:
    async with await Client.open(server.url, codec=codec, token=server.token("42")) as ws:
        assert (await ws.take_welcome())["user"] == "42"
        assert ws.id
        assert ws.subprotocol == f"fastws.{codec}.v1"
    with pytest.raises(ConnectError):
        await Client.open("ws://127.0.0.1:1/")
