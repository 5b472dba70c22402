"""Passes are bounded, what is left goes on in the next one, and the wheel calls what is due."""

import asyncio
import random
import time
from collections import Counter
from typing import Any

import pytest

from fastws.core.deflate import compress
from fastws.core.law import Law
from fastws_ext.loop_data import LoopData
from tests.fastws_ext.harness import (
    Client,
    agree_to_deflate,
    every_transport,
    on_reactor,
    serving,
    turns,
    until,
    upgrade_request,
)
from tests.fastws_ext.shifted_clock import Shift, in_shifted_time
from tests.support.frames import BINARY, CONTINUATION, PING, PONG, TEXT, build_frame
from tests.support.waiting import Stopwatch


def say(clients: list[Client], data: bytes) -> None:
    """Have every client send `data`, all of it before the loop turns again."""
    for client in clients:
        assert client.send_now(data) == len(data)


# Passes


@on_reactor
async def test_a_pass_over_many_busy_sockets_is_bounded() -> None:
    """With no time at all a pass serves one socket's turn, and no message is lost or served twice."""
    per_pass: Counter[int] = Counter()

    def count(conn: Any, message: str | bytes) -> None:
        per_pass[server.loop_data.passes] += 1

    async with serving("reactor", on_message=count) as server:
        clients = await server.connect_many(20)
        server.loop_data.pass_ns = 0
        say(clients, build_frame(TEXT, b"x") * 64)
        await until(lambda: sum(per_pass.values()) >= 1280)
        assert max(per_pass.values()) <= 32
        assert sum(per_pass.values()) == 1280


@on_reactor
async def test_sockets_at_the_end_of_a_batch_have_their_turn() -> None:
    """Sockets that always have more to say do not keep those behind them waiting: everybody is served in rounds."""
    served: list[int] = []

    def again(conn: Any, message: str | bytes) -> None:
        served.append(conn.number)
        if len(served) < 200:
            say([clients[server.conns.index(conn)]], build_frame(TEXT, b"x"))

    async with serving("reactor", on_message=again) as server:
        clients = await server.connect_many(20)
        server.loop_data.pass_ns = 0
        say(clients, build_frame(TEXT, b"x"))
        await until(lambda: len(served) >= 200)
        assert set(Counter(served[:100]).values()) == {5}


@on_reactor
async def test_newcomers_are_accepted_while_others_use_up_every_pass() -> None:
    def slow(conn: Any, message: str | bytes) -> None:
        time.sleep(0.003)  # longer than a pass
        if server.endpoint.messages_in < 500:
            say([busy], build_frame(TEXT, b"x"))

    async with serving("reactor", on_message=slow) as server:
        busy = await server.connect()
        say([busy], build_frame(TEXT, b"x"))
        for _ in range(3):
            await server.connect()
        assert server.endpoint.messages_in < 100


@on_reactor
async def test_timers_are_punctual_while_sockets_are_busy() -> None:
    """50 sockets with 16 messages in flight and a handler of 1 ms: 0.8 s of work, a timer of 1 ms waits for little."""

    def slow(conn: Any, message: str | bytes) -> None:
        time.sleep(0.001)

    late = 0.0
    async with serving("reactor", on_message=slow, keep=False) as server:
        clients = await server.connect_many(50)
        say(clients, build_frame(TEXT, b"x") * 16)
        while server.endpoint.messages_in < 800:
            start = time.monotonic()
            await asyncio.sleep(0.001)
            late = max(late, time.monotonic() - start)
    assert late < 0.15


@every_transport
async def test_one_connection_does_not_hold_the_pass_with_many_small_frames(transport: str) -> None:
    order: list[str | bytes] = []
    async with serving(transport, on_message=lambda conn, message: order.append(message)) as server:
        server.loop_data.pass_ns = 10_000_000_000
        busy, quiet = await server.connect_many(2)
        say([busy], build_frame(TEXT, b"b") * 5000)
        say([quiet], build_frame(TEXT, b"q"))
        await until(lambda: "q" in order)
        assert order.index("q") <= 2 * 128 + 1, "frames of one connection before the other's turn"
        await until(lambda: len(order) == 5001)


