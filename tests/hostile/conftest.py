"""One server for each module, and a look at it after every attack."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.frames import build_frame
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

LIMIT = 65_536
ECHO = """
from fastws import FastWS

app = FastWS()


@app.raw("/echo")
def echo(conn, message):
    conn.send(message)
"""

Connect = Callable[..., RawClient]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """An echo at /echo that takes up offers of deflate, with the default limits."""
    with ServerProcess("--deflate", "--ping-interval", "0", "--max-message-size", str(LIMIT), source=ECHO) as process:
        yield process


@pytest.fixture
def connect(server: ServerProcess) -> Iterator[Connect]:
    """Open connections to /echo; they are closed after the test."""
    clients: list[RawClient] = []

    def opened(extensions: str = "") -> RawClient:
        client = RawClient(server.host, server.port)
        clients.append(client)
        client.upgrade("/echo", [("Sec-WebSocket-Extensions", extensions)] if extensions else [])
        return client

    yield opened
    for client in clients:
        client.close()


@pytest.fixture(autouse=True)
def unharmed(server: ServerProcess) -> Iterator[None]:
    """Another connection works before and after, the same process serves it, and no descriptor is left behind."""
    with RawClient(server.host, server.port) as other:
        other.upgrade("/echo")
        before = server.descriptors()
        yield
        other.send_text("still here")
        assert other.read_message() == "still here"
        other.send(build_frame(9, b"alive"))
        assert other.read_frame().payload == b"alive"
        # What an attacker has left in the buffers of its socket is executed first; on Redis that are seconds.
        wait_until(lambda: server.descriptors() <= before, 60, what="the descriptors of the attackers are closed")
    assert server.process.poll() is None
    assert "Traceback" not in server.stderr()
