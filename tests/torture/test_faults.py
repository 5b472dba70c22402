"""Single faults at every step of a connection's life, and those that need more than one."""

import asyncio
import errno
import os
import resource
import time
import weakref
from typing import Any

import pytest

from fastws_ext.loop_data import LoopData
from fastws_ext.reactor import Reactor
from tests.fastws_ext.descriptors import descriptors
from tests.fastws_ext.harness import Server, on_reactor, serving, turns, until, upgrade_request
from tests.support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, build_frame, close_frame
from tests.torture.handlers import Traced
from tests.torture.servers import collected
from tests.torture.shim import EXHAUSTED, FATAL, HARMLESS, Shim
from tests.torture.under_shim import under_shim

STEP_S = 10.0
LOST_S = 0.3  # after a fault that ends the connection nothing more is waited for
BIG = bytes(300_000)


async def live(server: Server) -> None:
    """A whole life: handshake, messages, fragments, ping, more than a socket takes at once, close, end."""
    client = await server.client()
    head = upgrade_request()
    await client.send_in_pieces(head[:20], head[20:])
    status, _ = await client.read_response()
    assert status == 101, status
    await client.send_frame(TEXT, b"one")
    assert await client.read_message() == "one"
    await client.send_in_pieces(
        build_frame(TEXT, b"two", fin=False), build_frame(PING, b"p"), build_frame(CONTINUATION, b"three")
    )
    assert await client.read_frame() == Frame(PONG, b"p")
    assert await client.read_message() == "twothree"
    big = build_frame(BINARY, BIG)
    await client.send(big[:1000])
    await turns(3)
    await client.send(big[1000:])
    assert await client.read_message() == BIG
    await client.send(close_frame(1000))
    frame = await client.read_frame()
    assert (frame.opcode, frame.close_code) == (CLOSE, 1000)
    assert await client.read_until_eof() == b""
    client.close()


async def step(server: Server, shim: Shim, call: str, number: int, fault: int) -> None:
    """One life in which one call fails."""
    shim.once(call, number, fault)
    sound = fault in HARMLESS.get(call, ()) and fault not in EXHAUSTED
    try:
        async with asyncio.timeout(STEP_S if sound else LOST_S):
            await live(server)
    except (OSError, EOFError, AssertionError, TimeoutError) as error:
        if sound:
            raise AssertionError(f"{call} number {number} fails with {fault}") from error
    for client in server.clients:
        client.close()
    server.clients.clear()


@under_shim
async def test_every_step_may_fail(shim: Shim) -> None:
    made: weakref.WeakSet[Any] = weakref.WeakSet()

    def connection(ingress: Any) -> Any:
        conn = Traced(ingress)
        made.add(conn)
        return conn

    options: dict[str, Any] = {"max_message_size": 400_000, "max_outbox": 0, "close_timeout": 1.0}
    async with serving("reactor", keep=False, connection_class=connection, **options) as server:
        before = {call: shim.count(call) for call in HARMLESS}
        await live(server)
        await server.all_closed()
        steps = {call: shim.count(call) - before[call] for call in HARMLESS}
        base = descriptors()
        failed = 0
        for faults in (HARMLESS, FATAL):
            for call, kinds in faults.items():
                for fault in kinds:
                    for number in range(1, min(steps.get(call, 1), 25) + 1):
                        await step(server, shim, call, number, fault)
                        await server.all_closed()
                        failed += shim.met
        shim.calm()
        await live(server)
        await server.all_closed()
        server.drained.clear()
        assert await collected(made) == []
        assert server.loop_data.errors == 0
        assert descriptors() == base
        assert failed > 150, (failed, steps)


# The listener


@under_shim
async def test_a_listener_that_cannot_be_watched_again_is_tried_until_it_can(shim: Shim) -> None:
    async with serving("reactor") as server:
        shim.weather({"accept4": (1.0, (errno.EMFILE,)), "epoll_ctl": (1.0, (errno.ENOSPC, errno.ENOMEM))})
        refused = await server.client()
        await until(lambda: server.reactor.refused_descriptors)
        tries = shim.count("epoll_ctl")
        await until(lambda: shim.count("epoll_ctl") >= tries + 2, "the listener was tried twice")
        shim.calm()
        client = await server.connect()
        await client.send_frame(TEXT, b"hi")
        assert await client.read_message() == "hi"
        refused.close()


@under_shim
async def test_a_client_that_cannot_be_watched_is_told_to_come_later(shim: Shim) -> None:
    async with serving("reactor") as server:
        shim.once("epoll_ctl", 1, errno.ENOSPC)
        client = await server.client()
        status, headers = await client.read_response()
        assert (status, headers["retry-after"]) == (503, "1")
        assert await client.read_until_eof() == b""
        assert server.reactor.refused_descriptors == 1
        await server.connect()


@under_shim
async def test_a_listener_that_cannot_be_watched_at_all_is_refused(shim: Shim) -> None:
    async with serving("reactor") as server:
        reactor = Reactor(LoopData(server.loop), server.connection_class, server.ingress)
        shim.once("epoll_ctl", 1, errno.ENOSPC)
        with pytest.raises(OSError, match="No space") as caught:
            reactor.listen(server.socket)
        assert caught.value.errno == errno.ENOSPC
        reactor.listen(server.socket)  # nothing of it is left
        reactor.close()


@under_shim
async def test_a_reactor_that_a_handler_closes_while_descriptors_are_out_keeps_none(shim: Shim) -> None:
    def end(conn: Any, message: Any) -> None:
        reactor.close()

    async with serving("reactor", on_message=end) as server:
        server.reactor.stop_accepting()
        before = descriptors()
        reactor = Reactor(server.loop_data, server.connection_class, server.ingress)
        reactor.listen(server.socket)
        client = await server.connect()
        shim.weather({"accept4": (1.0, (errno.EMFILE,))})
        refused = await server.client()
        await until(lambda: reactor.refused_descriptors)
        await client.send_frame(TEXT, b"end")
        await server.all_closed()
        client.close()
        refused.close()
        assert descriptors() == before


