"""Clients that never finish their request, or their body, or their goodbye: one deadline, little memory, no CPU."""

import resource
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.hostile.conftest import ECHO
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import Stopwatch, wait_until

APP = (
    ECHO
    + """

@app.http("/page", methods=("GET", "POST"))
def page(request):
    return len(request.body)
"""
)
TIMEOUT_S = 1.0
HEAD = (
    b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
BEGINNINGS = {
    "nothing": b"",
    "a byte": b"G",
    "a line": b"GET /echo HTTP/1.1\r\n",
    "half a header": HEAD[:60],
    "all but the last byte": HEAD[:-1],
    "a full head without an end": HEAD[:-2] + b"X: " + b"y" * 15_000,
    "a body that was promised": b"POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 999,
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 32,
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--handshake-timeout", str(TIMEOUT_S), "--ping-interval", "0", source=APP) as process:
        yield process


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_what_is_not_finished_ends_at_the_deadline(server: ServerProcess, beginning: bytes) -> None:
    watch = Stopwatch()
    with RawClient(server.host, server.port) as client:
        client.send(beginning)
        answer = client.read_until_eof()
    assert watch.s > 0.7 * TIMEOUT_S
    assert watch.own_s < TIMEOUT_S + 1.5
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_bytes_do_not_extend_the_deadline(server: ServerProcess) -> None:
    watch = Stopwatch()
    with RawClient(server.host, server.port) as client:
        client.send(HEAD[:20])
        ended = False
        while not ended and watch.s < 5:
            try:
                client.send(b"X")
                ended = not client.silent_for(0.02)
            except (ConnectionError, EOFError):
                ended = True
        assert ended
        assert watch.own_s < TIMEOUT_S + 1.5


def test_many_of_them_at_once_cost_little_and_others_are_served(server: ServerProcess) -> None:
    with RawClient(server.host, server.port) as bystander:
        bystander.upgrade("/echo")
        descriptors, memory, cpu = server.descriptors(), server.heap(), server.cpu_s()
        attackers = []
        for number in range(400):
            client = RawClient(server.host, server.port)
            attackers.append(client)
            client.send(list(BEGINNINGS.values())[number % 5])
        worst_s = 0.0

        def all_gone() -> bool:
            nonlocal worst_s
            asked = Stopwatch()
            bystander.send_text("?")
            assert bystander.read_message() == "?"
            worst_s = max(worst_s, asked.own_s)
            return server.descriptors() <= descriptors

        assert server.heap() - memory < 400 * 16_000
        wait_until(all_gone, what="all attackers are gone")
        assert worst_s < 1.5
        assert server.cpu_s() - cpu < 1.0
        assert server.heap() - memory < 2_000_000
        for client in attackers:
            client.close()


def test_a_refused_client_that_goes_on_writing_is_cut_off(server: ServerProcess) -> None:
    cpu = server.cpu_s()
    with RawClient(server.host, server.port) as client:
        client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 404
        sent = 0
        with suppress(ConnectionError):
            while sent < 50_000_000:
                client.send(b"x" * 10_000)
                sent += 10_000
    assert sent < 20_000_000  # what is discarded, and what the kernels took
    assert server.cpu_s() - cpu < 0.5


def test_a_refused_client_that_stays_is_cut_off(server: ServerProcess) -> None:
    descriptors = server.descriptors()
    clients = [RawClient(server.host, server.port) for _ in range(20)]
    for client in clients:
        client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 404
    wait_until(lambda: server.descriptors() <= descriptors, what="it hangs up by itself")
    for client in clients:
        client.close()


def test_a_request_in_single_bytes_costs_no_more_than_its_bytes(server: ServerProcess) -> None:
    cpu = server.cpu_s()
    head = HEAD[:-2] + b"".join(b"X-%d: %s\r\n" % (number, b"y" * 140) for number in range(90))
    with RawClient(server.host, server.port) as client:
        for byte in head:
            client.send(bytes([byte]))
        client.send(b"\r\n")
        assert client.read_response().status in (101, 408)  # a slow machine does not get it all across
    assert server.cpu_s() - cpu < 1.5


def test_clients_that_come_and_go_leave_nothing(server: ServerProcess) -> None:
    descriptors = server.descriptors()
    for number in range(300):
        client = RawClient(server.host, server.port)
        client.send(HEAD[: number % len(HEAD)])
        if number % 2:
            client.reset()
        else:
            client.close()
    wait_until(lambda: server.descriptors() <= descriptors)


def test_more_silent_sockets_than_descriptors(server: ServerProcess) -> None:
    """Who is in is served, who comes is told or waits, and all is well when the silent ones are gone."""
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    cpu = server.cpu_s()
    with RawClient(server.host, server.port) as bystander:
        bystander.upgrade("/echo")
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.descriptors() + 50, limits[1]))
        try:
            silent = [RawClient(server.host, server.port) for _ in range(100)]
            with RawClient(server.host, server.port) as late:
                late.send(HEAD)
                assert late.read_response().status in (101, 503)
            bystander.send_text("?")
            assert bystander.read_message() == "?"
            for client in silent:
                with suppress(ConnectionError):
                    client.read_until_eof()
                client.close()
            with RawClient(server.host, server.port) as after:
                after.upgrade("/echo")
        finally:
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    assert server.cpu_s() - cpu < 1.0
