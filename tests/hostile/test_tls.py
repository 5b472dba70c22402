"""Clients that attack the TLS port: silence, half a handshake, garbage, other protocols, readers that stop."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.hostile.conftest import ECHO
from tests.support.certificates import Certificate, self_signed
from tests.support.frames import TEXT, build_frame
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import Stopwatch, wait_until

TIMEOUT_S = 2.0
MAX_OUTBOX = 200_000


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def trusting(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.certfile)


@pytest.fixture(scope="module")
def server(certificate: Certificate) -> Iterator[ServerProcess]:
    options = (*certificate.options, "--handshake-timeout", str(TIMEOUT_S), "--ping-interval", "0")
    with ServerProcess(*options, "--max-outbox", str(MAX_OUTBOX), source=ECHO) as process:
        yield process


@pytest.fixture(autouse=True)
def unharmed(server: ServerProcess, trusting: ssl.SSLContext) -> Iterator[RawClient]:
    """Another connection works before and after, nobody's descriptor is left, and the log has no traceback."""
    with RawClient(server.host, server.port, tls=trusting) as other:
        other.upgrade("/echo")
        before = server.descriptors()
        yield other
        other.send_text("still here")
        assert other.read_message() == "still here"
        wait_until(lambda: server.descriptors() <= before, what="the descriptors of the attackers are closed")
    assert server.process.poll() is None
    assert "Traceback" not in server.stderr()


def hello(trusting: ssl.SSLContext) -> bytes:
    """A ClientHello."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        trusting.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def test_half_a_handshake_is_held_no_longer_than_the_timeout(
    server: ServerProcess, trusting: ssl.SSLContext, unharmed: RawClient
) -> None:
    first = hello(trusting)
    memory, cpu = server.heap(), server.cpu_s()
    watch = Stopwatch()
    attackers = []
    for number in range(300):
        client = RawClient(server.host, server.port)
        client.send([b"", first[:1], first[:200], first][number % 4])
        attackers.append(client)
    unharmed.send_text("served meanwhile")
    assert unharmed.read_message() == "served meanwhile"
    assert server.heap() - memory < 300 * 60_000
    for client in attackers:
        with suppress(ConnectionError):
            client.read_until_eof()
        client.close()
    assert watch.own_s < TIMEOUT_S + 3
    assert server.cpu_s() - cpu < 2.0


def test_single_bytes_do_not_extend_the_deadline(server: ServerProcess, trusting: ssl.SSLContext) -> None:
    watch = Stopwatch()
    with RawClient(server.host, server.port) as client, suppress(ConnectionError, EOFError):
        for byte in hello(trusting):
            client.send(bytes([byte]))
            if not client.silent_for(0.05):
                break
    assert watch.own_s < TIMEOUT_S + 2


def test_three_thousand_that_break_off(server: ServerProcess, trusting: ssl.SSLContext, unharmed: RawClient) -> None:
    dice = random.Random(3000)
    first = hello(trusting)
    announced = b"\x16\x03\x01\x40\x00" + os.urandom(500)
    beginnings = [first, announced, os.urandom(300), b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n"]
    memory = 0
    for number in range(3000):
        client = RawClient(server.host, server.port)
        data = dice.choice(beginnings)
        with suppress(ConnectionError):
            client.send(data[: dice.randrange(len(data) + 1)])
        if dice.random() < 0.5:
            client.reset()
        client.close()
        if number % 500 == 0:
            unharmed.send_text("?")
            assert unharmed.read_message() == "?"
        if number == 1000:
            memory = server.heap()
    assert server.heap() - memory < 4_000_000


def test_garbage_after_the_handshake_ends_the_connection(server: ServerProcess, trusting: ssl.SSLContext) -> None:
    with RawClient(server.host, server.port, tls=trusting) as client:
        client.upgrade("/echo")
        os.write(client.socket.fileno(), b"\x17\x03\x03\x00\x20" + os.urandom(32))
        with suppress(ssl.SSLError, ConnectionError):
            client.read_until_eof()


def test_a_reader_that_stops_is_cut_off(server: ServerProcess, trusting: ssl.SSLContext) -> None:
    """What TLS holds back counts: the outbox is bounded, and memory is."""
    memory = server.heap()
    with RawClient(server.host, server.port, tls=trusting, receive_buffer=4096, timeout=1.0) as client:
        client.upgrade("/echo")
        frame = build_frame(TEXT, b"x" * 30_000)
        with suppress(OSError):
            for _ in range(2000):
                client.send(frame)
        assert server.heap() - memory < 10 * MAX_OUTBOX + 4_000_000


def test_an_end_without_a_goodbye(server: ServerProcess, trusting: ssl.SSLContext) -> None:
    """FIN in place of close_notify, in every state (a truncation attack looks like that)."""
    for text in (None, "hello"):
        with RawClient(server.host, server.port, tls=trusting) as client:
            client.upgrade("/echo")
            if text is not None:
                client.send_text(text)
            client.shutdown_write()
            with suppress(OSError):
                client.read_until_eof()
