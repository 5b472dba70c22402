"""Heartbeat, deadlines of messages and of the layer above, over every kind of transport."""

import asyncio
import time
from typing import Any

import pytest

from tests.fastws_ext.harness import (
    OPEN,
    every_transport,
    serving,
    until,
)
from tests.support.frames import BINARY, PING, PONG, TEXT, build_frame
from tests.support.waiting import Stopwatch

# Heartbeat and deadlines


@every_transport
async def test_the_heartbeat_pings_and_times_the_answer(transport: str) -> None:
    async with serving(transport, ping_interval=0.2, ping_timeout=5) as server:
        client = await server.connect()
        watch = Stopwatch()
        for _ in range(2):
            ping = await client.read_frame()
            assert ping.opcode == PING
            await client.send_frame(PONG, ping.payload)
        assert watch.own_s < 2.5, "every interval, however long an answer may take"
        await until(lambda: server.endpoint.pongs_received == 2)
        counts, seconds = server.endpoint.rtt
        assert sum(counts) == 2
        assert 0 < seconds < 2
        assert server.endpoint.pings_sent in (2, 3)  # it may be time for the next one


@every_transport
async def test_a_pong_nobody_asked_for_is_not_timed(transport: str) -> None:
    async with serving(transport) as server:
        client = await server.connect()
        await client.send(build_frame(PONG, bytes(8)) + build_frame(PONG, b"\xff" * 8) + build_frame(PONG, b"x"))
        await until(lambda: server.endpoint.pongs_received == 3)
        assert server.endpoint.rtt == ([0] * 16, 0.0)


@every_transport
async def test_no_pong_closes_4002(transport: str) -> None:
    async with serving(transport, ping_interval=0.2, ping_timeout=0.3, close_timeout=0.3) as server:
        client = await server.connect()
        assert (await client.read_frame()).opcode == PING
        assert await client.read_close() == (4002, "no_pong")
        await server.all_closed()
        assert server.closes == [(4002, "no_pong")]


@every_transport
async def test_any_traffic_is_a_sign_of_life(transport: str) -> None:
    """The peer never answers a ping, but talks: no 4002, and while it talks no ping."""
    async with serving(transport, ping_interval=0.6, ping_timeout=0.6) as server:
        client = await server.connect()
        await client.send_frame(TEXT, b"x")
        await client.read_message()
        longest_s = 0.0
        for _ in range(8):
            watch = Stopwatch()
            await asyncio.sleep(0.1)
            await client.send_frame(TEXT, b"x")
            await client.read_message()
            longest_s = max(longest_s, watch.s)
        assert server.endpoint.pings_sent == 0 or longest_s > 0.4


@every_transport
async def test_a_paused_connection_keeps_its_ping_deadline(transport: str) -> None:
    async with serving(transport, ping_interval=0.2, ping_timeout=0.3, close_timeout=0.3) as server:
        client = await server.connect()
        server.conns[0].pause_reading()
        assert (await client.read_frame()).opcode == PING
        assert await client.read_close() == (4002, "no_pong")


@every_transport
async def test_without_a_ping_timeout_nobody_is_closed_for_silence(transport: str) -> None:
    async with serving(transport, ping_interval=0.2, ping_timeout=0) as server:
        client = await server.connect()
        assert [(await client.read_frame()).opcode for _ in range(3)] == [PING] * 3
        assert server.conns[0].state == OPEN


@every_transport
async def test_an_interval_of_its_own(transport: str) -> None:
    async with serving(transport, ping_interval=0, ping_timeout=5) as server:
        client = await server.connect()
        await asyncio.sleep(0.3)
        assert server.endpoint.pings_sent == 0
        server.conns[0].set_ping_interval(0.2)
        assert (await client.read_frame()).opcode == PING
        server.conns[0].set_ping_interval(0)
        await client.send_frame(PONG, b"")
        await asyncio.sleep(0.4)
        assert client.heard_nothing()


@every_transport
@pytest.mark.parametrize("kind", ["half a frame", "half a message"])
async def test_a_message_that_does_not_end_closes_1008(transport: str, kind: str) -> None:
    """Traffic within the message does not extend its deadline."""
    async with serving(transport, message_timeout=0.4) as server:
        client = await server.connect()
        if kind == "half a frame":
            await client.send(build_frame(BINARY, b"x", declared_length=1000))
        else:
            await client.send_frame(TEXT, b"x", fin=False)
        watch = Stopwatch()
        while client.heard_nothing():
            assert watch.own_s < 5
            client.send_now(b"x" if kind == "half a frame" else build_frame(0, b"x", fin=False))
            await asyncio.sleep(0.05)
        assert (await client.read_close())[0] == 1008
        assert watch.s > 0.15


@every_transport
async def test_the_message_deadline_waits_while_it_is_us_who_do_not_read(transport: str) -> None:
    async with serving(transport, message_timeout=0.8) as server:
        client = await server.connect()
        await client.send(build_frame(TEXT, b"first", fin=False) + build_frame(PING, b""))
        assert (await client.read_frame()).opcode == PONG
        server.conns[0].pause_reading()
        await client.send_frame(0, b" and last")
        await asyncio.sleep(1.5)
        server.conns[0].resume_reading()
        assert await client.read_message() == "first and last"


@every_transport
async def test_the_message_deadline_ends_with_the_message(transport: str) -> None:
    async with serving(transport, message_timeout=0.8) as server:
        client = await server.connect()
        frame = build_frame(TEXT, b"x" * 100)
        fragments = build_frame(TEXT, b"y", fin=False), build_frame(0, b"y")
        await client.send_in_pieces(frame[:50], frame[50:], *fragments)
        assert [await client.read_message() for _ in range(2)] == ["x" * 100, "yy"]
        await asyncio.sleep(1.2)
        assert server.conns[0].state == OPEN


@every_transport
async def test_a_failing_on_deadline_closes_1011(transport: str) -> None:
    def fail(conn: Any) -> None:
        raise ValueError

    async with serving(transport, on_deadline=fail) as server:
        client = await server.connect()
        server.conns[0].set_deadline(0.1)
        assert await client.read_close() == (1011, "internal")
        assert [where for where, _ in server.errors] == ["deadline"]


@every_transport
async def test_a_deadline_is_never_early_however_old_the_pass_is(transport: str) -> None:
    due: dict[Any, float] = {}
    early: list[float] = []

    def begin(conn: Any, message: Any) -> None:
        time.sleep(0.13)  # a handler that takes long: the tick in which the pass began is over
        wait = float(message)
        due[conn] = time.monotonic() + wait
        conn.set_deadline(wait)

    def end(conn: Any) -> None:
        early.append(time.monotonic() - due[conn])
        conn.close()

    async with serving(transport, on_message=begin, on_deadline=end) as server:
        clients = [await server.connect() for _ in range(6)]
        for client, wait in zip(clients, ("0.01", "0.1", "0.15", "0.19", "0.25", "0.3"), strict=True):
            await client.send_frame(TEXT, wait.encode())
        await until(lambda: len(early) == len(clients))
        assert min(early) >= 0


@every_transport
async def test_a_deadline_that_was_set_can_be_asked_for(transport: str) -> None:
    async with serving(transport) as server:
        await server.connect()
        conn = server.conns[0]
        assert conn.deadline == 0
        conn.set_deadline(5.0)
        assert 4.8 <= conn.deadline <= 5.2
        conn.set_deadline(0.1)
        await until(lambda: server.deadlines == [conn])
        assert conn.deadline == 0