@every_transport
async def test_fragments_count_as_frames(transport: str) -> None:
    order: list[str | bytes] = []
    async with serving(
        transport, max_fragments=0, on_message=lambda conn, message: order.append(message[:1])
    ) as server:
        server.loop_data.pass_ns = 10_000_000_000
        busy, quiet = await server.connect_many(2)
        fragments = build_frame(TEXT, b"f", fin=False) + build_frame(CONTINUATION, b"f", fin=False) * 998
        say([busy], fragments + build_frame(CONTINUATION, b"f"))
        say([quiet], build_frame(TEXT, b"q"))
        await until(lambda: len(order) == 2)
        assert order == ["q", "f"]


@every_transport
async def test_frames_for_the_state_machine_are_dear(transport: str) -> None:
    """Pieces of a compressed message make no message until the last one, but each costs more than a plain one."""
    judged: list[bytes] = []

    class CountingLaw(Law):
        def receive_data(self, data: bytes) -> list[tuple[int, Any]]:
            judged.append(data)
            return super().receive_data(data)

    seen: list[int] = []

    def note(conn: Any, message: str | bytes) -> None:
        seen.append(len(judged))

    payload = compress(random.Random(1).randbytes(1000), 15)
    pieces = [payload[i : i + 1] for i in range(len(payload))]
    fragments = b"".join(
        build_frame(BINARY if i == 0 else CONTINUATION, piece, fin=i == len(pieces) - 1, rsv=0 if i else 4)
        for i, piece in enumerate(pieces)
    )
    async with serving(transport, law_factory=CountingLaw, max_fragments=0, on_message=note) as server:
        server.loop_data.pass_ns = 10_000_000_000
        agree_to_deflate(server)
        quiet = await server.connect()
        busy = await server.connect("/uncommon")
        say([busy], fragments)
        say([quiet], build_frame(TEXT, b"q"))
        await until(lambda: seen)
        assert seen[0] <= 32, "fragments of one connection before the other's turn"
        await until(lambda: len(seen) == 2)
        assert len(judged) == len(pieces)


@on_reactor
async def test_one_receive_is_at_most_64_kib() -> None:
    async with serving("reactor", max_message_size=1 << 20) as server:
        client = await server.connect()
        before = server.reactor.receives
        await client.send_frame(BINARY, bytes(1 << 20))
        assert await client.read_message() == bytes(1 << 20)
        assert server.reactor.receives - before >= 16


@every_transport
async def test_what_a_pass_leaves_unparsed_is_served_in_order(transport: str) -> None:
    async with serving(transport) as server:
        clients = await server.connect_many(100)
        server.loop_data.pass_ns = 0
        for number in range(400):
            say(clients, build_frame(TEXT, str(number).encode()))
        await until(lambda: len(server.messages) == 40_000)
        for client in clients:
            assert [await client.read_message() for _ in range(400)] == [str(number) for number in range(400)]
        assert server.loop_data.backlog == (0, 0, 0)


@every_transport
async def test_taking_many_connections_apart_is_bounded_too(transport: str) -> None:
    """on_close of everybody who is aborted at once would hold the loop as long as on_message of everybody."""
    per_pass: Counter[int] = Counter()

    def count(conn: Any, code: int, reason: str) -> None:
        per_pass[server.loop_data.passes] += 1

    async with serving(transport, on_close=count) as server:
        clients = await server.connect_many(100)
        server.loop_data.pass_ns = 0
        for conn in server.conns:
            conn.abort()
        watch = Stopwatch()
        await server.all_closed()
        assert watch.own_s < 2, "what is left has a turn of its own and waits for no tick"
        assert sum(per_pass.values()) == 100
        assert max(per_pass.values()) <= 2
        assert [await client.ending() for client in clients] == ["rst"] * 100


@every_transport
async def test_flushing_many_connections_is_bounded_too(transport: str) -> None:
    async with serving(transport) as server:
        clients = await server.connect_many(100)
        server.loop_data.pass_ns = 0
        for conn in server.conns:
            conn.send("x")
        assert server.loop_data.backlog == (100, 0, 0)
        before = server.loop_data.passes
        for client in clients:
            assert await client.read_message() == "x"
        assert server.loop_data.passes - before >= 50


# The wheel


