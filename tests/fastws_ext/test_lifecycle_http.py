"""The HTTP stage of a connection: decisions at once and later, bodies, refusals, its timeout."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from fastws_ext.wire import Wire
from tests.fastws_ext.harness import (
    HANDSHAKING,
    OPEN,
    every_transport,
    on_reactor,
    serving,
    turns,
    until,
    upgrade_request,
)
from tests.support.frames import TEXT, build_frame
from tests.support.waiting import Stopwatch

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
REFUSAL = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngone"
POST = b"POST /ws HTTP/1.1\r\nHost: example.com\r\nContent-Length: 300000\r\n\r\n"


# The HTTP stage


@every_transport
async def test_whoever_says_nothing_is_closed_after_the_handshake_timeout(transport: str) -> None:
    async with serving(transport, handshake_timeout=0.3) as server:
        silent = await server.client()
        slow = await server.client()
        watch = Stopwatch()
        for byte in upgrade_request()[:50]:
            await slow.send(bytes([byte]))
        assert await silent.ending() == "fin"
        assert await slow.ending() in ("fin", "rst")
        assert watch.s > 0.1
        assert watch.own_s < 3
        await server.all_closed()
        assert (server.ingress.lost, server.ingress.released) == (2, 2)
        assert server.closes == []


@every_transport
async def test_a_trickle_of_bytes_does_not_extend_the_handshake(transport: str) -> None:
    async with serving(transport, handshake_timeout=0.4) as server:
        client = await server.client()
        watch = Stopwatch()
        await client.send(b"GET /ws HTTP/1.1\r\nHost: ")
        with suppress(ConnectionError):  # a byte may have come too late to be read
            while client.heard_nothing():
                client.send_now(b"x")
                await asyncio.sleep(0.02)
                assert watch.own_s < 4


@every_transport
async def test_the_timeout_may_be_answered_or_granted_once_more(transport: str) -> None:
    asked: list[Any] = []

    def late(conn: Any) -> bool:
        asked.append(conn)
        if len(asked) == 2:
            conn.respond(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
        return len(asked) == 1

    async with serving(transport, handshake_timeout=0.2) as server:
        server.on_handshake_timeout = late
        client = await server.client()
        assert (await client.read_response())[0] == 408
        assert await client.read_until_eof() == b""
        assert len(asked) == 2


@every_transport
async def test_no_handshake_timeout_when_it_is_zero(transport: str) -> None:
    async with serving(transport, handshake_timeout=0) as server:
        client = await server.client()
        await asyncio.sleep(0.35)
        assert client.heard_nothing()


@every_transport
@pytest.mark.parametrize("when", ["at once", "later"])
async def test_accepting_an_uncommon_request(transport: str, when: str) -> None:
    """Frames that came with the request or while it was decided on are served after on_open."""
    waiting: list[Any] = []
    request = upgrade_request("/elsewhere")

    def ask(conn: Any, data: bytes) -> None:
        assert data.startswith(request)
        if when == "later":
            waiting.append(conn)
        else:
            conn.accept(server.endpoint, ANSWER, len(request))

    async with serving(transport) as server:
        server.on_request = ask
        client = await server.client()
        await client.send(request + build_frame(TEXT, b"one"))
        if when == "later":
            await until(lambda: waiting)
            await client.send(build_frame(TEXT, b"two"))
            await turns(5)
            assert (waiting[0].state, server.messages) == (HANDSHAKING, [])
            waiting[0].accept(server.endpoint, ANSWER, len(request))
            assert waiting[0].state == OPEN
        else:
            await client.send(build_frame(TEXT, b"two"))
        assert (await client.read_response())[0] == 101
        assert [await client.read_message() for _ in range(2)] == ["one", "two"]


@every_transport
@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_refusal_reaches_a_client_that_is_still_writing(transport: str, when: str) -> None:
    """The answer, then FIN; 200 KiB of a body that nobody wants do not turn it into a reset."""
    waiting: list[Any] = []

    def refuse(conn: Any, data: bytes) -> None:
        if when == "later":
            waiting.append(conn)
        else:
            conn.respond(REFUSAL)

    async with serving(transport) as server:
        server.on_request = refuse
        client = await server.client(receive_buffer=8192)
        await client.send(POST + bytes(1000))
        if when == "later":
            await until(lambda: waiting)
            waiting[0].respond(REFUSAL)
        for _ in range(50):
            await client.send(bytes(4096))
        assert await client.read_until_eof() == REFUSAL
        client.close()
        await server.all_closed()
        assert (server.ingress.lost, server.ingress.released) == (1, 1)


@every_transport
async def test_a_body_is_waited_for_when_asked_for(transport: str) -> None:
    body = bytes(range(256)) * 20
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5120\r\n\r\n"

    def ask(conn: Any, data: bytes) -> None:
        if len(data) < len(head) + len(body):
            conn.await_body(len(head) + len(body))
        else:
            conn.respond(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + data[len(head) :])

    async with serving(transport) as server:
        server.on_request = ask
        client = await server.client()
        await client.send_in_pieces(head + body[:10], body[10:2000], body[2000:])
        assert (await client.read_response())[0] == 200
        assert await client.read_until_eof() == body
        assert len(server.requests) == 2


@every_transport
async def test_a_failing_on_request_answers_500(transport: str) -> None:
    def fail(conn: Any, data: bytes) -> None:
        raise ValueError

    async with serving(transport, internal_errors=True) as server:
        server.on_request = fail
        client = await server.client()
        await client.send(b"GET /x HTTP/1.1\r\n\r\n")
        assert (await client.read_response())[0] == 500
        assert len(server.internal) == 1


@on_reactor
@pytest.mark.parametrize("wrong", ["raises", "is no connection"])
async def test_a_connection_that_cannot_be_made_costs_only_itself(wrong: str) -> None:
    made: list[Any] = []

    def make(ingress: Any) -> Any:
        made.append(ingress)
        if len(made) == 1:
            if wrong == "raises":
                raise MemoryError
            return object()
        return Wire(ingress)

    async with serving("reactor", connection_class=make, internal_errors=True) as server:
        unlucky, lucky = await server.client(), await server.client()
        assert await unlucky.ending() in ("fin", "rst")
        await lucky.send(upgrade_request())
        assert (await lucky.read_response())[0] == 101
        assert (len(server.internal), server.loop_data.errors, server.ingress.connections) == (1, 1, 1)


@every_transport
async def test_a_client_that_leaves_before_the_upgrade_is_lost_and_not_closed(transport: str) -> None:
    async with serving(transport) as server:
        leaves, resets = await server.client(), await server.client()
        await leaves.send(b"GET /ws HTT")
        await until(lambda: server.ingress.connections == 2)
        leaves.close()
        resets.reset()
        await server.all_closed()
        assert (server.ingress.lost, server.ingress.released, server.closes) == (2, 2, [])


@every_transport
async def test_the_address_of_the_peer(transport: str) -> None:
    seen: list[Any] = []
    async with serving(transport, on_close=lambda conn, code, reason: seen.append(conn.remote)) as server:
        client = await server.connect()
        name = client.socket.getsockname()
        assert server.conns[0].remote == name
        client.close()
        await server.all_closed()
        assert seen == [name], "on_close may still ask"
