"""When the kernel says no: descriptors run out, calls are interrupted, clients vanish before they are accepted."""

import os
import resource
import socket
import time

import pytest

from tests.fastws_ext.harness import Client, Server, serving, turns, upgrade_request
from tests.fastws_ext.own_process import in_own_process, traced
from tests.support.frames import TEXT
from tests.support.raw_client import RawClient


def use_up_descriptors() -> list[int]:
    """Leave this process no descriptor; closing one of those returned gives it one."""
    highest = os.open(os.devnull, os.O_RDONLY)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    fillers = [highest]
    while True:
        try:
            fillers.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return fillers


def new_socket() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    return sock


async def refused(server: Server, sock: socket.socket) -> None:
    """Connect, and be told politely that there is no room."""
    client = Client(sock)
    await server.loop.sock_connect(sock, server.address)
    status, headers = await client.read_response()
    assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
    assert await client.ending() == "fin"
    sock.close()


@in_own_process
async def test_without_descriptors_clients_are_told_and_those_who_are_here_are_served() -> None:
    async with serving("reactor") as server:
        here = await server.connect()
        sockets = [new_socket() for _ in range(4)]
        fillers = use_up_descriptors()
        for number, sock in enumerate(sockets[:3]):
            await refused(server, sock)
            fillers.append(os.open(os.devnull, os.O_RDONLY))  # the one that its socket had
            assert server.reactor.refused_descriptors == number + 1
            await here.send_frame(TEXT, b"still served")
            assert await here.read_message() == "still served"
        os.close(fillers.pop())
        client = Client(sockets[3])
        await server.loop.sock_connect(sockets[3], server.address)
        await client.send(upgrade_request())
        assert (await client.read_response())[0] == 101
        for filler in fillers:
            os.close(filler)
        sockets[3].close()


@in_own_process
async def test_without_descriptors_the_listener_is_left_alone_until_a_connection_closes() -> None:
    async with serving("reactor") as server:
        here = await server.connect()
        sockets = [new_socket() for _ in range(2)]
        fillers = use_up_descriptors()
        await refused(server, sockets[0])
        fillers.append(os.open(os.devnull, os.O_RDONLY))
        client = Client(sockets[1])
        await server.loop.sock_connect(sockets[1], server.address)
        waits, count = server.reactor.waits, server.reactor.refused_descriptors
        await turns(50)
        assert server.reactor.waits - waits <= 5  # with a listener in epoll that nobody accepts from, every turn
        client.send_now(upgrade_request())
        here.shutdown_write()
        for _ in range(100):  # turns take no time, the timer would take a tenth of a second
            await turns(1)
            if server.reactor.accepted == 2:
                break
        assert (server.reactor.accepted, server.reactor.refused_descriptors) == (2, count)
        assert (await client.read_response())[0] == 101
        for filler in fillers:
            os.close(filler)
        sockets[1].close()


# What strace has the kernel say


def talk(address: tuple[str, int], text: str) -> None:
    """Connect and be echoed."""
    with RawClient(*address) as client:
        client.upgrade()
        client.send_text(text)
        assert client.read_message() == text


@pytest.mark.parametrize(
    ("on_accept", "on_receive", "on_send"),
    [
        ("EINTR", "EINTR", "EINTR"),
        ("EAGAIN", "EAGAIN", "EAGAIN"),
        ("ECONNABORTED", "EINTR", "ENOBUFS"),
        ("EPROTO", "EAGAIN", "ENOMEM"),
    ],
)
def test_what_passes_is_tried_again(on_accept: str, on_receive: str, on_send: str) -> None:
    injected = (
        f"inject=accept4:error={on_accept}:when=1",
        f"inject=recvfrom:error={on_receive}:when=2",
        f"inject=sendto:error={on_send}:when=2",
    )
    with traced("trace=accept4,recvfrom,sendto", *injected) as server:
        talk(server.address, "first")
        talk(server.address, "second")
    assert sum("(INJECTED)" in call for call in server.calls) == 3


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE"])
def test_a_client_that_cannot_be_accepted_is_told_to_come_back(error: str) -> None:
    with traced("trace=accept4", f"inject=accept4:error={error}:when=1") as server:
        with RawClient(*server.address) as client:
            response = client.read_response()
            assert (response.status, response.headers["retry-after"]) == (503, "1")
            assert client.ending() == "fin"
        talk(server.address, "later")


@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM"])
def test_accepting_that_fails_again_and_again_is_tried_each_tenth_of_a_second(error: str) -> None:
    with traced("trace=accept4", f"inject=accept4:error={error}:when=1..6") as server:
        begun = time.monotonic()
        talk(server.address, "patience")
        assert time.monotonic() - begun >= 0.2
    assert sum("(INJECTED)" in call for call in server.calls) == 6
