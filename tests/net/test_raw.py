"""Raw endpoints over real sockets: plain handlers, coroutines in order, streams, hooks, failures."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from fastws.closes import INVALID_TOKEN
from fastws.errors import Reject, UsageError
from fastws.net.connection import Connection
from fastws.types import CloseInfo, ConnectionInfo, SendStatus

from .serving import TRANSPORTS, run, serving, until

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


def plain(conn: Connection, message: str | bytes) -> None:
    conn.send(message)


async def at_once(conn: Connection, message: str | bytes) -> None:
    conn.send(message)


async def after_a_pass(conn: Connection, message: str | bytes) -> None:
    await asyncio.sleep(0)
    conn.send(message)


async def after_a_while(conn: Connection, message: str | bytes) -> None:
    async with asyncio.timeout(30):
        await asyncio.sleep(0.0002)
    conn.send(message)


async def stream(conn: Connection) -> None:
    async for message in conn:
        await conn.drain(conn.send(message))


async def receiving(conn: Connection) -> None:
    while True:
        try:
            conn.send(await conn.receive())
        except EOFError:
            return


@pytest.mark.parametrize("handler", [plain, at_once, after_a_pass, after_a_while], ids=lambda handler: handler.__name__)
def test_messages_are_answered_in_their_order(transport: str, handler: Any) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": handler}) as server:
            client = await server.connect()
            sent = [f"message {number}" for number in range(400)]
            for message in sent:
                client.send(message)
            client.send(b"\x00\xff")
            assert [await client.text() for _ in sent] == sent
            assert await client.receive() == (2, b"\x00\xff")
            assert server.endpoints["/echo"].messages_in == 401
            await client.close()

    run(transport, test)


@pytest.mark.parametrize("handler", [stream, receiving], ids=lambda handler: handler.__name__)
def test_streams(transport: str, handler: Any) -> None:
    async def test() -> None:
        async with serving(transport, streams={"/echo": handler}) as server:
            client = await server.connect()
            sent = [f"message {number}" for number in range(1000)]
            for message in sent:
                client.send(message)
            assert [await client.text() for _ in sent] == sent
            client.frame(8, b"\x03\xe8")
            assert await client.closed() == (1000, "")
            await until(lambda: not server.runners["/echo"].tasks)
            assert server.endpoints["/echo"].closed == {1000: 1}
            await client.close()

    run(transport, test)


def test_messages_before_the_close_are_received_before_the_end(transport: str) -> None:
    received: list[str | bytes] = []
    begin = asyncio.Event()

    async def late(conn: Connection) -> None:
        conn.state["own"] = "kept"
        await begin.wait()
        try:
            while True:
                received.append(await conn.receive())
                received.append(conn.state["own"])
        except EOFError:
            received.append(conn.send("too late").name)

    async def test() -> None:
        async with serving(transport, streams={"/echo": late}) as server:
            client = await server.connect()
            client.send("one")
            client.send("two")
            client.frame(8, b"\x03\xe8")
            await client.rest()
            await client.close()
            await until(lambda: server.ingress.connections == 0)
            begin.set()
            await until(lambda: not server.runners["/echo"].tasks)
            assert received == ["one", "kept", "two", "kept", "CLOSED"]

    run(transport, test)


def test_a_stream_that_returns_closes_1000(transport: str) -> None:
    async def brief(conn: Connection) -> None:
        conn.send(await conn.receive())

    async def test() -> None:
        async with serving(transport, streams={"/echo": brief}) as server:
            client = await server.connect()
            client.send("last word")
            assert await client.text() == "last word"
            assert await client.closed() == (1000, "normal")
            await client.close()

    run(transport, test)


def test_a_reader_that_does_not_read_stops_the_sender(transport: str) -> None:
    proceed = asyncio.Event()

    async def slow(conn: Connection) -> None:
        await proceed.wait()
        count = 0
        async for message in conn:
            if message == "end":
                break
            count += 1
        conn.send(str(count))

    async def test() -> None:
        async with serving(transport, streams={"/echo": slow}) as server:
            client = await server.connect()
            for _ in range(1000):
                client.send("x")
            client.send("end")
            await until(lambda: server.endpoints["/echo"].messages_in >= 128)
            await asyncio.sleep(0.05)
            assert server.endpoints["/echo"].messages_in == 128
            proceed.set()
            assert await client.text() == "1000"
            assert await client.closed() == (1000, "normal")
            await client.close()

    run(transport, test)


def test_coroutines_that_wait_stop_the_sender(transport: str) -> None:
    proceed = asyncio.Event()

    async def slow(conn: Connection, message: str | bytes) -> None:
        await proceed.wait()
        conn.send(message)

    async def test() -> None:
        async with serving(transport, raw={"/echo": slow}) as server:
            client = await server.connect()
            client.send("first")
            client.frame(9, b"alive?")
            assert await client.receive() == (10, b"alive?")
            for number in range(500):
                client.send(str(number))
            await until(lambda: server.endpoints["/echo"].messages_in >= 129)
            await asyncio.sleep(0.05)
            assert server.endpoints["/echo"].messages_in == 129
            proceed.set()
            assert await client.text() == "first"
            assert [await client.text() for _ in range(500)] == [str(number) for number in range(500)]
            await client.close()

    run(transport, test)


async def fails_later(conn: Connection, message: str | bytes) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("secret")


async def meets_a_cancellation(conn: Connection, message: str | bytes) -> None:
    await asyncio.sleep(0)
    raise asyncio.CancelledError("secret")


async def fails_at_once(conn: Connection, message: str | bytes) -> None:
    raise RuntimeError("secret")


def fails(conn: Connection, message: str | bytes) -> None:
    conn.send("before")
    raise RuntimeError("secret")


async def stream_fails(conn: Connection) -> None:
    await conn.receive()
    raise RuntimeError("secret")


@pytest.mark.parametrize(
    ("shape", "handler"),
    [
        ("raw", fails),
        ("raw", fails_at_once),
        ("raw", fails_later),
        ("raw", meets_a_cancellation),
        ("streams", stream_fails),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_exception_closes_1011(transport: str, shape: str, handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with serving(transport, **{shape: {"/echo": handler}}) as server:
            other = await server.connect()
            client = await server.connect()
            for _ in range(5):
                client.send("x")
            if handler is fails:
                assert await client.text() == "before"
            assert await client.closed() == (1011, "internal")
            assert await client.rest() == b""
            assert server.runners["/echo"].errors == 1
            other.frame(9, b"unharmed")
            assert await other.receive() == (10, b"unharmed")
            await client.close()
            await other.close()

    with caplog.at_level(logging.ERROR, "fastws"):
        run(transport, test)
    assert len(caplog.records) == 1
    assert caplog.records[0].conn  # type: ignore[attr-defined]
    assert "secret" in caplog.text


def test_what_handlers_know_about_the_connection(transport: str) -> None:
    seen: dict[str, Any] = {}

    async def look(conn: Connection) -> None:
        seen["during"] = dict(conn.headers)
        seen["query"] = conn.query
        await asyncio.sleep(0.001)
        seen["after"] = dict(conn.headers)
        seen["rest"] = (conn.path, conn.query, conn.user, conn.tenant, conn.device, conn.claims, conn.info, conn.topics)
        seen["remote"] = conn.remote is not None and conn.remote[0]
        seen["id"] = conn.id
        seen["subprotocol"] = conn.subprotocol
        conn.state["mine"] = 1
        seen["state"] = conn.state

    async def test() -> None:
        keep = {"x-kept"}
        options: dict[str, Any] = {"runner_options": {"keep_headers": {name.encode() for name in keep}}}
        async with serving(transport, streams={"/look": look}, **options) as server:
            client = await server.connect("/look?a=1", X_Kept="yes", X_Other="no")
            assert await client.closed() == (1000, "normal")
            await client.close()
            assert seen["during"]["x-other"] == "no"
            assert seen["during"]["host"] == "example.com"
            assert seen["after"] == {"x-kept": "yes"}
            assert seen["query"] == {"a": "1"}
            assert seen["rest"] == ("/look", {"a": "1"}, "", "", "default", {}, None, ())
            assert seen["remote"] == "127.0.0.1"
            assert 0 < len(seen["id"]) <= 32
            assert seen["subprotocol"] == ""
            assert seen["state"] == {"mine": 1}

    run(transport, test)


def test_an_idle_connection_has_no_session(transport: str) -> None:
    connections: list[Connection] = []

    def note(conn: Connection, message: str | bytes) -> None:
        connections.append(conn)
        conn.send("noted")

    async def test() -> None:
        async with serving(transport, raw={"/echo": note}) as server:
            client = await server.connect()
            client.send("x")
            await client.text()
            assert connections[0].session is None
            assert connections[0].query == {}
            assert dict(connections[0].headers) == {}
            await client.close()

    run(transport, test)


def test_statuses_of_sending(transport: str) -> None:
    statuses: list[Any] = []

    def send(conn: Connection, message: str | bytes) -> None:
        statuses.append(conn.send("x"))
        statuses.append(conn.send_json({"a": [1, None]}))
        conn.close(4000, "own")
        statuses.append(conn.send("x"))
        statuses.append(conn.send_json({}))

    async def test() -> None:
        async with serving(transport, raw={"/echo": send}) as server:
            client = await server.connect()
            client.send("go")
            assert await client.text() == "x"
            assert await client.text() == '{"a":[1,null]}'
            assert await client.closed() == (4000, "own")
            await client.close()
            assert statuses == [SendStatus.SENT, SendStatus.SENT, SendStatus.CLOSED, SendStatus.CLOSED]
            assert all(isinstance(status, SendStatus) for status in statuses)

    run(transport, test)


def test_drain_waits_for_a_slow_reader(transport: str) -> None:
    progress: list[int] = []

    async def pour(conn: Connection) -> None:
        for number in range(40):
            await conn.drain(conn.send(b"x" * 500_000))
            progress.append(number)

    async def test() -> None:
        async with serving(transport, streams={"/pour": pour}, endpoint={"max_outbox": 100_000_000}) as server:
            client = await server.connect("/pour")
            await until(lambda: len(progress) >= 1)
            await asyncio.sleep(0.1)
            assert len(progress) < 40
            for _ in range(40):
                assert len((await client.receive())[1]) == 500_000
            assert await client.closed() == (1000, "normal")
            assert len(progress) == 40
            await client.close()

    run(transport, test)


def test_drain_ends_with_the_connection(transport: str) -> None:
    ended: list[bool] = []

    async def pour(conn: Connection) -> None:
        for _ in range(20):
            conn.send(b"x" * 1_000_000)
        await conn.drain()
        ended.append(True)

    async def test() -> None:
        async with serving(transport, streams={"/pour": pour}, endpoint={"max_outbox": 100_000_000}) as server:
            client = await server.connect("/pour")
            await asyncio.sleep(0.02)
            assert not ended
            client.abort()
            await until(lambda: ended == [True])

    run(transport, test)


class Hooks:
    """Hooks around connections that note what they see."""

    def __init__(self, waits: bool) -> None:
        self.waits = waits
        self.log: list[Any] = []
        self.proceed = asyncio.Event()
        self.proceed.set()

    async def on_connect(self, conn: Connection) -> None:
        if self.waits:
            await self.proceed.wait()
            await asyncio.sleep(0)
        outcome = conn.headers.get("x-outcome")
        if outcome == "reject":
            raise Reject(4507)
        if outcome == "fail":
            raise RuntimeError("secret")
        self.log.append(("connect", conn.query))

    async def on_disconnect(self, info: ConnectionInfo, close: CloseInfo) -> None:
        if self.waits:
            await asyncio.sleep(0)
        self.log.append(("disconnect", info.node, close.code, close.reason))

    @property
    def options(self) -> dict[str, Any]:
        return {"connect_hooks": [self.on_connect], "disconnect_hooks": [self.on_disconnect], "node": "n1"}


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("shape", ["raw", "streams"])
def test_hooks_around_a_connection(transport: str, waits: bool, shape: str) -> None:
    async def test() -> None:
        hooks = Hooks(waits)
        handler = plain if shape == "raw" else stream
        async with serving(transport, **{shape: {"/echo": handler}}, runner_options=hooks.options) as server:
            client = await server.connect("/echo?a=1")
            client.send("x")
            assert await client.text() == "x"
            client.frame(8, b"\x0f\xa0mine")
            assert (await client.closed())[0] == 4000
            await client.close()
            lost = await server.connect("/echo")
            await until(lambda: len(hooks.log) == 3)
            lost.abort()
            await until(lambda: len(hooks.log) == 4)
            assert hooks.log == [
                ("connect", {"a": "1"}),
                ("disconnect", "n1", 4000, "mine"),
                ("connect", {}),
                ("disconnect", "n1", 1006, ""),
            ]
            hooks.log.clear()
            for outcome, closed in (("reject", (4507, "permission_denied")), ("fail", (1011, "internal"))):
                refused = await server.connect("/echo", X_Outcome=outcome)
                refused.send("not handled")
                assert await refused.closed() == closed
                await refused.close()
            await until(lambda: server.ingress.connections == 0)
            assert hooks.log == []
            assert not server.runners["/echo"].tasks

    run(transport, test)


@pytest.mark.parametrize("shape", ["raw", "streams"])
def test_no_message_is_handled_before_the_hooks_are_done(transport: str, shape: str) -> None:
    async def test() -> None:
        hooks = Hooks(waits=True)
        hooks.proceed.clear()
        handler = plain if shape == "raw" else stream
        async with serving(transport, **{shape: {"/echo": handler}}, runner_options=hooks.options) as server:
            client = await server.connect()
            client.send("early")
            await asyncio.sleep(0.02)
            assert hooks.log == []
            hooks.proceed.set()
            assert await client.text() == "early"
            await client.close()
            await until(lambda: len(hooks.log) == 2)

    run(transport, test)


def test_a_connection_that_ends_during_its_hooks(transport: str) -> None:
    async def test() -> None:
        hooks = Hooks(waits=True)
        hooks.proceed.clear()
        async with serving(transport, raw={"/echo": plain}, runner_options=hooks.options) as server:
            client = await server.connect()
            await until(lambda: len(server.runners["/echo"].tasks) == 1)
            client.abort()
            # The loops' own transports notice nothing while reading is paused.
            await until(lambda: server.ingress.connections == (0 if transport == "reactor" else 1))
            hooks.proceed.set()
            await until(lambda: not server.runners["/echo"].tasks)
            assert hooks.log == [("connect", {}), ("disconnect", "n1", 1006, "")]

    run(transport, test)


def test_receiving_where_messages_go_to_a_handler(transport: str) -> None:
    errors: list[str] = []

    async def handler(conn: Connection, message: str | bytes) -> None:
        try:
            await conn.receive()
        except UsageError as error:
            errors.append(error.hint)

    async def test() -> None:
        async with serving(transport, raw={"/echo": handler}) as server:
            client = await server.connect()
            client.send("x")
            await until(lambda: len(errors) == 1)
            assert "async def" in errors[0]
            await client.close()

    run(transport, test)


@pytest.mark.parametrize("shape", ["raw", "streams"])
@pytest.mark.parametrize(("limit", "passes"), [({"messages_per_s": 3}, 3), ({"bytes_per_s": 20}, 2)])
def test_more_than_the_rate_closes_4005(transport: str, shape: str, limit: dict[str, int], passes: int) -> None:
    async def test() -> None:
        handler = plain if shape == "raw" else stream
        async with serving(transport, **{shape: {"/echo": handler}}, runner_options=limit) as server:
            client = await server.connect()
            for _ in range(5):
                client.send("\u00e9" * 5)
            if shape == "raw":
                assert [await client.text() for _ in range(passes)] == ["\u00e9" * 5] * passes
            assert await client.closed() == (4005, "too_many_requests")
            await client.close()
            assert server.endpoints["/echo"].messages_in == passes + 1

    run(transport, test)


@pytest.mark.parametrize("shape", ["raw", "streams"])
def test_who_may_not_be_here_is_closed_before_the_hooks(transport: str, shape: str) -> None:
    async def test() -> None:
        hooks = Hooks(waits=False)
        options = hooks.options | {"judge": lambda conn, _: INVALID_TOKEN if conn.query else None}
        handler = plain if shape == "raw" else stream
        async with serving(transport, **{shape: {"/echo": handler}}, runner_options=options) as server:
            refused = await server.connect("/echo?token=x")
            refused.send("x")
            assert await refused.closed() == (4500, "invalid_token")
            await refused.close()
            client = await server.connect("/echo")
            client.send("x")
            assert await client.text() == "x"
            await client.close()
            await until(lambda: len(hooks.log) == 2)

    run(transport, test)


def test_unix_sockets(transport: str, tmp_path: Any) -> None:
    async def test() -> None:
        place = tmp_path / "s"
        seen: list[Any] = []

        def handler(conn: Connection, message: str | bytes) -> None:
            seen.append(conn.remote)
            conn.send(message)

        async with serving(transport, raw={"/echo": handler}, uds=place) as server:
            client = await server.connect()
            client.send("x")
            assert await client.text() == "x"
            assert seen == [None]
            await client.close()

    run(transport, test)
