"""The application under load: echoes, open topics, and two bystanders that live on the server's own event loop.

`POST /bystander` with `{"port": ..., "pid": ...}` (of the process `bench.bystander.link`) starts the timer and the
link; `GET /bystander/delays` tells their delays since the last call.
"""

import asyncio
import time
from typing import Any, cast

from bench.bystander.probes import PERIOD_NS, PERIOD_S, Delays, OwnClock
from fastws import Connection, FastWS, HttpRequest

WORK_NS = 50_000

app = FastWS(namespaces={"default": {"subscribe": "all", "publish": "all"}})


@app.raw("/echo")
def echo(conn: Connection, message: str | bytes) -> None:
    """Send back what came."""
    conn.send(message)


@app.raw("/work")
def work(conn: Connection, message: str | bytes) -> None:
    """Compute for 50 microseconds, then send back what came."""
    end = time.monotonic_ns() + WORK_NS
    while time.monotonic_ns() < end:
        pass
    conn.send(message)


class Timer:
    """A timer of the loop: how much later than asked for it rings."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.delays = Delays()
        self._loop = loop
        self._clock = OwnClock()
        self._arm()

    def _arm(self) -> None:
        self._armed_own, self._armed_wall = self._clock.read()
        self._loop.call_later(PERIOD_S, self._ring)

    def _ring(self) -> None:
        own, wall = self._clock.read()
        self.delays.add(own - self._armed_own - PERIOD_NS, wall - self._armed_wall - PERIOD_NS)
        self._arm()


class Link(asyncio.Protocol):
    """A link on the loop's own transport: how long an answer takes. One question at a time, as many as the timer's.

    :param pid: the process at the other end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pid: int) -> None:
        self.delays = Delays()
        self._loop = loop
        self._clock = OwnClock([pid])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._asked_own, self._asked_wall = self._clock.read()
        self._transport.write(b"PING\r\n")

    def data_received(self, _: bytes) -> None:
        """Note how long it took, and ask again after a pause."""
        own, wall = self._clock.read()
        self.delays.add(own - self._asked_own, wall - self._asked_wall)
        self._loop.call_later(PERIOD_S, self._ask)


class Bystanders:
    """Both, once they were started."""

    timer: Timer | None = None
    link: Link | None = None


@app.http("/bystander", methods=["POST"])
async def start(request: HttpRequest) -> dict[str, bool]:
    """Start both."""
    link = request.json()
    loop = asyncio.get_running_loop()
    _, Bystanders.link = await loop.create_connection(lambda: Link(loop, link["pid"]), "127.0.0.1", link["port"])
    Bystanders.timer = Timer(loop)
    return {"started": True}


@app.http("/bystander/delays")
def delays(_: HttpRequest) -> dict[str, dict[str, Any]]:
    """The delays since the last call."""
    assert Bystanders.timer is not None
    assert Bystanders.link is not None
    return {"timer": Bystanders.timer.delays.take(), "link": Bystanders.link.delays.take()}
