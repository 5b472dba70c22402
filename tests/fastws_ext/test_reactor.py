"""Events reach the connection they belong to, descriptors are given back, a child has no part in it."""

import asyncio
import fcntl
import os
import socket
from typing import Any

import pytest

from fastws_ext.handshake import FastIngress
from fastws_ext.loop_data import LoopData
from fastws_ext.reactor import Reactor
from fastws_ext.wire import Wire
from tests.fastws_ext.descriptors import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLLIN,
    descriptors,
    epoll_control,
    epoll_with,
    server_side,
    watched,
)
from tests.fastws_ext.harness import CLOSED, Client, Server, on_reactor, serving, turns, until, upgrade_request
from tests.support.frames import TEXT, build_frame

SLOT = 0xFFFFFFFF


def epoll_of(server: Server) -> int:
    """The reactor's epoll descriptor."""
    return epoll_with(server.socket.fileno())


async def quiet(server: Server) -> None:
    """Nothing wakes the reactor any more; a descriptor that it forgot to take out of epoll would, at every turn."""
    await turns(20)
    before = server.reactor.waits
    await turns(100)
    assert server.reactor.waits - before <= 5


# One batch of events


@on_reactor
async def test_an_event_of_an_earlier_owner_of_a_slot_does_not_reach_the_later_one() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        epoll = epoll_of(server)
        data = watched(epoll)[server_side(client.socket)].data
        reader, writer = os.pipe()
        os.close(writer)  # its reader hangs up at every look: what a stale event would say
        epoll_control(epoll, EPOLL_CTL_ADD, reader, EPOLLIN, data - (1 << 32))
        waits = server.reactor.waits
        await until(lambda: server.reactor.waits > waits + 3)
        epoll_control(epoll, EPOLL_CTL_DEL, reader)
        os.close(reader)
        await client.send_frame(TEXT, b"still here")
        assert await client.read_message() == "still here"


@on_reactor
async def test_each_owner_of_a_slot_has_its_own_generation() -> None:
    async with serving("reactor") as server:
        seen = []
        for _ in range(3):
            client = await server.connect()
            seen.append(watched(epoll_of(server))[server_side(client.socket)].data)
            client.close()
            await server.all_closed()
        assert len({data & SLOT for data in seen}) == 1
        assert len(set(seen)) == 3


@on_reactor
async def test_a_descriptor_is_closed_after_the_batch_so_nobody_else_gets_it_within() -> None:
    counts: list[int] = []

    def on_message(conn: Any, message: str | bytes) -> None:
        counts.append(len(descriptors()))
        other = server.conns[conn is server.conns[0]]
        other.abort()
        counts.append(len(descriptors()))

    async with serving("reactor", on_message=on_message) as server:
        clients = await server.connect_many(2)
        for client in clients:
            client.send_now(build_frame(TEXT, b"one of us"))
        await until(lambda: server.ingress.connections == 1)
        assert len(server.messages) == 1
        assert counts[0] == counts[1] == len(descriptors()) + 1


@on_reactor
async def test_those_who_are_here_are_served_before_those_who_come() -> None:
    order: list[str] = []

    def connection(ingress: Any) -> Wire:
        order.append("accepted")
        return Wire(ingress)

    def on_message(conn: Any, message: str | bytes) -> None:
        order.append("served")

    async with serving("reactor", connection_class=connection, on_message=on_message) as server:
        client = await server.connect()
        with socket.create_connection(server.address):  # waits in the backlog and so is ready first
            client.send_now(build_frame(TEXT, b"x"))
            await until(lambda: len(order) == 3)
        assert order == ["accepted", "served", "accepted"]


