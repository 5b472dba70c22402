"""What is sent arrives whole, in order and once, whoever sends it and however slow the peer is."""

import asyncio
import os
import socket
import zlib
from typing import Any

import pytest

from tests.fastws_ext.harness import (
    CLOSING,
    GONE,
    OPEN,
    QUEUED,
    SENT,
    every_transport,
    on_reactor,
    serving,
    turns,
    until,
    upgrade_request,
)
from tests.support.frames import BINARY, CLOSE, PING, TEXT, Frame, build_frame
from tests.support.waiting import Stopwatch

SCRATCH = 262_144  # replies of one read are joined in this much
SO_SNDBUFFORCE = 32
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


# Whole, in order, once


@every_transport
async def test_replies_of_every_size_keep_their_order(transport: str) -> None:
    """Small ones are joined, those that do not fit go by themselves, and none overtakes another."""
    sizes = [1, 70_000, 5, SCRATCH - 100, 200, SCRATCH, SCRATCH + 1, 3, SCRATCH - 10, SCRATCH - 9, 0, 400_000, 7]

    def reply(conn: Any, message: str | bytes) -> None:
        for index, size in enumerate(sizes):
            conn.send(bytes([index]) * size)
            conn.send(f"{index}")

    async with serving(transport, on_message=reply, max_outbox=4 << 20) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"go")
        for index, size in enumerate(sizes):
            assert await client.read_message() == bytes([index]) * size
            assert await client.read_message() == f"{index}"


@every_transport
async def test_many_replies_to_one_read_keep_their_order(transport: str) -> None:
    def reply(conn: Any, message: str | bytes) -> None:
        for number in range(1000):
            conn.send(f"{number:04d}" * 100)

    async with serving(transport, on_message=reply) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"go")
        for number in range(1000):
            assert await client.read_message() == f"{number:04d}" * 100


@every_transport
async def test_what_is_sent_to_others_while_one_is_read_goes_to_them(transport: str) -> None:
    """The scratch of the loop belongs to the connection being read; everybody else has an outbox of their own."""

    def gossip(conn: Any, message: str | bytes) -> None:
        for other in server.conns:
            other.send(f"{conn.number} says {message!r} to {other.number}")
            conn.send(f"told {other.number}")

    async with serving(transport, on_message=gossip) as server:
        clients = await server.connect_many(5)
        numbers = [conn.number for conn in server.conns]
        for client, number in zip(clients, numbers, strict=True):
            await client.send_frame(TEXT, b"hi")
            for listener, other in zip(clients, numbers, strict=True):
                if listener is not client:
                    assert await listener.read_message() == f"{number} says 'hi' to {other}"
            expected = []
            for other in numbers:
                expected += [f"{number} says 'hi' to {number}"] if other == number else []
                expected += [f"told {other}"]
            assert [await client.read_message() for _ in expected] == expected


@every_transport
async def test_a_full_socket_does_not_take_the_scratch_of_the_loop(transport: str) -> None:
    """While its outbox is not empty, replies of the connection being read are queued behind what waits there."""
    async with serving(transport, max_outbox=32 << 20) as server:
        slow = await server.connect(receive_buffer=4096)
        fast = await server.connect()
        conn = server.conns[0]
        backlog = [bytes([number]) * 500_000 for number in range(20)]
        for message in backlog:
            conn.send(message)
        await turns(5)
        assert conn.buffered
        for number in range(10):
            slow.send_now(build_frame(TEXT, b"slow %d" % number))
            fast.send_now(build_frame(TEXT, b"fast %d" % number))
            assert await fast.read_message() == f"fast {number}"
        for message in backlog:
            assert await slow.read_message() == message
        assert [await slow.read_message() for _ in range(10)] == [f"slow {number}" for number in range(10)]
        assert conn.buffered == 0


