"""Binding: addresses, ports, options, Unix sockets, and errors that say what is wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastws.errors import StartError
from fastws.net.listener import USER_TIMEOUT_MS, bind_tcp, bind_unix, start_listening

from .serving import TRANSPORTS, Options, Server, run, serving, until, upgrade


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """Sockets to close after the test."""
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


def port_of(sock: socket.socket) -> int:
    port = sock.getsockname()[1]
    assert isinstance(port, int)
    return port


def test_any_free_port(opened: list[socket.socket]) -> None:
    opened += bind_tcp("127.0.0.1", 0)
    assert port_of(opened[0]) > 0
    assert not opened[0].getblocking()
    assert not opened[0].get_inheritable()


def test_every_address_of_a_name_has_one_port(opened: list[socket.socket]) -> None:
    opened += bind_tcp("localhost", 0)
    assert len({port_of(sock) for sock in opened}) == 1


def test_an_address_of_a_name_that_this_machine_does_not_have(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent, present = (socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0] for host in ("192.0.2.1", "127.0.0.1"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kinds: [absent, present])
    opened += bind_tcp("both.example", 0)
    assert [sock.getsockname()[0] for sock in opened] == ["127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kinds: [absent])
    with pytest.raises(StartError, match=r"cannot listen on absent\.example:0"):
        bind_tcp("absent.example", 0)


def test_what_can_be_no_name() -> None:
    with pytest.raises(StartError, match="no name of a host"):
        bind_tcp("a" * 70, 0)


def test_ipv6(opened: list[socket.socket]) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    opened += bind_tcp("::1", 0)
    assert opened[0].family == socket.AF_INET6


def test_only_those_who_share_an_address_may_bind_it_twice(opened: list[socket.socket]) -> None:
    opened += bind_tcp("127.0.0.1", 0, shared=True)
    port = port_of(opened[0])
    opened += bind_tcp("127.0.0.1", port, shared=True)
    for sock in opened:
        sock.listen()
    with pytest.raises(StartError, match="in use"):
        bind_tcp("127.0.0.1", port)


@pytest.mark.parametrize("keepalive", [True, False])
def test_options_for_the_connections(opened: list[socket.socket], keepalive: bool) -> None:
    opened += bind_tcp("127.0.0.1", 0, keepalive=keepalive)
    sock = opened[0]
    sock.listen()
    opened.append(socket.create_connection(sock.getsockname()))
    sock.setblocking(True)
    accepted, _ = sock.accept()
    opened.append(accepted)
    assert bool(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    assert bool(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is keepalive
    timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert timeout == (USER_TIMEOUT_MS if keepalive else 0)


def test_a_port_in_use(opened: list[socket.socket]) -> None:
    opened += bind_tcp("127.0.0.1", 0)
    opened[0].listen()
    port = port_of(opened[0])
    with pytest.raises(StartError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*in use"):
        bind_tcp("127.0.0.1", port)


def test_a_port_in_use_by_one_who_would_share_it(opened: list[socket.socket]) -> None:
    other = socket.socket()
    opened.append(other)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    other.bind(("127.0.0.1", 0))
    other.listen()
    with pytest.raises(StartError, match="in use"):
        bind_tcp("127.0.0.1", port_of(other))


def test_a_port_that_two_have_bound_at_once(opened: list[socket.socket]) -> None:
    opened += bind_tcp("127.0.0.1", 0)
    port = port_of(opened[0])
    opened += bind_tcp("127.0.0.1", port)
    start_listening(opened[0], 16)
    with pytest.raises(StartError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*in use"):
        start_listening(opened[1], 16)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_is_not_the_first_to_listen_says_so(transport: str, opened: list[socket.socket]) -> None:
    async def second() -> None:
        opened.extend(bind_tcp("127.0.0.1", 0))
        sock = bind_tcp("127.0.0.1", port_of(opened[0]))[0]
        opened[0].listen()
        server = Server(transport, Options())
        server.listeners.adopt(sock)
        try:
            with pytest.raises(StartError, match="in use"):
                await server.listeners.listen()
        finally:
            await server.listeners.close()

    run(transport, second)


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(StartError, match=r"cannot listen on no\.such\.host\.invalid"):
        bind_tcp("no.such.host.invalid", 0)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1:0"):
        bind_tcp("192.0.2.1", 0)


def test_a_unix_socket_that_a_dead_server_left(tmp_path: Path, opened: list[socket.socket]) -> None:
    place = str(tmp_path / "s")
    first = bind_unix(place)
    with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(place)
    first.close()
    opened.append(bind_unix(place))
    opened[0].listen()
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(place)


def test_a_unix_socket_in_use(tmp_path: Path, opened: list[socket.socket]) -> None:
    place = str(tmp_path / "s")
    opened.append(bind_unix(place))
    opened[0].listen()
    with pytest.raises(StartError, match="another server"):
        bind_unix(place)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(StartError, match="no socket"):
        bind_unix(str(tmp_path / "s"))
    assert (tmp_path / "s").read_text() == "precious"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No such file"):
        bind_unix(str(tmp_path / "none" / "s"))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_its_connections_are_known_until_they_are_gone(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": lambda conn, message: None}) as server:
            idle = await server.client()
            opened = await server.connect()
            await until(lambda: server.ingress.connections == 2)
            assert len(server.listeners.connections()) == 2
            assert [conn.path for conn in server.listeners.websockets()] == ["/echo"]
            await opened.close()
            await until(lambda: server.listeners.websockets() == [])
            await idle.close()
            await until(lambda: server.listeners.connections() == [])

    run(transport, test)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_left_is_reset(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": lambda conn, message: None}) as server:
            client = await server.connect()
            await server.listeners.close()
            with pytest.raises(ConnectionResetError):
                await client.rest()
            await until(lambda: server.ingress.connections == 0)
            await client.close()
            with pytest.raises(OSError, match=r"refused|Connect call failed"):
                await server.client()

    run(transport, test)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_another_process_goes_on_accepting_on_the_same_socket(transport: str) -> None:
    """Its place is taken here by a duplicate of the listening socket."""

    def echo(conn: Any, message: str) -> None:
        conn.send(message)

    async def test() -> None:
        async with serving(transport, raw={"/echo": echo}) as server:
            successor = server.listener.dup()
            try:
                stays = await server.connect()
                underway = await server.client()
                if transport != "tls":  # its handshake is done when the client is there
                    await until(lambda: server.ingress.connections == 2)
                await server.listeners.stop_accepting()
                waiting = socket.create_connection(("127.0.0.1", server.port))
                stays.send("still here")
                assert await stays.text() == "still here"
                underway.write(upgrade())
                assert (await underway.head()).status == 101
                accepted, address = await asyncio.get_running_loop().sock_accept(successor)
                assert address == waiting.getsockname()
                for sock in (accepted, waiting):
                    sock.close()
                for client in (stays, underway):
                    await client.close()
                await until(lambda: server.ingress.connections == 0)
            finally:
                successor.close()

    run(transport, test)
