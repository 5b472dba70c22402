"""Links do what they are told, or the faults would prove nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.faults.proxies import Island, Toxiproxy
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

QUIET_S = 0.3
"""Long enough for an answer where nothing holds it up."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=30)


def asks(sock: socket.socket, within_s: float = 30.0) -> bytes | None:
    """PING over it; None if nothing comes back in time."""
    sock.settimeout(within_s)
    sock.sendall(b"PING\r\n")
    try:
        return sock.recv(100)
    except TimeoutError:
        return None


def pings(island: Island) -> int:
    """How many have come to the server."""
    said = island.server.info("commandstats")["cmdstat_ping"]
    return int(said.partition("calls=")[2].partition(",")[0])


def test_a_proxy_is_cut_and_mended(redis: RedisServer) -> None:
    with Toxiproxy(redis.address, ["n1", "n2"]) as proxy:
        with closing(connect(proxy.ports["n1"])) as one, closing(connect(proxy.ports["n2"])) as other:
            assert asks(one) == asks(other) == b"+PONG\r\n"
            proxy.cut("n1")
            assert one.recv(100) == b""
            with pytest.raises(ConnectionRefusedError):
                connect(proxy.ports["n1"])
            assert asks(other) == b"+PONG\r\n"
        proxy.mend("n1")
        with closing(connect(proxy.ports["n1"])) as one:
            assert asks(one) == b"+PONG\r\n"


def test_a_black_hole(redis: RedisServer) -> None:
    with Toxiproxy(redis.address, ["n1"]) as proxy, closing(connect(proxy.ports["n1"])) as sock:
        assert asks(sock) == b"+PONG\r\n"
        proxy.poison("n1", "timeout", "downstream", timeout=0)
        assert asks(sock, QUIET_S) is None


@pytest.mark.parametrize(("says", "hears"), [(False, True), (True, False)])
def test_an_island_is_cut_in_one_direction(says: bool, hears: bool) -> None:
    with Island(["n1", "n2"]) as island:
        host, port = island.url("n1").removeprefix("redis://").removesuffix("/0").split(":")
        other_host = island.url("n2").removeprefix("redis://").partition(":")[0]
        with closing(connect(int(port), host)) as one, closing(connect(int(port), other_host)) as other:
            assert asks(one) == asks(other) == b"+PONG\r\n"
            before = pings(island)
            island.cut("n1", says=says, hears=hears)
            assert asks(one, QUIET_S) is None
            assert asks(other) == b"+PONG\r\n"
            wanted = before + (1 if says else 2)  # who was heard
            wait_until(lambda: pings(island) >= wanted)
            assert pings(island) == wanted
            island.mend()
            one.settimeout(30)
            assert one.recv(100) == b"+PONG\r\n"