@every_transport
async def test_deadlines_come_in_order_once_and_not_early(transport: str) -> None:
    called: list[tuple[int, float]] = []
    async with serving(transport, on_deadline=lambda conn: called.append((conn.number, time.monotonic()))) as server:
        await server.connect_many(3)
        start = time.monotonic()
        waits = {conn.number: wait for conn, wait in zip(server.conns, (0.5, 0.2, 0.35), strict=True)}
        for conn in server.conns:
            conn.set_deadline(waits[conn.number])
        await until(lambda: len(called) == 3)
        assert [number for number, _ in called] == sorted(waits, key=lambda number: waits[number])
        for number, at in called:
            assert at - start > waits[number] - 0.21, "to a tick, and the clock of the last pass"
        await asyncio.sleep(0.3)
        assert len(called) == 3


@on_reactor
async def test_a_deadline_that_is_called_off_or_moved_is_not_served() -> None:
    async with serving("reactor") as server:
        await server.connect_many(3)
        off, moved, kept = server.conns
        for conn in server.conns:
            conn.set_deadline(0.2)
        off.set_deadline(0)
        moved.set_deadline(0.6)
        await until(lambda: len(server.deadlines) == 2)
        assert server.deadlines == [kept, moved]
        await asyncio.sleep(0.2)
        assert off not in server.deadlines


@in_shifted_time
async def test_whoever_is_served_may_move_and_close_the_others(shift: Shift) -> None:
    """All are due in one slot; the first one served cancels, moves, closes and adds others of it."""
    called: list[Any] = []

    def meddle(conn: Any) -> None:
        called.append(conn)
        if len(called) == 1:
            others = [other for other in server.conns if other is not conn]
            others[0].set_deadline(0)
            others[1].abort()
            others[2].set_deadline(300)
            others[3].set_deadline(0.1)
            conn.set_deadline(0.1)
            roles.extend(others)

    roles: list[Any] = []
    async with serving("reactor", on_deadline=meddle) as server:
        await server.connect_many(6)
        for conn in server.conns:
            conn.set_deadline(0.5)
        await until(lambda: len(called) >= 4)
        await asyncio.sleep(0.3)
        first, (cancelled, closed, late, soon, untouched) = called[0], roles
        assert Counter(called) == {first: 2, soon: 1, untouched: 1}
        assert cancelled not in called
        assert closed not in called
        for _ in range(340):
            shift(0.9)
            await turns(2)
        await until(lambda: late in called)


@in_shifted_time
async def test_waits_longer_than_a_round_of_the_wheel(shift: Shift) -> None:
    """The wheel has 102 s; 90, 110 and 350 s are served at their time, in order, all the same."""
    called: list[tuple[int, float]] = []
    async with serving("reactor", on_deadline=lambda conn: called.append((conn.number, time.monotonic()))) as server:
        await server.connect_many(4)
        start = time.monotonic()
        waits = {conn.number: wait for conn, wait in zip(server.conns, (350, 90, 110, 102.4), strict=True)}
        for conn in server.conns:
            conn.set_deadline(waits[conn.number])
        while len(called) < 4:
            assert time.monotonic() < start + 400
            shift(0.4)
            await turns(2)
        assert [number for number, _ in called] == sorted(waits, key=lambda number: waits[number])
        for number, at in called:
            assert waits[number] - 0.3 < at - start < waits[number] + 3.0


@in_shifted_time
async def test_a_wait_longer_than_a_round_is_not_cut_short(shift: Shift) -> None:
    async with serving("reactor", handshake_timeout=200.0) as server:
        client = await server.client()
        await until(lambda: server.ingress.connections)
        start = time.monotonic()
        while server.ingress.connections:
            shift(0.4)
            await turns(2)
        assert 199 < time.monotonic() - start < 204
        assert await client.ending() == "fin"


@in_shifted_time
async def test_after_a_stop_of_the_process_peers_are_heard_before_they_are_judged(shift: Shift) -> None:
    """Pongs are read a few turns after a minute's sleep: the connections live and hear no early ping."""
    async with serving("reactor", ping_interval=20.0, ping_timeout=5.0) as server:
        clients = await server.connect_many(30)
        say(clients, build_frame(TEXT, b"x"))  # from here on all of them are silent equally long
        for client in clients:
            await client.read_message()
        while server.endpoint.pings_sent < 30:
            shift(0.5)
            await turns(2)
        pings = [await client.read_frame() for client in clients]
        shift(60)
        await turns(5)
        for client, ping in zip(clients, pings, strict=True):
            say([client], build_frame(PONG, ping.payload))
        await until(lambda: server.endpoint.pongs_received == 30)
        await asyncio.sleep(0.35)
        assert (server.closes, server.endpoint.pings_sent) == ([], 30)


