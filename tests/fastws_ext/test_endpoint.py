"""What all connections of a path share: limits, callbacks that may be left out, and counters."""

import asyncio
import struct
from typing import Any

import pytest

from fastws_ext.endpoint import Endpoint, ignore
from fastws_ext.frames import encode_frame
from tests.fastws_ext.harness import CLOSED, SENT, every_transport, on_reactor, serving, until
from tests.fastws_ext.stage import COMMON, HI, HI_ECHOED, staging
from tests.support.frames import PING, PONG, TEXT, close_frame


def test_limits_and_their_defaults() -> None:
    with staging() as stage:
        usual = Endpoint(stage.loop_data, "/ws")
        assert (usual.path, usual.loop_data) == ("/ws", stage.loop_data)
        assert (usual.max_message_size, usual.max_fragments, usual.max_outbox) == (65_536, 1024, 1_048_576)
        free = Endpoint(stage.loop_data, "/ws", max_message_size=0, max_fragments=0, max_outbox=0)
        assert free.max_message_size == (1 << 31) - 1
        assert free.max_outbox == (1 << 63) - 1
        with pytest.raises(TypeError):
            Endpoint(stage.loop_data, "/ws", unknown=1)  # type: ignore[call-arg]


def test_every_callback_may_be_left_out() -> None:
    with staging() as stage:
        endpoint = Endpoint(stage.loop_data, "/ws", ping_interval=0)
        callbacks = (endpoint.on_open, endpoint.on_message, endpoint.on_close, endpoint.on_drain, endpoint.on_error)
        assert set(callbacks) == {ignore}
        ingress = stage.table()
        ingress.routes = {b"/ws": endpoint}
        assert stage.answer(COMMON, HI, close_frame(1000), ingress=ingress).endswith(b"\x88\x02\x03\xe8")
        assert (endpoint.opened, endpoint.messages_in, endpoint.closed) == (1, 1, {1000: 1})


def test_callbacks_may_be_changed_while_connections_are_open() -> None:
    with staging() as stage:
        wire, transport = stage.connect()
        wire.data_received(COMMON)
        transport.written = b""
        stage.endpoint.on_message = lambda conn, message: conn.send(message[::-1])
        wire.data_received(HI)
        assert transport.written == HI_ECHOED[:2] + b"ih"
        wire.abort()
        stage.turn()


@every_transport
async def test_what_is_said_and_heard_is_counted(transport: str) -> None:
    async with serving(transport) as server:
        endpoint = server.endpoint
        for code in (1000, 1000, 4321):
            client = await server.connect()
            await client.send_frame(TEXT, b"12345")
            assert await client.read_message() == "12345"
            await client.send_frame(PONG, b"unasked")
            server.conns[-1].send_frame(encode_frame(TEXT, "frame"))
            assert await client.read_message() == "frame"
            await client.send_close(code)
            client.shutdown_write()
            assert await client.read_close() == (code, "")
        await server.all_closed()
        assert (endpoint.opened, endpoint.closed) == (3, {1000: 2, 4321: 1})
        assert (endpoint.messages_in, endpoint.bytes_in) == (3, 15)
        assert endpoint.messages_out == 6
        assert endpoint.bytes_out == 15 + 3 * len(encode_frame(TEXT, "frame"))
        assert (endpoint.pongs_received, endpoint.slow_consumers, endpoint.dropped) == (3, 0, 0)


@on_reactor
async def test_round_trips_are_counted_by_their_time() -> None:
    async with serving("reactor", ping_interval=0.1) as server:
        client = await server.connect()
        frame = await client.read_frame()
        assert frame.opcode == PING
        await asyncio.sleep(0.3)
        forged = struct.unpack("q", frame.payload)[0] - 3_000_000_000
        await client.send_frame(PONG, struct.pack("q", forged))
        await client.send_frame(PONG, frame.payload)
        await client.send_frame(PONG, frame.payload)
        await until(lambda: server.endpoint.pongs_received == 3)
        counts, seconds = server.endpoint.rtt
        assert sum(counts) == 1
        assert sum(counts[:9]) == 0  # all of them under 256 ms
        assert 0.29 <= seconds < 2.9  # timers may wake a little early


@on_reactor
async def test_sending_may_be_replaced() -> None:
    def on_send(conn: Any, message: Any) -> int:
        status: int = conn.send_frame(encode_frame(TEXT, f"<{message}>"))
        return status

    async with serving("reactor", on_send=on_send) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"x")
        assert await client.read_message() == "<x>"
        assert server.conns[0].send({"any": "thing"}) == SENT
        assert await client.read_message() == "<{'any': 'thing'}>"
        server.conns[0].abort()
        assert server.conns[0].send("too late") == 3
        assert server.conns[0].state == CLOSED
