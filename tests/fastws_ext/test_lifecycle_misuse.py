"""Handlers that do at an awkward moment what they may do at any."""

import asyncio
import gc
import sys
from typing import Any

import pytest

from fastws_ext.endpoint import Endpoint, Ingress
from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame, judge, unmask, utf8_feed
from fastws_ext.wire import Wire
from tests.fastws_ext.harness import (
    CLOSING,
    HANDSHAKING,
    OPEN,
    every_transport,
    on_reactor,
    over,
    serving,
    turns,
    until,
    upgrade_request,
)
from tests.support.frames import BINARY, CLOSE, TEXT, build_frame, close_frame

SOON_S = 2.0  # well below the 5 s after which a close handshake is given up


@every_transport
async def test_nothing_follows_a_close_frame_that_on_drain_sent(transport: str) -> None:
    """A send makes room by flushing, which calls on_drain, which closes: the frame of that send is too late."""
    frame = encode_frame(BINARY, bytes(70_000))
    options: dict[str, Any] = {"max_outbox": 100_000, "on_drain": lambda conn: conn.close(4000)}
    async with serving(transport, **options) as server:
        client = await server.connect()
        statuses = [server.conns[0].send_frame(frame) for _ in range(2)]
        assert [(await client.read_frame()).opcode for _ in range(2)] == [BINARY, CLOSE]
        await client.send_close(4000)
        assert await client.read_until_eof() == b""
        assert statuses == [0, 3]


@every_transport
async def test_closing_a_paused_connection_hears_the_close_frame_that_waits(transport: str) -> None:
    async with serving(transport, on_message=lambda conn, message: conn.pause_reading()) as server:
        client = await server.connect()
        client.send_now(build_frame(TEXT, b"a") + build_frame(TEXT, b"b") + close_frame(1000))
        await until(lambda: server.messages)
        server.conns[0].close(4001)
        async with asyncio.timeout(SOON_S):
            assert await client.read_close() == (4001, "")
            assert await client.read_until_eof() == b""
        assert server.messages == ["a"]


