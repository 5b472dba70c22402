"""The client connection, against another implementation of the protocol and against servers that say odd things."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from wsproto.events import Ping, Pong

from fastws.errors import ConfigError
from fastws.server.console.link import ConnectError, Link, RefusedError, Target, read_header
from fastws.types import CloseInfo

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def talking_to(handler: Handler, **target: object) -> AsyncIterator[tuple[Link, list[object]]]:
    """Serve one handler, connect to it, and give the link with what it received until the end."""
    known = ["b", "a"] if "subprotocols" in target else None
    async with serve(handler, "127.0.0.1", 0, subprotocols=known) as server:  # type: ignore[arg-type]
        port = server.sockets[0].getsockname()[1]
        link = await Link.open(Target(f"ws://127.0.0.1:{port}/x?q=1", **target))  # type: ignore[arg-type]
        received: list[object] = []
        yield link, received
        async for item in link.incoming():
            received.append(item)
        await link.release()


def test_messages_both_ways_and_an_orderly_end() -> None:
    async def echo(conn: ServerConnection) -> None:
        async for message in conn:
            await conn.send(message)

    async def scenario() -> None:
        received = []
        async with talking_to(echo) as (link, _):
            link.send_text("grüß")
            async for item in link.incoming():
                received.append(item)
                if item == "grüß":
                    link.send_bytes(b"\xff")
                    await link.drain()
                elif item == b"\xff":
                    link.ping(b"p")
                elif isinstance(item, Pong):
                    link.close(4321, "enough")
                    link.send_text("too late")
        assert received == ["grüß", b"\xff", Pong(payload=b"p"), CloseInfo(4321, "enough")]

    asyncio.run(scenario())


def test_what_comes_with_the_answer_is_not_lost() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        from wsproto.utilities import generate_accept_token

        accept = generate_accept_token(key.encode()).decode()
        upgrade = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(
            f"{upgrade}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode() + b"\x81\x05hello\x82\x01\xff\x88\x02\x11\x9b"
        )
        await writer.drain()
        await reader.read()
        writer.close()

    async def scenario() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            link = await Link.open(Target(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
            assert [item async for item in link.incoming()] == ["hello", b"\xff", CloseInfo(4507)]
            await link.release()

    asyncio.run(scenario())


def test_fragments_pings_and_subprotocols() -> None:
    async def handler(conn: ServerConnection) -> None:
        await conn.send(["a", "b", "c"])
        await conn.send([b"\x00", b"\x01"])
        await (await conn.ping(b"there?"))
        await conn.close(4503, "kicked")

    async def scenario() -> None:
        async with talking_to(handler, subprotocols=("a", "b")) as (link, received):
            assert link.subprotocol in ("a", "b")
        assert received[:2] == ["abc", b"\x00\x01"]
        assert isinstance(received[2], Ping)
        assert received[3:] == [CloseInfo(4503, "kicked")]

    asyncio.run(scenario())


def test_the_request_carries_token_headers_and_target() -> None:
    seen: list[Request] = []

    async def handler(conn: ServerConnection) -> None:
        assert conn.request is not None
        seen.append(conn.request)

    async def scenario() -> None:
        async with talking_to(handler, token="abc", headers=(("X-Name", "wärme"),)):
            pass
        assert seen[0].path == "/x?q=1"
        assert seen[0].headers["Authorization"] == "Bearer abc"
        assert seen[0].headers["X-Name"].encode("utf-8", "surrogateescape").endswith(b"rme")

    asyncio.run(scenario())


def test_a_lost_connection_is_1006() -> None:
    async def handler(conn: ServerConnection) -> None:
        conn.transport.abort()

    async def scenario() -> None:
        async with talking_to(handler) as (_, received):
            pass
        assert received == [CloseInfo(1006)]

    asyncio.run(scenario())


def test_a_refusal_shows_status_headers_and_body() -> None:
    def refuse(conn: ServerConnection, request: Request) -> Response:
        response = conn.respond(503, "try\nlater\n")
        response.headers["Retry-After"] = "7"
        return response

    async def never(conn: ServerConnection) -> None:
        raise AssertionError(conn)

    async def scenario() -> None:
        async with serve(never, "127.0.0.1", 0, process_request=refuse) as server:
            target = Target(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            with pytest.raises(RefusedError) as caught:
                await Link.open(target)
        assert (caught.value.status, caught.value.body) == (503, b"try\nlater\n")
        assert caught.value.headers["Retry-After"] == "7"
        assert str(caught.value).split("\n") == [
            "refused: 503 Service Unavailable",
            "  Retry-After: 7",
            "  try",
            "  later",
        ]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "closed the connection before it answered"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "refused: 200 OK\n  hi"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "refused: 404 Not Found"),
        (b"x" * 100_000 + b"\r\n\r\n", "not HTTP"),
    ],
)
def test_answers_that_are_no_upgrade(answer: bytes, message: str) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def scenario() -> None:
        async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
            with pytest.raises(ConnectError) as caught:
                await Link.open(Target(f"127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        assert message in str(caught.value)

    asyncio.run(scenario())


def test_nobody_there() -> None:
    async def scenario() -> None:
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match=f"cannot connect to 127.0.0.1:{port}: Connection refused"):
            await Link.open(Target(f"ws://127.0.0.1:{port}/"))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://h/ws", ("h", 80, False)),
        ("wss://h", ("h", 443, True)),
        ("https://h:1", ("h", 1, True)),
        ("localhost:8000/ws", ("localhost", 8000, False)),
        ("ws://[::1]:9/", ("::1", 9, False)),
    ],
)
def test_urls(url: str, address: tuple[str, int, bool]) -> None:
    assert Target(url).address == address


@pytest.mark.parametrize("url", ["", "ftp://h", "ws://", "ws://h:x", "ws://h:99999"])
def test_no_urls(url: str) -> None:
    with pytest.raises(ConfigError):
        _ = Target(url).address


def test_headers() -> None:
    assert read_header("X-A:  b c ") == ("X-A", "b c")
    for text in ("", "X", "X A: b", "X: a\r\nY: b", "X: \x00", "Host: x", "Sec-WebSocket-Key: x", "upgrade: x"):
        with pytest.raises(ConfigError):
            read_header(text)