@on_reactor
async def test_a_socket_with_nothing_to_read_has_not_ended() -> None:
    """Its bytes are read by somebody else between the event and the read, as a spurious event would have it."""
    stolen: list[bytes] = []

    def on_message(conn: Any, message: str | bytes) -> None:
        if message == "steal":
            with socket.socket(fileno=os.dup(server_side(victim.socket))) as sock:
                stolen.append(sock.recv(100))
        conn.send(message)

    async with serving("reactor", on_message=on_message) as server:
        thief, victim = await server.connect_many(2)
        thief.send_now(build_frame(TEXT, b"steal"))
        victim.send_now(build_frame(TEXT, b"lost"))
        assert await thief.read_message() == "steal"
        assert stolen == [build_frame(TEXT, b"lost")]
        await victim.send_frame(TEXT, b"open")
        assert await victim.read_message() == "open"


@on_reactor
async def test_the_reactor_may_be_closed_inside_a_handler() -> None:
    def on_message(conn: Any, message: str | bytes) -> None:
        server.reactor.close()
        conn.send("too late")

    async with serving("reactor", on_message=on_message) as server:
        clients = await server.connect_many(5)
        for client in clients:
            client.send_now(build_frame(TEXT, b"x") * 10)
        for client in clients:
            assert await client.ending() == "rst"
        assert len(server.messages) == 1
        assert server.closes == [(1006, "")] * 5
        assert {conn.state for conn in server.conns} == {CLOSED}


# Descriptors


@on_reactor
async def test_a_closed_connection_is_out_of_epoll_even_if_somebody_else_keeps_its_descriptor() -> None:
    async with serving("reactor") as server:
        client, other = await server.connect_many(2)
        epoll = epoll_of(server)
        kept = os.dup(server_side(client.socket))
        await client.send_close()
        await client.frames_until_eof()
        client.close()
        await until(lambda: server.ingress.connections == 1)
        assert len(watched(epoll)) == 2
        await quiet(server)
        os.close(kept)
        await other.send_frame(TEXT, b"x")
        assert await other.read_message() == "x"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@on_reactor
async def test_a_child_forked_in_a_handler_has_no_part_in_the_reactor() -> None:
    children: list[int] = []
    reader, writer = os.pipe()

    def on_message(conn: Any, message: str | bytes) -> None:
        if message == "fork":
            epoll, waits = epoll_of(server), server.reactor.waits
            if child := os.fork():
                children.append(child)
            else:
                in_child(epoll, waits)
        conn.send(message)

    def in_child(epoll: int, waits: int) -> None:
        try:
            closed = epoll not in descriptors()
            server.reactor.poll()
            idle = server.reactor.waits == waits
            os.read(reader, 1)
            os._exit(0 if closed and idle else 1)
        finally:
            os._exit(2)

    async with serving("reactor", on_message=on_message) as server:
        client, other = await server.connect_many(2)
        await client.send_frame(TEXT, b"fork")
        assert await client.read_message() == "fork"
        server.conns[0].abort()
        await until(lambda: server.ingress.connections == 1)
        client.send_now(b"to a socket that only the child has")
        await quiet(server)
        await other.send_frame(TEXT, b"x")
        assert await other.read_message() == "x"
        os.write(writer, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
        os.close(reader)
        os.close(writer)
        await other.send_frame(TEXT, b"y")
        assert await other.read_message() == "y"


@on_reactor
async def test_no_descriptor_is_inherited_by_programs_that_are_started() -> None:
    before = descriptors()
    async with serving("reactor") as server:
        await server.connect_many(3)
        opened = descriptors() - before
        assert len(opened) >= 9
        assert {fcntl.fcntl(descriptor, fcntl.F_GETFD) for descriptor in opened} == {fcntl.FD_CLOEXEC}


@on_reactor
async def test_a_reactor_gives_every_descriptor_back() -> None:
    before = len(descriptors())
    async with serving("reactor") as server:
        await server.connect_many(20)
        await server.client()
    await turns(2)
    assert len(descriptors()) == before


def test_a_reactor_that_is_dropped_gives_every_descriptor_back() -> None:
    loop = asyncio.new_event_loop()
    before = len(descriptors())
    loop_data = LoopData(loop)
    reactor = Reactor(loop_data, Wire, FastIngress(loop_data))
    assert len(descriptors()) == before + 2
    reactor.disable()
    del reactor
    assert len(descriptors()) == before
    loop.close()


# Accepting


@on_reactor
async def test_options_of_the_listener_are_inherited_and_never_set_again() -> None:
    options = ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 54_321))
    async with serving("reactor", listener_options=options) as server:
        client = await server.connect()
        with socket.socket(fileno=os.dup(server_side(client.socket))) as sock:
            for level, name, value in (*options, (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)):
                assert sock.getsockopt(level, name) == value
        assert server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@on_reactor
