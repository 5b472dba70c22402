"""Handshakes that never begin, never end, break off, or come all at once: one deadline, and nothing is left of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import ssl
import struct
import time
from contextlib import suppress

import pytest

from fastws.net.tls import acceptor
from fastws.net.tls.acceptor import TlsAcceptor
from tests.net.serving import TLS_TRANSPORTS, Client, Server, run, serving, tls_contexts, until, upgrade
from tests.support.waiting import Stopwatch

TIMEOUT_S = 0.5


@pytest.fixture(params=TLS_TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def client_hello() -> bytes:
    """What a client sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls_contexts()[1].wrap_bio(incoming, outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def acceptor_of(server: Server) -> TlsAcceptor:
    found = server.listeners._acceptor
    assert found is not None
    return found


async def plain(server: Server) -> Client:
    """A TCP connection without TLS."""
    return Client(*await asyncio.open_connection("127.0.0.1", server.port))


async def plain_that_says(server: Server, data: bytes) -> Client:
    client = await plain(server)
    client.write(data)
    return client


async def end_of(client: Client) -> bytes:
    """What comes until the server ends the connection, in whichever way."""
    try:
        return await client.rest()
    except ConnectionError:
        return b""
    finally:
        await client.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


BEGINNINGS = {
    "nothing": b"",
    "a byte": client_hello()[:1],
    "half a hello": client_hello()[:100],
    "a hello and no more": client_hello(),
    "a record that is announced and never comes": b"\x16\x03\x01\x40\x00",
}


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_a_handshake_that_does_not_end_has_a_deadline(transport: str, beginning: bytes) -> None:
    async def test() -> None:
        async with serving(transport, timeout_s=TIMEOUT_S) as server:
            watch = Stopwatch()
            client = await plain(server)
            client.write(beginning)
            await end_of(client)
            assert watch.s > 0.8 * TIMEOUT_S
            assert watch.own_s < TIMEOUT_S + 2
            await until(lambda: acceptor_of(server).under_way == 0)
            assert acceptor_of(server).failed == 1
            assert server.ingress.connections == 0

    run(transport, test)


def test_the_deadline_of_the_request_runs_from_accept(transport: str) -> None:
    timeout_s = 2.0

    async def end_of_a_late_handshake(server: Server) -> float:
        """Seconds until a client is sent away that begins its handshake late."""
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.sleep(0.6 * timeout_s)  # what is measured is that this time counts
        with suppress(ConnectionError):  # this process may have stopped until the deadline was over
            await writer.start_tls(tls_contexts()[1], server_hostname="localhost")
        answer = await end_of(Client(reader, writer))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
        return time.monotonic() - begun

    async def test() -> None:
        async with serving(transport, timeout_s=timeout_s) as server:
            # A machine that stops may spoil an attempt; a deadline that begins with the handshake spoils each.
            waited_s = [await end_of_a_late_handshake(server)]
            while waited_s[-1] >= 1.5 * timeout_s and len(waited_s) < 3:
                waited_s.append(await end_of_a_late_handshake(server))
            assert waited_s[-1] < 1.5 * timeout_s, waited_s

    run(transport, test)


def test_without_a_deadline_newcomers_may_wait(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": lambda conn, message: None}, timeout_s=0) as server:
            silent = await plain(server)
            await (await server.connect()).close()
            assert acceptor_of(server).under_way == 1
            await silent.close()
            await until(lambda: acceptor_of(server).under_way == 0)

    run(transport, test)


def test_plain_http_is_told_what_is_wrong(transport: str) -> None:
    async def test() -> None:
        async with serving(transport) as server:
            client = await plain(server)
            client.write(upgrade())
            answer = await client.answer()
            assert (answer.status, answer.json["error"]["message"]) == (
                400,
                "this port speaks TLS: use https:// or wss://",
            )
            await client.close()
            assert acceptor_of(server).under_way == 0

    run(transport, test)


@pytest.mark.parametrize("garbage", [b"\x00" * 100, b"\x16" + os.urandom(200), b"\x80\x2e\x01\x00\x02", b"\xff"])
def test_garbage_ends_the_connection(transport: str, garbage: bytes) -> None:
    async def test() -> None:
        async with serving(transport, timeout_s=TIMEOUT_S) as server:
            client = await plain(server)
            client.write(garbage)
            assert not (await end_of(client)).startswith(b"HTTP")
            await until(lambda: acceptor_of(server).under_way == 0)
            assert acceptor_of(server).failed == 1

    run(transport, test)


def test_a_client_that_does_not_trust_the_certificate(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": lambda conn, message: None}) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection("127.0.0.1", server.port, ssl=ssl.create_default_context())
            await until(lambda: acceptor_of(server).under_way == 0 and server.ingress.connections == 0)
            await (await server.connect()).close()

    run(transport, test)


def test_newcomers_at_once_all_come_in(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": lambda conn, message: None}) as server:
            clients = await asyncio.gather(*(server.connect() for _ in range(3 * acceptor._HANDSHAKES_A_TURN + 1)))
            assert len(server.listeners.websockets()) == len(clients)
            await asyncio.gather(*(client.close() for client in clients))
            await until(lambda: server.listeners.connections() == [])

    run(transport, test)


def test_a_turn_begins_few_handshakes() -> None:
    async def test() -> None:
        async with serving("tls") as server:
            clients = [await plain(server) for _ in range(3 * acceptor._HANDSHAKES_A_TURN)]
            await until(lambda: len(acceptor_of(server)._silent) == len(clients))
            for client in clients:
                client.write(BEGINNINGS["half a hello"])
            begun = []
            while len(acceptor_of(server)._handshakes) < len(clients):
                begun.append(len(acceptor_of(server)._handshakes))
                await asyncio.sleep(0)
            steps = [after - before for before, after in itertools.pairwise(begun)]
            assert max(steps) <= acceptor._HANDSHAKES_A_TURN
            for client in clients:
                client.abort()

    run("tls", test)


def test_without_room_the_next_one_is_turned_away(transport: str) -> None:
    async def test() -> None:
        options = {"raw": {"/echo": lambda conn, message: None}, "admission": {"capacity": 3}}
        async with serving(transport, **options) as server:
            opened = await server.connect()
            silent = [await plain(server) for _ in range(2)]
            await until(lambda: acceptor_of(server).under_way == 2)
            assert await end_of(await plain(server)) == b""
            assert acceptor_of(server).turned_away == 1
            await silent[0].close()
            await until(lambda: acceptor_of(server).under_way == 1)
            await (await server.connect()).close()
            opened.send("still there")
            await opened.close()
            await silent[1].close()

    run(transport, test)


async def share_of_a_cpu(seconds: float) -> float:
    """How much of one this process uses while nobody does anything."""
    cpu, begun = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return (time.process_time() - cpu) / (time.monotonic() - begun)


def test_without_descriptors_it_rests_and_goes_on(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": lambda conn, message: None}) as server:
            listening = server.listeners._sockets[0]
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
            hoard: list[int] = []
            with suppress(OSError):
                while True:
                    hoard.append(os.dup(listening.fileno()))
            shares = [1.0]
            while shares[-1] > 0.5 and len(shares) < 5:  # one quiet moment will do: who is busy is so in each
                shares.append(await share_of_a_cpu(0.1))
            for descriptor in hoard:
                os.close(descriptor)
            assert shares[-1] <= 0.5, shares
            await until(lambda: acceptor_of(server).under_way == len(clients))
            await (await server.connect()).close()
            for client in clients:
                client.close()

    limits = pytest.importorskip("resource")
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    limits.setrlimit(limits.RLIMIT_NOFILE, (min(hard, descriptors() + 200), hard))
    try:
        run(transport, test)
    finally:
        limits.setrlimit(limits.RLIMIT_NOFILE, (soft, hard))


async def break_off(server: Server, dice: random.Random) -> None:
    """One client that goes away at some point of the handshake, in some way."""
    data = dice.choice([*BEGINNINGS.values(), upgrade(), os.urandom(50)])
    sock = socket.socket()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", server.port))
    try:
        await loop.sock_sendall(sock, data[: dice.randrange(len(data) + 1)])
        if dice.random() < 0.5:
            await asyncio.sleep(dice.random() * 0.003)
        if dice.random() < 0.3:
            sock.shutdown(socket.SHUT_WR)
        if dice.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # the server was first
    finally:
        sock.close()


def test_a_thousand_that_break_off_leave_nothing(transport: str) -> None:
    dice = random.Random(1000)

    async def test() -> None:
        async with serving(transport, raw={"/echo": lambda conn, message: conn.send(message)}) as server:
            bystander = await server.connect()
            before = descriptors()
            for _ in range(50):
                await asyncio.gather(*(break_off(server, dice) for _ in range(20)))
            bystander.send("hello")
            assert await bystander.text() == "hello"
            await until(lambda: acceptor_of(server).under_way == 0 and server.ingress.connections == 1)
            await until(lambda: descriptors() <= before)
            assert server.listeners._on_loop == set(server.listeners.connections())
            await bystander.close()

    run(transport, test)


def test_closing_drops_whoever_is_on_the_way(transport: str) -> None:
    async def test() -> None:
        async with serving(transport) as server:
            await end_of(await plain_that_says(server, b"\xff"))
            before = descriptors()
            clients = [await plain(server) for _ in range(4)]
            clients[1].write(BEGINNINGS["a byte"])
            clients[2].write(BEGINNINGS["a hello and no more"])
            await until(lambda: len(acceptor_of(server)._handshakes) == 2)
        for client in clients:
            await end_of(client)
        await until(lambda: descriptors() <= before and acceptor_of(server).under_way == 0)

    run(transport, test)
