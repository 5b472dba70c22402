"""A connection's transport has the face of `asyncio.Transport`, the reactor's as well as the loops' own."""

import socket
from typing import Any

import pytest

from fastws_ext.frames import encode_frame
from fastws_ext.transport import SlimTransport
from fastws_ext.wire import Wire
from tests.fastws_ext.descriptors import server_side
from tests.fastws_ext.harness import CLOSED, every_transport, on_reactor, serving, turns, until, upgrade_request
from tests.support.frames import CLOSE, TEXT, build_frame

GOING_AWAY = 1001
COLLECTED = 1 << 14  # Py_TPFLAGS_HAVE_GC


@every_transport
async def test_peer_and_own_address_are_told(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        face = server.conns[0].transport
        assert face.get_extra_info("peername") == client.socket.getsockname() == server.conns[0].remote
        assert face.get_extra_info("sockname") == server.address
        assert face.get_extra_info("cipher", "none") == "none"
        assert face.get_protocol() is server.conns[0]


@on_reactor
async def test_the_descriptor_is_told_while_it_is_open() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        face = server.conns[0].transport
        assert type(face) is SlimTransport
        assert face.get_extra_info("fileno") == server_side(client.socket)
        client.close()
        await server.all_closed()
        assert [face.get_extra_info(name) for name in ("fileno", "peername", "sockname")] == [None] * 3
        assert face.get_extra_info("peername", "gone") == "gone"


@on_reactor
async def test_addresses_of_the_sixth_version() -> None:
    async with serving("reactor") as server:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        server.reactor.listen(listener)
        with socket.create_connection(listener.getsockname()[:2]) as sock:
            sock.sendall(upgrade_request())
            await until(lambda: server.conns)
            assert server.conns[0].transport.get_extra_info("peername") == sock.getsockname()[:2]
        server.reactor.stop_accepting()
        listener.close()


@on_reactor
async def test_raw_frames_keep_their_place_among_messages() -> None:
    def on_message(conn: Any, message: str | bytes) -> None:
        conn.send("before")
        conn.transport.write(bytearray(encode_frame(TEXT, "raw")))
        conn.send("after")

    async with serving("reactor", on_message=on_message) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"x")
        assert [await client.read_message() for _ in range(3)] == ["before", "raw", "after"]
        server.conns[0].transport.write(memoryview(encode_frame(TEXT, "later")))
        assert await client.read_message() == "later"


@on_reactor
async def test_nothing_is_written_after_the_close_frame() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        face = server.conns[0].transport
        assert not face.is_closing()
        face.close()
        assert face.is_closing()
        face.write(encode_frame(TEXT, "late"))
        face.close()
        await client.send_close()
        frames = await client.frames_until_eof()
        assert [(frame.opcode, frame.close_code, frame.close_reason) for frame in frames] == [
            (CLOSE, GOING_AWAY, "going_away")
        ]


@on_reactor
async def test_abort_is_a_reset() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        server.conns[0].transport.abort()
        assert await client.ending() == "rst"
        assert server.closes == [(1006, "")]


@on_reactor
async def test_closing_what_is_no_websocket_yet_is_a_reset() -> None:
    async with serving("reactor") as server:
        server.on_request = lambda conn, data: conn.transport.close()
        client = await server.client()
        await client.send(upgrade_request("/other"))
        assert await client.ending() == "rst"


@on_reactor
async def test_reading_is_paused_and_resumed() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        face = server.conns[0].transport
        assert face.is_reading()
        face.pause_reading()
        assert (face.is_reading(), server.conns[0].paused) == (False, True)
        await client.send_frame(TEXT, b"x")
        await turns(20)
        assert server.messages == []
        face.resume_reading()
        assert face.is_reading()
        assert await client.read_message() == "x"


@on_reactor
async def test_the_write_buffer_is_the_outbox() -> None:
    async with serving("reactor", max_outbox=1 << 30) as server:
        await server.connect(receive_buffer=4096)
        conn = server.conns[0]
        assert conn.transport.get_write_buffer_size() == 0
        for _ in range(100):
            conn.send(bytes(100_000))
        await turns(3)
        assert conn.transport.get_write_buffer_size() == conn.buffered > 0


@on_reactor
async def test_a_transport_that_outlives_its_socket_does_nothing() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        face = server.conns[0].transport
        client.reset()
        await server.all_closed()
        await turns(1)
        assert server.conns[0].transport is None
        face.write(b"x")
        face.pause_reading()
        face.resume_reading()
        face.close()
        face.abort()
        assert (face.is_closing(), face.is_reading(), face.get_write_buffer_size()) == (True, False, 0)
        assert server.conns[0].state == CLOSED
        assert server.closes == [(1006, "")]


@pytest.mark.parametrize("action", ["close", "abort"])
@on_reactor
async def test_a_handler_may_end_its_own_transport(action: str) -> None:
    def on_message(conn: Any, message: str | bytes) -> None:
        getattr(conn.transport, action)()

    async with serving("reactor", on_message=on_message) as server:
        client = await server.connect()
        await client.send(build_frame(TEXT, b"x") * 3)
        if action == "abort":
            assert await client.ending() == "rst"
        else:
            assert await client.read_close() == (GOING_AWAY, "going_away")
        assert len(server.messages) == 1


def test_what_a_connection_weighs() -> None:
    """In bytes, of which a million connections make megabytes; 16 more are the collector's."""
    assert Wire.__basicsize__ + 16 <= 160
    assert SlimTransport.__basicsize__ <= 72
    assert not SlimTransport.__flags__ & COLLECTED