@in_shifted_time
async def test_a_peer_silent_during_a_stop_has_the_whole_timeout_to_answer(shift: Shift) -> None:
    """After a minute's sleep a ping is due; its deadline counts from when it is sent, not from when it was due."""
    async with serving("reactor", ping_interval=20.0, ping_timeout=5.0) as server:
        client = await server.connect()
        (conn,) = server.conns
        conn.set_ping_interval(20)
        shift(60)
        await turns(3)
        assert (await client.read_frame()).opcode == PING
        await asyncio.sleep(0.5)
        assert server.closes == []
        for _ in range(20):
            shift(0.5)
            await turns(2)
        assert await client.read_close() == (4002, "no_pong")


class CountingLoop:
    """An event loop that notes how long `call_later` is asked to wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waits: list[float] = []

    def call_later(self, wait: float, *arguments: Any) -> asyncio.TimerHandle:
        self.waits.append(wait)
        return self._loop.call_later(wait, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@in_shifted_time
async def test_after_a_stop_of_the_process_it_is_held_back_once_however_much_is_late(shift: Shift) -> None:
    """600 late deadlines need many passes of no length at all; there is a single pause of a tick before them."""
    counting = CountingLoop(asyncio.get_running_loop())
    async with serving("reactor", loop=counting) as server:
        await server.connect_many(600)
        for conn in server.conns:
            conn.set_deadline(10 + conn.number % 30)
        server.loop_data.pass_ns = 0
        counting.waits.clear()
        shift(60)
        await until(lambda: len(server.deadlines) == 600)
        assert sum(wait > 0 for wait in counting.waits) <= 3, counting.waits
        assert len(counting.waits) > 18


@in_shifted_time
async def test_a_wheel_that_was_stopped_serves_what_became_due_meanwhile(shift: Shift) -> None:
    async with serving("reactor") as server:
        await server.connect_many(3)
        for conn, wait in zip(server.conns, (5, 60, 1000), strict=True):
            conn.set_deadline(wait)
        server.loop_data.stop()
        shift(300)
        await asyncio.sleep(0.3)
        assert server.deadlines == []
        server.loop_data.start()
        await until(lambda: len(server.deadlines) == 2)
        await asyncio.sleep(0.3)
        assert server.deadlines == server.conns[:2]


@in_shifted_time
async def test_who_came_before_the_wheel_was_started_is_not_forgotten(shift: Shift) -> None:
    async with serving("reactor", started=False, handshake_timeout=2.0) as server:
        client = await server.client()
        await until(lambda: server.ingress.connections)
        shift(30)
        await turns(2)
        server.loop_data.start()
        assert await client.ending() == "fin"


@on_reactor
async def test_starting_twice_and_stopping_twice_is_once() -> None:
    counting = CountingLoop(asyncio.get_running_loop())
    loop_data = LoopData(counting)  # type: ignore[arg-type] # everything else is the loop's
    loop_data.start()
    loop_data.start()
    assert len(counting.waits) == 1
    loop_data.stop()
    loop_data.stop()
    await asyncio.sleep(0.25)
    assert len(counting.waits) == 1


@on_reactor
@pytest.mark.parametrize("where", ["on_deadline", "on_handshake_timeout"])
async def test_a_failing_deadline_stops_no_other(where: str) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no")

    async with serving("reactor", handshake_timeout=0.3, internal_errors=True, on_deadline=fail) as server:
        server.on_handshake_timeout = fail
        clients = [await server.client() for _ in range(3)]
        if where == "on_deadline":
            for client in clients:
                await client.send(upgrade_request())
                await client.read_response()
            for conn in server.conns:
                conn.set_deadline(0.2)
            assert [await client.read_close() for client in clients] == [(1011, "internal")] * 3
        else:
            assert [await client.ending() for client in clients] == ["fin"] * 3
            assert len(server.internal) == 3
            assert server.ingress.connections == 0


@on_reactor
async def test_numbers_begin_where_they_are_told_to() -> None:
    loop = asyncio.get_running_loop()
    assert LoopData(loop).numbers == 0
    assert LoopData(loop, 1 << 40).numbers == 1 << 40
    with pytest.raises(OverflowError):
        LoopData(loop, 1 << 64)