async def test_the_peer_address_is_known_when_the_peer_is_gone() -> None:
    addresses: list[Any] = []

    def on_message(conn: Any, message: str | bytes) -> None:
        client.reset()
        addresses.append(conn.remote)

    def on_close(conn: Any, code: int, reason: str) -> None:
        addresses.append(conn.remote)

    async with serving("reactor", on_message=on_message, on_close=on_close) as server:
        client = await server.connect()
        expected = client.socket.getsockname()
        await client.send_frame(TEXT, b"x")
        await server.all_closed()
        assert addresses == [expected, expected]
        await turns(2)
        assert server.conns[0].remote is None


@on_reactor
async def test_many_listeners_of_either_family() -> None:
    async with serving("reactor") as server:
        more = [socket.create_server(("::1", 0), family=socket.AF_INET6) for _ in range(15)]
        for listener in more:
            server.reactor.listen(listener)
        with pytest.raises(ValueError, match="list"), socket.create_server(("127.0.0.1", 0)) as one_too_many:
            server.reactor.listen(one_too_many)
        for listener in more:
            with socket.create_connection(listener.getsockname()[:2]) as sock:
                sock.setblocking(False)
                client = Client(sock)
                await client.send(upgrade_request())
                assert (await client.read_response())[0] == 101
                assert server.conns[-1].remote == sock.getsockname()[:2]
        server.reactor.stop_accepting()
        for listener in more:
            listener.close()


@on_reactor
async def test_a_listener_that_is_not_accepted_from_is_out_of_epoll() -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        epoll = epoll_of(server)
        server.reactor.stop_accepting()
        assert server.socket.fileno() not in watched(epoll)
        server.socket.shutdown(socket.SHUT_RDWR)  # as another process that has it may do: it hangs up for ever
        await quiet(server)
        await client.send_frame(TEXT, b"x")
        assert await client.read_message() == "x"


@on_reactor
async def test_a_connection_that_cannot_be_made_costs_only_itself() -> None:
    made: list[Any] = [ValueError("out of order"), "no connection", Wire]

    def connection(ingress: Any) -> Any:
        made_now = made.pop(0) if len(made) > 1 else made[0]
        if isinstance(made_now, Exception):
            raise made_now
        return made_now(ingress) if made_now is Wire else made_now

    async with serving("reactor", connection_class=connection, internal_errors=True) as server:
        for _ in range(2):
            client = await server.client()
            assert await client.ending() in {"fin", "rst"}
        assert [type(context["exception"]) for context in server.internal] == [ValueError, TypeError]
        assert server.ingress.connections == 0
        client = await server.connect()
        await client.send_frame(TEXT, b"x")
        assert await client.read_message() == "x"
        assert server.reactor.accepted == 1


@on_reactor
async def test_more_sockets_than_one_batch_holds_are_all_served() -> None:
    async with serving("reactor") as server:
        clients = await server.connect_many(600)
        for client in clients:
            client.send_now(build_frame(TEXT, b"x"))
        for client in clients:
            assert await client.read_message() == "x"
        assert len(server.messages) == 600
        assert set(server.reactor.connections()) == set(server.conns)