@under_shim
async def test_nobody_spins_while_descriptors_are_out(shim: Shim) -> None:
    async with serving("reactor") as server:
        served = await server.connect()
        shim.weather({"accept4": (1.0, (errno.EMFILE, errno.ENFILE))})
        waiting = [await server.client() for _ in range(3)]
        await until(lambda: server.reactor.refused_descriptors)
        for _ in range(4):  # a spin fails each; what the collector does, or the machine, hardly more than one
            waits, cpu, start = server.reactor.waits, time.process_time(), time.monotonic()
            await asyncio.sleep(0.5)
            seconds = time.monotonic() - start
            share = (time.process_time() - cpu) / seconds
            if (server.reactor.waits - waits) / seconds < 60 and share < 0.05:
                break
        else:
            raise AssertionError(f"no rest: {share:.0%} of a CPU")
        await served.send_frame(TEXT, b"hi")
        assert await served.read_message() == "hi"
        shim.calm()
        for client in waiting:
            await client.send(upgrade_request())
            status, _ = await client.read_response()
            assert status == 101


@under_shim
async def test_a_real_limit_of_descriptors(shim: Shim) -> None:
    """No fault but the kernel's own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving("reactor") as server:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors()) + 8, hard))
        clients = []
        try:
            while True:
                clients.append(await server.connect())
        except (OSError, AssertionError, EOFError):
            pass
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client = await server.connect()
        await client.send_frame(TEXT, b"hi")
        assert await client.read_message() == "hi"


# Children


def fork_on_demand(server: Server, seconds: float) -> list[int]:
    """Children that a handler has made; each of them lives that long and holds every descriptor."""
    children: list[int] = []

    def handle(conn: Any, message: str | bytes) -> None:
        if message == "fork":
            child = os.fork()
            if not child:
                time.sleep(seconds)
                os._exit(0)
            children.append(child)
        conn.send(message)

    server.endpoint.on_message = handle
    return children


@under_shim
async def test_children_of_handlers_that_end_at_once_disturb_nobody(shim: Shim) -> None:
    await fork_and_look(0.0)


@under_shim
async def test_children_of_handlers_that_live_for_a_while_disturb_nobody(shim: Shim) -> None:
    await fork_and_look(0.4)


async def fork_and_look(lives_s: float) -> None:
    """While a child holds the same sockets, the parent serves, closes and rests."""
    async with serving("reactor") as server:
        children = fork_on_demand(server, lives_s)
        clients = await server.connect_many(5)
        for client in clients:
            await client.send_frame(TEXT, b"fork")
            assert await client.read_message() == "fork"
        clients[0].reset()
        clients[1].close()
        await clients[2].send_close()
        assert await clients[2].read_close() == (1000, "")
        clients[2].close()
        await until(lambda: server.ingress.connections == 2)
        waits, start = server.reactor.waits, time.monotonic()
        await asyncio.sleep(0.2)
        assert (server.reactor.waits - waits) / (time.monotonic() - start) < 60
        for client in clients[3:]:
            await client.send_frame(TEXT, b"hi")
            assert await client.read_message() == "hi"
        for child in children:
            assert os.waitpid(child, 0)[1] == 0


# A handler closes the reactor


@pytest.mark.parametrize(
    "where", ["on_open", "on_message", "on_close", "on_drain", "on_deadline", "on_error", "on_result", "on_slow"]
)
@on_reactor
async def test_the_reactor_is_closed_in_a_handler(where: str) -> None:
    ended = []

    def end(conn: Any, *rest: Any) -> None:
        ended.append(where)
        server.reactor.close()

    def handle(conn: Any, message: str | bytes) -> Any:
        if where == "on_error":
            raise ValueError
        if where == "on_slow":
            time.sleep(0.06)
        if where == "on_drain":
            conn.send(bytes(400_000))
        if where == "on_close":
            conn.abort()
        conn.send("last")
        return 1

    callbacks: dict[str, Any] = {"on_message": handle, where: end}
    if where == "on_deadline":
        callbacks["on_open"] = lambda conn: conn.set_deadline(0.1)
    base = descriptors()
    async with serving("reactor", **callbacks) as server:
        clients = [await server.client() for _ in range(3)]
        for client in clients:
            client.send_now(upgrade_request() + build_frame(TEXT, b"hi"))
        await until(lambda: ended)
        await server.all_closed()
        assert server.reactor.connections() == []
        assert server.loop_data.backlog == (0, 0, 0)
        assert server.loop_data.errors == 0
        assert sum(server.endpoint.closed.values()) == server.endpoint.opened
        for client in clients:
            client.close()
    await turns(3)
    assert descriptors() <= base


@pytest.mark.parametrize("where", ["on_request", "on_released", "on_lost", "on_handshake_timeout"])
@on_reactor
async def test_the_reactor_is_closed_in_the_http_stage(where: str) -> None:
    async with serving("reactor", handshake_timeout=0.2) as server:
        ended = []

        def end(*conn: Any) -> None:
            ended.append(where)
            server.reactor.close()

        setattr(server if where in {"on_request", "on_handshake_timeout"} else server.ingress, where, end)
        clients = [await server.client() for _ in range(3)]
        if where != "on_handshake_timeout":
            for client in clients:
                client.send_now(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: server.reactor.accepted)
        if where in {"on_released", "on_lost"}:
            clients[0].close()
        await until(lambda: ended)
        await server.all_closed()
        assert server.reactor.connections() == []
        assert server.loop_data.errors == 0