@every_transport
async def test_a_closing_connection_cannot_be_paused(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        conn = server.conns[0]
        conn.close(4001)
        conn.pause_reading()
        assert not conn.paused
        await client.send_close(4001)
        async with asyncio.timeout(SOON_S):
            assert await client.read_close() == (4001, "")
            assert await client.read_until_eof() == b""


@every_transport
async def test_a_reason_that_is_none_changes_nothing(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        conn = server.conns[0]
        with pytest.raises(TypeError):
            conn.close(1000, None)
        assert conn.state == OPEN
        await client.send_frame(TEXT, b"x")
        assert await client.read_message() == "x"


@every_transport
async def test_waiting_for_a_body_is_over_when_the_connection_is_open(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        conn = server.conns[0]
        before = sys.getsizeof(conn)
        conn.await_body(1_000_000)
        await client.send_frame(TEXT, b"x")
        assert await client.read_message() == "x"
        assert sys.getsizeof(conn) == before


@every_transport
async def test_bytes_delivered_inside_a_handler_are_parsed_after_those_it_was_called_for(transport: str) -> None:
    """TLS transports deliver what they hold when they are closed, which a handler may do."""

    def handle(conn: Any, message: str | bytes) -> None:
        if message == "go":
            for letter in b"abc":
                conn.data_received(build_frame(TEXT, bytes((letter,)) * 5000))

    async with serving(transport, on_message=handle) as server:
        client = await server.connect()
        await client.send_in_pieces(
            build_frame(TEXT, b"go")[:3], build_frame(TEXT, b"go")[3:] + build_frame(TEXT, b"z")
        )
        await until(lambda: len(server.messages) == 5)
        assert server.messages == ["go", "z", "a" * 5000, "b" * 5000, "c" * 5000]


@on_reactor
async def test_the_reactor_may_be_closed_inside_a_handler() -> None:
    def handle(conn: Any, message: str | bytes) -> None:
        server.reactor.close()
        assert conn.send(message) == 3
        assert server.ingress.connections == 5, "the pass that called this takes them apart"

    async with serving("reactor", on_message=handle) as server:
        clients = await server.connect_many(5)
        clients[0].send_now(build_frame(TEXT, b"x") * 100)
        await server.all_closed()
        assert server.closes == [(1006, "")] * 5
        assert len(server.messages) == 1
        assert server.errors == []


@on_reactor
async def test_the_reactor_may_be_closed_inside_a_delivery() -> None:
    """on_drain runs while members are served; the delivery has to come to its end only once."""

    def give_up(conn: Any) -> None:
        server.reactor.close()

    async with serving("reactor", max_outbox=100_000, on_drain=give_up) as server:
        await server.connect_many(600)
        audience = Audience(server.loop_data)
        server.loop_data.pass_ns = 0
        for conn in server.conns:
            audience.add(conn)
        large = encode_frame(BINARY, bytes(70_000))
        audience.publish((encode_frame(TEXT, "in slices"),))
        for conn in server.conns[:10]:
            conn.send_frame(large)
        audience.publish((large,))
        server.loop_data.pass_ns = 2_000_000
        await server.all_closed()
        await turns(3)
        assert len(audience) == 0
        assert server.loop_data.errors == 0


@on_reactor
async def test_a_connection_that_admit_gives_up_is_not_opened() -> None:
    async with serving("reactor") as server:
        server.ingress.admit = lambda conn: conn.abort()
        client = await server.client()
        await client.send(upgrade_request())
        assert await client.ending() == "rst"
        await server.all_closed()
        assert (server.endpoint.opened, server.closes) == (0, [])


@every_transport
async def test_a_paused_connection_that_nobody_holds_is_no_garbage(transport: str) -> None:
    """A transport of the loop that is not read from is not held by the loop."""

    def pause(conn: Any) -> None:
        conn.pause_reading()
        conn.set_deadline(0.1)

    options: dict[str, Any] = {"on_open": pause, "on_deadline": lambda conn: conn.resume_reading()}
    async with serving(transport, keep=False, **options) as server:
        client = await server.connect(pipelined=build_frame(TEXT, b"x"))
        gc.collect()
        assert await client.read_message() == "x"
        client.close()
        await server.all_closed()
        assert server.closes == [(1006, "")]


class Stubborn(asyncio.Transport):
    """A transport that cannot be aborted."""

    def can_write_eof(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        raise OSError("descriptors have run out")

    def close(self) -> None:
        raise OSError("and again")


@over("uvloop")
async def test_a_transport_that_fails_to_end_leaves_nothing_half_done(transport: str) -> None:
    async with serving(transport, internal_errors=True) as server:
        conn = Wire(server.ingress)
        conn.connection_made(Stubborn())
        assert (conn.state, server.ingress.connections) == (HANDSHAKING, 1)
        conn.session = object()
        conn.abort()
        await turns(3)
        assert (server.ingress.connections, server.ingress.released, conn.session, conn.transport) == (0, 1, None, None)
        assert len(server.internal) == 1


class Quitter:
    """A loop whose exception handler lets out what it raises, as asyncio does with SystemExit."""

    def __init__(self) -> None:
        self.loop: Any = asyncio.get_running_loop()
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.asked += 1
        raise RuntimeError("the handler of errors raises")


@on_reactor
async def test_the_wheel_turns_on_when_the_handler_of_errors_raises() -> None:
    def give_up(conn: Any) -> None:
        raise ValueError

    loop = Quitter()
    async with serving("reactor", loop=loop, handshake_timeout=0.2, internal_errors=True) as server:
        server.on_handshake_timeout = give_up
        for expected in (1, 2):
            client = await server.client()
            assert await client.ending() == "fin"
            assert loop.asked == expected


@on_reactor
async def test_seats_are_as_many_as_the_message_of_their_limit_says_and_go_with_their_topics() -> None:
    async with serving("reactor") as server:
        await server.connect()
        (conn,) = server.conns
        audiences = [Audience(server.loop_data) for _ in range(65_536)]
        for audience in audiences[:-1]:
            assert audience.add(conn)
        with pytest.raises(OverflowError):
            audiences[-1].add(conn)
        assert len(audiences[-1]) == 0
        for audience in reversed(audiences[1:-1]):
            assert audience.discard(conn)
        assert conn in audiences[0]
        conn.close()
        assert (conn.state, len(audiences[0])) == (CLOSING, 0)


@on_reactor
async def test_an_audience_that_shrinks_goes_on_delivering() -> None:
    async with serving("reactor") as server:
        clients = await server.connect_many(200)
        audience = Audience(server.loop_data)
        for conn in server.conns:
            audience.add(conn)
        for conn in server.conns[3:]:
            audience.discard(conn)
        assert audience.publish((encode_frame(TEXT, "x"),)) == 3
        by_address = {client.socket.getsockname(): client for client in clients}
        for conn in server.conns[:3]:
            assert await by_address[conn.remote].read_message() == "x"


def test_none_is_refused_where_compiled_code_would_follow_it() -> None:
    nothing: Any = None
    for call in (
        lambda: Endpoint(nothing, "/"),
        lambda: Ingress(nothing),
        lambda: Wire(Ingress.__new__(Ingress)),
        lambda: judge(nothing),
        lambda: unmask(nothing, b"abcd"),
        lambda: utf8_feed(0, nothing),
    ):
        with pytest.raises(TypeError):
            call()