@every_transport
async def test_sends_outside_of_a_read_are_flushed_at_the_end_of_the_pass(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        (conn,) = server.conns
        assert [conn.send(f"{number}") for number in range(50)] == [SENT] * 50
        assert [await client.read_message() for _ in range(50)] == [f"{number}" for number in range(50)]
        assert conn.buffered == 0


@on_reactor
async def test_replies_to_one_read_and_sends_of_one_pass_are_one_call() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        before = server.reactor.sends
        client.send_now(build_frame(TEXT, b"x") * 16)
        for _ in range(16):
            await client.read_message()
        assert server.reactor.sends - before == 1
        for number in range(16):
            server.conns[0].send(f"{number}")
        for _ in range(16):
            await client.read_message()
        assert server.reactor.sends - before == 2


@every_transport
async def test_a_send_to_a_connection_that_closes_while_others_are_flushed(transport: str) -> None:
    """on_drain of one connection closes and aborts others that wait in the same list."""

    first: list[Any] = []

    def end_others(conn: Any) -> None:
        first.append(conn)
        for other in server.conns:
            if other is not conn:
                other.send("before")
                other.close(4000) if other.number % 2 else other.abort()

    async with serving(transport, on_drain=end_others) as server:
        clients = {client.socket.getsockname(): client for client in await server.connect_many(6)}
        pairs = [(conn, clients[conn.remote]) for conn in server.conns]
        for conn in server.conns:
            conn.send(b"x" * 100_000)  # above the high watermark until it is flushed
        await until(lambda: first)
        for conn, client in pairs:
            if conn in first or conn.number % 2:
                assert await client.read_message() == b"x" * 100_000
            if conn in first:
                continue
            if conn.number % 2:
                assert await client.read_message() == "before"
                assert await client.read_close() == (4000, "")
            else:
                assert await client.ending() == "rst"
        assert len(first) == 1


@every_transport
async def test_kinds_of_messages(transport: str) -> None:
    class Text(str):
        __slots__ = ()

    class Data(bytes):
        __slots__ = ()

    async with serving(transport) as server:
        client = await server.connect()
        (conn,) = server.conns
        for message in ("grüße", Text("sub"), b"bytes", Data(b"data"), bytearray(b"array"), memoryview(b"view")):
            conn.send(message)
            expected = str(message) if isinstance(message, str) else bytes(message)
            assert await client.read_message() == expected
        for wrong in (None, 5, ["x"]):
            with pytest.raises(TypeError):
                conn.send(wrong)
        with pytest.raises(UnicodeEncodeError):
            conn.send("\ud800")
        with pytest.raises(TypeError):
            conn.send_frame("text")
        conn.send_frame(b"\x81\x01a\x82\x01b")
        assert [await client.read_message() for _ in range(2)] == ["a", b"b"]
        assert conn.state == OPEN


@every_transport
async def test_pings_of_the_layer_above(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        (conn,) = server.conns
        conn.ping(b"p" * 125)
        conn.ping()
        assert [await client.read_frame() for _ in range(2)] == [Frame(PING, b"p" * 125), Frame(PING, b"")]
        with pytest.raises(ValueError, match="125"):
            conn.ping(bytes(126))


@every_transport
async def test_long_messages_are_compressed_where_that_was_agreed(transport: str) -> None:
    async with serving(transport) as server:
        server.on_request = lambda conn, data: conn.accept(server.endpoint, ANSWER, len(data), 12)
        client = await server.client()
        await client.send(upgrade_request("/elsewhere"))
        await client.read_response()
        (conn,) = server.conns
        conn.send("x" * 127)
        conn.send("y" * 128)
        conn.send(b"z" * 5000)
        assert await client.read_frame() == Frame(TEXT, b"x" * 127)
        for opcode, expected in ((TEXT, b"y" * 128), (BINARY, b"z" * 5000)):
            frame = await client.read_frame()
            assert (frame.opcode, frame.rsv) == (opcode, 4)
            assert zlib.decompressobj(wbits=-12).decompress(frame.payload + b"\0\0\xff\xff") == expected
        assert server.endpoint.bytes_out == 127 + 128 + 5000, "counted before compression"


# Backpressure


@every_transport
async def test_statuses_and_watermarks(transport: str) -> None:
    async with serving(transport, max_outbox=64 << 20) as server:
        client = await server.connect(receive_buffer=4096)
        (conn,) = server.conns
        sent = 0
        while (status := conn.send(bytes(60_000))) == SENT:
            sent += 1
            assert not conn.congested or conn.buffered > 0
            await turns(2)
        assert status == QUEUED
        conn.send(bytes(100_000))
        assert conn.congested
        assert conn.buffered > 65536
        assert server.drained == []
        for _ in range(sent + 1):
            assert await client.read_message() == bytes(60_000)
        assert await client.read_message() == bytes(100_000)
        await until(lambda: server.drained)
        assert server.drained == [conn]
        assert (conn.congested, conn.buffered) == (False, 0)
        assert conn.send("again") == SENT


@every_transport
async def test_on_drain_may_send_on_and_is_called_again(transport: str) -> None:
    """A producer that sends until it is congested and goes on when it is drained delivers everything in order."""
    total = 300

    def produce(conn: Any) -> None:
        while len(produced) < total and not conn.congested:
            produced.append(len(produced))
            conn.send(produced[-1].to_bytes(4, "big") * 8000)

    produced: list[int] = []
    async with serving(transport, on_message=lambda conn, message: produce(conn), on_drain=produce) as server:
        client = await server.connect(receive_buffer=16384)
        await client.send_frame(TEXT, b"go")
        for number in range(total):
            assert await client.read_message() == number.to_bytes(4, "big") * 8000
        assert server.endpoint.slow_consumers == 0


@every_transport
async def test_a_failing_on_drain_closes_1011(transport: str) -> None:
    def fail(conn: Any) -> None:
        raise ValueError

    async with serving(transport, on_drain=fail) as server:
        client = await server.connect()
        server.conns[0].send(bytes(200_000))
        assert await client.read_message() == bytes(200_000)
        assert await client.read_close() == (1011, "internal")
        assert [where for where, _ in server.errors] == ["drain"]


@every_transport
async def test_a_slow_consumer_is_closed_4003_behind_the_frame_it_has_begun(transport: str) -> None:
    """What was not begun is discarded, nothing is said after the close frame, and the end is a reset."""
    async with serving(transport, max_outbox=2_000_000, close_timeout=3.0) as server:
        client = await server.connect(receive_buffer=4096)
        (conn,) = server.conns
        sent = 0
        while conn.state == OPEN:
            conn.send(sent.to_bytes(4, "big") * 5000)
            sent += 1
            if not conn.buffered:
                await turns(2)
        assert (conn.state, conn.send("more")) == (CLOSING, GONE)
        assert server.endpoint.slow_consumers == 1
        frames: list[Frame] = []
        while not frames or frames[-1].opcode != CLOSE:
            frames.append(await client.read_frame())
        whole = [frame.payload for frame in frames[:-1]]
        assert whole == [number.to_bytes(4, "big") * 5000 for number in range(len(whole))]
        assert server.endpoint.dropped > 80
        assert len(whole) + server.endpoint.dropped in (sent, sent - 1)
        assert (frames[-1].close_code, frames[-1].close_reason) == (4003, "slow_consumer")
        assert await client.ending() == "rst"
        await server.all_closed()
        assert server.closes == [(4003, "slow_consumer")]


@every_transport
async def test_a_peer_that_never_reads_is_gone_in_time(transport: str) -> None:
    """Megabytes wait for it when we close; neither we nor the loop's transport keep them for ever."""
    async with serving(transport, close_timeout=0.3, max_outbox=64 << 20) as server:
        client = await server.connect(receive_buffer=4096)
        (conn,) = server.conns
        for _ in range(100):
            conn.send(bytes(100_000))
        await turns(3)
        conn.close(4000)
        watch = Stopwatch()
        await server.all_closed()
        assert watch.own_s < 3
        with pytest.raises((ConnectionResetError, EOFError)):
            await client.read_exactly(10_000_000)
        assert server.closes == [(4000, "")]


@every_transport
async def test_a_frame_larger_than_the_limit_is_sent_if_nothing_waits(transport: str) -> None:
    async with serving(transport, max_outbox=1000) as server:
        client = await server.connect()
        (conn,) = server.conns
        conn.send(bytes(500_000))
        assert await client.read_message() == bytes(500_000)
        for number in range(2000):
            conn.send(number.to_bytes(2, "big") * 10)
        for number in range(2000):
            assert await client.read_message() == number.to_bytes(2, "big") * 10, "the pass was not over, so it waited"
        assert conn.state == OPEN


@every_transport
async def test_one_slow_reader_keeps_nobody_waiting(transport: str) -> None:
    async with serving(transport, max_outbox=64 << 20) as server:
        await server.connect(receive_buffer=4096)
        others = await server.connect_many(10)
        for _ in range(200):
            server.conns[0].send(bytes(100_000))
        watch = Stopwatch()
        for client in others:
            await client.send_frame(TEXT, b"x")
            assert await client.read_message() == "x"
        assert watch.own_s < 2


@on_reactor
async def test_a_full_socket_is_not_tried_again_before_it_has_room() -> None:
    """EPOLLOUT is armed while the socket is full and only then: neither sends nor waits spin."""
    async with serving("reactor", max_outbox=64 << 20) as server:
        client = await server.connect(receive_buffer=4096)
        (conn,) = server.conns
        for _ in range(100):
            conn.send(bytes(100_000))
        await turns(5)
        assert conn.buffered
        sends, waits = server.reactor.sends, server.reactor.waits
        await asyncio.sleep(0.15)
        for _ in range(5):
            conn.send("more")
            await turns(3)
        assert server.reactor.sends == sends
        assert server.reactor.waits - waits < 5
        for _ in range(100):
            assert await client.read_message() == bytes(100_000)
        assert [await client.read_message() for _ in range(5)] == ["more"] * 5
        await turns(3)
        waits = server.reactor.waits
        await asyncio.sleep(0.15)
        assert server.reactor.waits - waits < 5


@on_reactor
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have such buffers")
async def test_a_big_send_to_a_socket_that_takes_everything_leaves_turns_to_the_others() -> None:
    """8 MiB fit into the buffers of the kernel; a pass without time hands over one MiB of them."""
    big = ((socket.SOL_SOCKET, SO_SNDBUFFORCE, 16 << 20),)
    async with serving("reactor", max_outbox=128 << 20, listener_options=big) as server:
        await server.connect()
        (conn,) = server.conns
        for _ in range(128):
            conn.send(bytes(65536))
        server.loop_data.pass_ns = 0
        before = server.loop_data.passes
        await until(lambda: not conn.buffered)
        assert server.loop_data.passes - before >= 8
