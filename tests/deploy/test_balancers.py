"""Two nodes behind a real HAProxy and a real nginx: clients are spread, and moved without being refused."""

from __future__ import annotations

import asyncio
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from fastws.config import Settings
from tests.deploy.balancers import DEPLOY, Balancer
from tests.deploy.visitors import Visits
from tests.support.raw_client import RawClient
from tests.support.redis import RedisServer, free_port
from tests.support.server import ServerProcess

KINDS = ("haproxy", "nginx")
MANY = 20


@contextmanager
def node(redis: RedisServer, name: str, port: int) -> Iterator[ServerProcess]:
    """A node that may be killed, on a port that its load balancer knows."""
    server = ServerProcess("--redis", redis.url, "--node-name", name, "--port", str(port), "--drain-timeout", "2")
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_refused_while_nodes_drain_die_and_come_back(kind: str) -> None:
    ports = {"a": free_port(), "b": free_port()}
    with (
        RedisServer() as redis,
        node(redis, "a", ports["a"]) as a,
        node(redis, "b", ports["b"]) as b,
        Balancer(kind, list(ports.values())) as balancer,
    ):
        asyncio.run(_moves(f"ws://127.0.0.1:{balancer.port}/ws", redis, ports["a"], a, b))


async def _moves(url: str, redis: RedisServer, port: int, a: ServerProcess, b: ServerProcess) -> None:
    async with Visits(url) as visits:
        await visits.add(MANY)
        assert visits.at("a")
        assert visits.at("b")

        a.signal(signal.SIGTERM)
        while a.process.poll() is None:
            await visits.add()  # newcomers are welcomed at once, whoever is asked first
            await asyncio.sleep(0.02)
        assert a.process.poll() == 0
        everybody = len(visits.where.keys() | set(range(MANY)))
        await visits.until(lambda: visits.at("b") == everybody)
        assert set(visits.codes) == {1012}
        assert not visits.refused

        with node(redis, "a", port):
            while not visits.at("a"):
                await visits.add()
                await asyncio.sleep(0.02)
            everybody = len(visits.where)
            b.process.kill()
            await visits.until(lambda: visits.at("a") == everybody)
    assert not visits.refused
    assert set(visits.codes) == {1012, 1006}


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_know_where_clients_are_from(kind: str) -> None:
    """By the last address that is nobody's who may be trusted; a page may connect to where it is from."""
    app = """
from fastws import Connection, FastWS
app = FastWS()

@app.raw("/where")
def where(conn: Connection, message: str) -> None:
    conn.send(conn.remote[0])
"""
    ports = [free_port(), free_port()]
    with ServerProcess("--port", str(ports[0]), source=app), Balancer(kind, ports) as balancer:

        async def ask() -> str:
            headers = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}
            origin = f"http://127.0.0.1:{balancer.port}"
            url = f"ws://127.0.0.1:{balancer.port}/where"
            async with connect(url, additional_headers=headers, origin=origin, proxy=None) as socket:  # type: ignore[arg-type]
                await socket.send("?")
                return str(await socket.recv())

        assert asyncio.run(ask()) == "203.0.113.9"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_posted_is_done_once(kind: str, tmp_path: Path) -> None:
    """Also if the node dies before it answers: nobody knows then whether it has been done."""
    orders = tmp_path / "orders"
    app = f"""
import os
from fastws import FastWS, HttpRequest
app = FastWS()

@app.http("/order", methods=("POST",))
def order(request: HttpRequest) -> None:
    with open({str(orders)!r}, "a") as file:
        file.write("one\\n")
    os._exit(1)
"""
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        for port in ports:
            server = ServerProcess("--port", str(port), source=app)
            stack.callback(server.kill)
            server.start()
        balancer = stack.enter_context(Balancer(kind, ports))
        with RawClient("127.0.0.1", balancer.port) as client:
            client.send(b"POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntea")
            assert client.read_response().status == 502
    assert orders.read_text() == "one\n"


@pytest.mark.parametrize("kind", KINDS)
def test_who_finds_no_node_is_told_so(kind: str) -> None:
    ports = [free_port(), free_port()]
    with Balancer(kind, ports) as balancer:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{balancer.port}/", timeout=10)
        assert refused.value.code in {502, 503}
        refused.value.close()


@pytest.mark.parametrize(
    ("file", "setting"), [("haproxy/haproxy.cfg", "timeout tunnel"), ("nginx/fastws.conf", "proxy_read_timeout")]
)
def test_proxies_wait_for_longer_than_pings_take(file: str, setting: str) -> None:
    text = (DEPLOY / file).read_text(encoding="utf-8")
    found = re.search(rf"^ *{setting} (\d+)s", text, re.MULTILINE)
    assert found is not None
    defaults = Settings()
    assert int(found[1]) > defaults.ping_interval + defaults.ping_timeout
