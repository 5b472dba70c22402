"""How connections end: close handshake in both directions, lingering, half close, reset, abort."""

import socket
from typing import Any

import pytest

from tests.fastws_ext.harness import (
    CLOSED,
    CLOSING,
    GONE,
    LINGERING,
    every_transport,
    on_reactor,
    serving,
    turns,
    until,
)
from tests.support.frames import BINARY, CLOSE, TEXT, build_frame, close_frame
from tests.support.waiting import Stopwatch

# The close handshake


@every_transport
@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [(1000, b"", 1000), (4999, b"because", 4999), (1001, "für €".encode(), 1001), (None, b"", 1005)],
)
async def test_the_peer_closes(transport: str, code: int | None, reason: bytes, told: int) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        await client.send_close(code, reason)
        assert await client.read_close() == (told, "")
        assert await client.read_until_eof() == b""
        await until(lambda: server.closes)
        assert server.closes == [(told, reason.decode())]
        client.close()
        await server.all_closed()
        assert server.endpoint.closed == {told: 1}
        assert server.ingress.released == 1


@every_transport
async def test_we_close(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        (conn,) = server.conns
        conn.close(4000, "why not")
        assert (conn.state, conn.close_code, conn.close_reason) == (CLOSING, 4000, "why not")
        conn.close(4001, "twice is once")
        assert conn.send("more") == GONE
        assert conn.send_frame(b"\x81\x00") == GONE
        conn.ping(b"no")
        assert await client.read_close() == (4000, "why not")
        await turns(5)
        assert server.closes == []
        await client.send_close(4000)
        assert await client.read_until_eof() == b""
        await until(lambda: server.closes)
        client.close()
        await server.all_closed()
        assert server.closes == [(4000, "why not")]
        assert (conn.state, conn.send("more")) == (CLOSED, GONE)


@every_transport
async def test_closing_without_a_code_and_with_a_long_reason(transport: str) -> None:
    async with serving(transport) as server:
        clients = await server.connect_many(2)
        server.conns[0].close(1005)
        assert await clients[0].read_close() == (1005, "")
        server.conns[1].close(4000, "€" * 100)
        assert await clients[1].read_close() == (4000, "€" * 41)
        for code in (999, 5000, 0, -1, 1004, 1006, 1015):
            with pytest.raises(ValueError, match="close code"):
                server.conns[0].close(code)


@every_transport
async def test_both_close_at_the_same_time(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        client.send_now(close_frame(4002, b"mine"))
        server.conns[0].close(4001, "ours")
        assert await client.read_close() == (4001, "ours")
        assert await client.read_until_eof() == b"", "one close frame is enough"
        await until(lambda: server.closes)
        assert server.closes == [(4001, "ours")]


@every_transport
async def test_a_peer_that_never_answers_our_close_is_not_waited_for(transport: str) -> None:
    async with serving(transport, close_timeout=0.3) as server:
        client = await server.connect()
        watch = Stopwatch()
        server.conns[0].close(4000)
        await client.ending()
        await server.all_closed()
        assert watch.s > 0.1
        assert watch.own_s < 3
        assert server.closes == [(4000, "")]


@every_transport
async def test_a_paused_connection_hears_the_peers_close_after_ours(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        (conn,) = server.conns
        conn.pause_reading()
        conn.close(4000)
        assert await client.read_close() == (4000, "")
        await client.send_close(4000)
        assert await client.read_until_eof() == b""


# The end of the socket


@every_transport
async def test_a_peer_that_is_still_writing_sees_the_close_code_and_no_reset(transport: str) -> None:
    """200 KiB are on their way when we close for a violation, and are discarded."""
    async with serving(transport, max_message_size=1000) as server:
        client = await server.connect(receive_buffer=8192)
        await client.send(build_frame(BINARY, b"", declared_length=1001))
        for _ in range(50):
            await client.send(bytes(4096))
        assert (await client.read_close())[0] == 1009
        assert await client.read_until_eof() == b""
        client.close()
        await server.all_closed()
        assert server.closes[0][0] == 1009


@every_transport
async def test_a_peer_that_never_stops_writing_is_cut_off(transport: str) -> None:
    """After 256 KiB the rest is no longer discarded."""
    async with serving(transport, max_message_size=1000) as server:
        client = await server.connect()
        await client.send(build_frame(BINARY, b"", declared_length=1001))
        watch = Stopwatch()
        with pytest.raises(ConnectionError):
            await client.send(bytes(64 << 20))
        assert watch.own_s < 1, "not the deadline of 2 s, the limit in bytes"
        await server.all_closed()


@every_transport
async def test_a_peer_that_keeps_its_half_open_is_not_waited_for_longer_than_2_s(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        await client.send_close(1000)
        watch = Stopwatch()
        assert await client.read_close() == (1000, "")
        assert await client.read_until_eof() == b""
        assert watch.own_s < 1
        await server.all_closed()
        assert watch.s > 1.5
        assert watch.own_s < 6


@every_transport
async def test_on_close_is_told_before_the_peer_has_left(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        await client.send_close(4100)
        await until(lambda: server.closes)
        assert server.ingress.connections == 1
        assert server.conns[0].state == LINGERING
        assert await client.read_close() == (4100, "")


@every_transport
async def test_a_fin_without_close_is_1006(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        client.send_now(build_frame(TEXT, b"last words"))
        client.shutdown_write()
        assert await client.read_message() == "last words"
        assert await client.read_until_eof() == b""
        await server.all_closed()
        assert server.closes == [(1006, "")]


@every_transport
async def test_after_a_fin_everything_sent_still_arrives(transport: str) -> None:
    """The peer has said FIN and reads on: megabytes that wait for it are delivered."""
    async with serving(transport, max_outbox=8 << 20) as server:
        client = await server.connect(receive_buffer=16384)
        (conn,) = server.conns
        messages = [bytes([number]) * 100_000 for number in range(40)]
        for message in messages:
            conn.send(message)
        client.shutdown_write()
        await turns(10)
        assert [frame.payload for frame in await client.frames_until_eof()] == messages
        await server.all_closed()
        assert server.closes == [(1006, "")]


@every_transport
async def test_a_reset_is_1006(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        client.reset()
        await server.all_closed()
        assert server.closes == [(1006, "")]


@every_transport
@pytest.mark.parametrize("where", ["outside", "in the handler"])
async def test_abort_resets(transport: str, where: str) -> None:
    async with serving(transport, on_message=lambda conn, message: conn.abort()) as server:
        client = await server.connect()
        (conn,) = server.conns
        if where == "outside":
            conn.abort()
        else:
            await client.send_frame(TEXT, b"x")
        assert await client.ending() == "rst"
        conn.abort()
        await server.all_closed()
        assert server.closes == [(1006, "")]
        assert conn.send("x") == GONE


@every_transport
async def test_abort_after_close_tells_the_code_of_the_close(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        server.conns[0].close(4000, "reason")
        server.conns[0].abort()
        assert await client.ending() == "rst"
        await until(lambda: server.closes)
        assert server.closes == [(4000, "reason")]


@every_transport
async def test_what_belonged_to_the_layer_above_is_given_back(transport: str) -> None:
    class Session:
        pass

    async with serving(transport) as server:
        client = await server.connect()
        (conn,) = server.conns
        conn.session = Session()
        client.close()
        await server.all_closed()
        assert (conn.session, conn.buffered, conn.remote) == (None, 0, None)


@on_reactor
async def test_a_failing_on_lost_does_not_keep_what_admission_counted() -> None:
    def fail(conn: Any) -> None:
        raise ValueError

    async with serving("reactor", internal_errors=True) as server:
        server.ingress.on_lost = fail  # type: ignore[method-assign]
        client = await server.client()
        await until(lambda: server.ingress.connections)
        client.close()
        await server.all_closed()
        assert (server.ingress.released, len(server.internal)) == (1, 1)


@on_reactor
async def test_closing_the_reactor_resets_everybody() -> None:
    async with serving("reactor") as server:
        clients = await server.connect_many(5)
        server.reactor.close()
        assert [await client.ending() for client in clients] == ["rst"] * 5
        assert server.closes == [(1006, "")] * 5
        assert (server.ingress.connections, server.reactor.connections()) == (0, [])
        late = socket.create_connection(server.address)
        late.close()


@on_reactor
async def test_frames_before_a_close_are_all_sent_first() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        (conn,) = server.conns
        for number in range(100):
            conn.send(str(number))
        conn.close(4000, "done")
        assert [await client.read_message() for _ in range(100)] == [str(number) for number in range(100)]
        frame = await client.read_frame()
        assert (frame.opcode, frame.close_code) == (CLOSE, 4000)
