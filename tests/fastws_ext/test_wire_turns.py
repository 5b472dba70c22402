"""Turns: how long one connection is served before the others are."""

import time
from typing import Any

from tests.fastws_ext.harness import every_transport, on_reactor, serving, until
from tests.support.frames import BINARY, CLOSE, CONTINUATION, TEXT, build_frame

PASS_NS = 100_000_000  # long, so that a busy machine does not end it
LONGER_THAN_A_TURN_NS = PASS_NS // 16
LONG_PASS_NS = 3_000_000_000  # with time for messages that wait, even on a machine that is busy for a second
IN_FLIGHT = 6


def compute(conn: Any, message: str | bytes) -> None:
    """A handler that keeps the loop."""
    end = time.monotonic_ns() + LONGER_THAN_A_TURN_NS
    while time.monotonic_ns() < end:
        pass
    conn.send(message)


@every_transport
async def test_slow_handlers_share_time_whatever_is_in_the_buffers(transport: str) -> None:
    async with serving(transport, on_message=compute) as server:
        server.loop_data.pass_ns = PASS_NS
        *floods, other = [await server.connect() for _ in range(5)]
        for letter, flood in zip("abcd", floods, strict=True):
            flood.send_now(b"".join(build_frame(TEXT, b"%s%d" % (letter.encode(), i)) for i in range(IN_FLIGHT)))
        other.send_now(build_frame(TEXT, b"?"))
        assert await other.read_message() == "?"
        for letter, flood in zip("abcd", floods, strict=True):
            assert [await flood.read_message() for _ in range(IN_FLIGHT)] == [f"{letter}{i}" for i in range(IN_FLIGHT)]
        # One of each who was there before, not all six; on a transport of the loop a second one at most.
        assert server.messages.index("?") <= 2 * len(floods)


@on_reactor
async def test_slow_messages_in_fragments_share_it_too() -> None:
    fragments = build_frame(BINARY, b"x", fin=False) + build_frame(CONTINUATION, b"y")
    async with serving("reactor", on_message=compute) as server:
        server.loop_data.pass_ns = PASS_NS
        flood, other = [await server.connect() for _ in range(2)]
        flood.send_now(fragments * IN_FLIGHT)
        other.send_now(build_frame(TEXT, b"?"))
        assert await other.read_message() == "?"
        assert [await flood.read_message() for _ in range(IN_FLIGHT)] == [b"xy"] * IN_FLIGHT
        assert server.messages.index("?") <= 1


@on_reactor
async def test_who_is_alone_goes_on_for_as_long_as_the_pass_has_time() -> None:
    """Turns are for the sake of others: without them, messages that are here together are handled in one pass."""
    seen_in: list[int] = []

    def wait(conn: Any, message: str | bytes) -> None:
        seen_in.append(server.loop_data.passes)
        time.sleep(LONG_PASS_NS / 1e9 / 32)  # longer than a turn

    async with serving("reactor", on_message=wait) as server:
        client = await server.connect()
        server.loop_data.pass_ns = LONG_PASS_NS
        client.send_now(b"".join(build_frame(TEXT, b"%d" % number) for number in range(IN_FLIGHT)))
        await until(lambda: len(seen_in) == IN_FLIGHT)
        assert seen_in == [seen_in[0]] * IN_FLIGHT
        assert server.messages == [str(number) for number in range(IN_FLIGHT)]


@on_reactor
async def test_who_is_alone_makes_room_when_the_pass_is_over() -> None:
    seen_in: list[int] = []

    def wait(conn: Any, message: str | bytes) -> None:
        seen_in.append(server.loop_data.passes)
        time.sleep(0.001)

    async with serving("reactor", on_message=wait) as server:
        client = await server.connect()
        server.loop_data.pass_ns = 100_000
        client.send_now(build_frame(TEXT, b"x") * IN_FLIGHT)
        await until(lambda: len(seen_in) == IN_FLIGHT)
        assert len(set(seen_in)) == IN_FLIGHT


@on_reactor
async def test_who_used_up_the_last_turn_lets_a_newcomer_go_first() -> None:
    """Two slow messages are more than a turn; when their senders come again they wait behind whoever is quick."""
    async with serving("reactor", on_message=compute) as server:
        *floods, other = [await server.connect() for _ in range(5)]
        server.loop_data.pass_ns = PASS_NS
        for again in range(2):
            server.messages.clear()
            for flood in floods:
                flood.send_now(build_frame(TEXT, b"slow") * 2)
            other.send_now(build_frame(TEXT, b"?"))
            await until(lambda: len(server.messages) == 2 * len(floods) + 1)
            if again:  # who came first the first time is for the machine to say
                assert server.messages.index("?") <= 1
        # Whoever had an easy turn since is quick again.
        floods[1].send_now(build_frame(TEXT, b"easy"))
        await until(lambda: "easy" in server.messages)
        server.messages.clear()
        floods[0].send_now(build_frame(TEXT, b"slow") * 2)
        floods[1].send_now(build_frame(TEXT, b"easy"))
        await until(lambda: len(server.messages) == 3)
        assert server.messages.index("easy") <= 1


@on_reactor
async def test_those_who_had_a_turn_leave_most_of_the_time_to_ready_sockets() -> None:
    """While there are sockets that no pass had time for, the others go on in an eighth of it."""

    def wait(conn: Any, message: str | bytes) -> None:
        time.sleep(LONGER_THAN_A_TURN_NS / 1e9 if message == "slow" else PASS_NS / 1e9)

    async with serving("reactor", on_message=wait) as server:
        *floods, first, second, third, last = [await server.connect() for _ in range(20)]
        server.loop_data.pass_ns = PASS_NS
        for flood in floods:
            flood.send_now(build_frame(TEXT, b"slow") * IN_FLIGHT)
        for newcomer in (first, second, third, last):
            newcomer.send_now(build_frame(TEXT, b"?"))
        await until(lambda: server.messages.count("?") == 4)
        seen = "".join("?" if message == "?" else "s" for message in server.messages)
        between = seen.split("?")[1:-1]
        assert max(len(part) for part in between) <= len(floods) // 2, seen


@on_reactor
async def test_when_many_leave_those_who_stay_are_served_first() -> None:
    closed_before: list[int] = []

    def count(conn: Any, message: str | bytes) -> None:
        closed_before.append(len(server.closes))

    async with serving("reactor", on_message=count) as server:
        *leaving, staying = await server.connect_many(101)
        server.loop_data.pass_ns = LONG_PASS_NS
        for client in leaving:
            client.send_now(build_frame(CLOSE, b"\x03\xe8bye"))
        staying.send_now(build_frame(TEXT, b"x"))
        await until(lambda: len(server.closes) == len(leaving) and closed_before)
        assert closed_before[0] < len(leaving) // 2
        assert server.closes == [(1000, "bye")] * len(leaving)
        for client in leaving:
            assert await client.read_close() == (1000, "")
