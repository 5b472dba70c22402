"""How few system calls it takes: one send per connection and pass, one receive per event, nothing per accept."""

import time
from typing import Any

from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from tests.fastws_ext.harness import on_reactor, serving, turns
from tests.fastws_ext.own_process import PUBLICATIONS, traced
from tests.support.frames import PING, TEXT, build_frame
from tests.support.raw_client import RawClient

CROWD = 20
BIG_CROWD = 100  # hears at the end of a pass
SLOW_PASS_NS = 3_000_000_000  # with time for what waits, even on a machine that is busy for a second
SLOW_MESSAGES = 5


@on_reactor
async def test_pipelined_messages_are_received_by_one_call_and_answered_by_one() -> None:
    async with serving("reactor") as server:
        server.loop_data.pass_ns = 10**9  # so that a busy machine does not make it two turns
        client = await server.connect()
        sends, receives = server.reactor.sends, server.reactor.receives
        await client.send(build_frame(TEXT, b"x") * 15 + build_frame(PING, b"y"))
        await client.read_exactly(15 * 3 + 3)
        assert (server.reactor.sends - sends, server.reactor.receives - receives) == (1, 1)


@on_reactor
async def test_a_burst_of_publications_inside_a_handler_is_one_send_per_member() -> None:
    def on_message(conn: Any, message: str | bytes) -> None:
        for number in range(PUBLICATIONS):
            audience.publish((encode_frame(TEXT, str(number)),))
            conn.send("and a reply")

    async with serving("reactor", on_message=on_message) as server:
        audience = Audience(server.loop_data)
        clients = await server.connect_many(CROWD)
        for conn in server.conns:
            audience.add(conn)
        sends = server.reactor.sends
        await clients[0].send_frame(TEXT, b"go")
        for client in clients[1:]:
            assert [await client.read_message() for _ in range(PUBLICATIONS)] == [str(i) for i in range(PUBLICATIONS)]
        await clients[0].read_exactly(PUBLICATIONS * (3 + 13))
        await turns(3)
        assert server.reactor.sends - sends == CROWD


@on_reactor
async def test_a_burst_of_publications_to_a_big_audience_is_one_send_per_member() -> None:
    def on_message(conn: Any, message: str | bytes) -> None:
        for number in range(PUBLICATIONS):
            audience.publish((encode_frame(TEXT, str(number)),), exclude=conn)

    async with serving("reactor", on_message=on_message) as server:
        audience = Audience(server.loop_data)
        clients = await server.connect_many(BIG_CROWD)
        for conn in server.conns:
            audience.add(conn)
        sends = server.reactor.sends
        await clients[0].send_frame(TEXT, b"go")
        for client in clients[1:]:
            assert [await client.read_message() for _ in range(PUBLICATIONS)] == [str(i) for i in range(PUBLICATIONS)]
        await turns(3)
        assert server.reactor.sends - sends == BIG_CROWD - 1
        assert audience.sent == (BIG_CROWD - 1) * PUBLICATIONS
        assert clients[0].heard_nothing()


@on_reactor
async def test_a_burst_of_messages_that_publish_is_one_send_per_member_although_it_takes_several_turns() -> None:
    """A publisher that is alone has one turn after the other in the same pass, at the end of which members hear."""

    def on_message(conn: Any, message: str | bytes) -> None:
        audience.publish((encode_frame(TEXT, message),), exclude=conn)
        time.sleep(SLOW_PASS_NS / 1e9 / 32)  # longer than a turn

    async with serving("reactor", on_message=on_message) as server:
        audience = Audience(server.loop_data)
        clients = await server.connect_many(BIG_CROWD)
        for conn in server.conns:
            audience.add(conn)
        server.loop_data.pass_ns = SLOW_PASS_NS
        sends = server.reactor.sends
        await clients[0].send(b"".join(build_frame(TEXT, b"%d" % number) for number in range(SLOW_MESSAGES)))
        for client in clients[1:]:
            assert [await client.read_message() for _ in range(SLOW_MESSAGES)] == [str(i) for i in range(SLOW_MESSAGES)]
        await turns(3)
        assert server.reactor.sends - sends == BIG_CROWD - 1
        assert clients[0].heard_nothing()


@on_reactor
async def test_publications_of_several_audiences_in_one_pass_are_one_send_per_member() -> None:
    def on_message(conn: Any, message: str | bytes) -> None:
        for number, audience in enumerate(audiences):
            audience.publish((encode_frame(TEXT, str(number)),))

    async with serving("reactor", on_message=on_message) as server:
        audiences = [Audience(server.loop_data) for _ in range(3)]
        publisher = await server.connect()
        clients = await server.connect_many(BIG_CROWD)
        for conn in server.conns[1:]:
            for audience in audiences:
                audience.add(conn)
        server.loop_data.pass_ns = 10**9
        sends = server.reactor.sends
        await publisher.send_frame(TEXT, b"go")
        for client in clients:
            assert {await client.read_message() for _ in audiences} == {"0", "1", "2"}
        assert server.reactor.sends - sends == BIG_CROWD


@on_reactor
async def test_what_many_callbacks_of_one_turn_send_is_one_send() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        sends = server.reactor.sends
        for number in range(10):
            server.loop.call_soon(server.conns[0].send, str(number))
        assert [await client.read_message() for _ in range(10)] == [str(i) for i in range(10)]
        assert server.reactor.sends - sends == 1


@on_reactor
async def test_the_answer_to_an_upgrade_and_to_what_came_with_it_is_one_send() -> None:
    async with serving("reactor", on_open=lambda conn: conn.send("welcome") and None) as server:
        client = await server.connect(pipelined=build_frame(TEXT, b"hi"))
        assert [await client.read_message() for _ in range(2)] == ["welcome", "hi"]
        assert server.reactor.sends == 1


def test_as_the_kernel_counts_them_sends_are_one_per_connection_and_pass() -> None:
    with traced("trace=sendto") as server:
        members = [RawClient(*server.address) for _ in range(CROWD)]
        for member in members:
            member.upgrade()
        with RawClient(*server.address) as client:
            client.upgrade()
            client.send(build_frame(TEXT, b"x") * 16)
            assert [client.read_message() for _ in range(16)] == ["x"] * 16
            client.send_text("publish")
            for member in members:
                assert [member.read_message() for _ in range(PUBLICATIONS)] == [str(i) for i in range(PUBLICATIONS)]
        for member in members:
            member.reset()
    upgrades, burst = CROWD + 1, CROWD
    assert server.count("sendto") == upgrades + 1 + burst


def test_as_the_kernel_counts_them_accepting_takes_no_call_for_options_or_address() -> None:
    calls = ("setsockopt", "getsockopt", "getpeername", "getsockname", "fcntl", "ioctl")
    with traced(f"trace=accept4,{','.join(calls)}") as server:
        for _ in range(CROWD):
            with RawClient(*server.address) as client:
                client.upgrade()
                client.send_text("x")
                assert client.read_message() == "x"
    first = next(i for i, call in enumerate(server.calls) if call.startswith("accept4("))
    last = max(i for i, call in enumerate(server.calls) if call.startswith("accept4(") and " = -1 " not in call)
    assert not [call for call in server.calls[first:last] if not call.startswith("accept4(")]
