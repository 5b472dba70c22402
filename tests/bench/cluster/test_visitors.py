"""Clients that stay or come and go, at a server that is told to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from bench.cluster.visitors import Visitors
from tests.support.server import ServerProcess

pytestmark = pytest.mark.asyncio

APP = """
from fastws import FastWS
app = FastWS()

@app.raw("/echo")
def echo(conn, message):
    conn.send(message)
"""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_they_are_served_and_moved() -> None:
    with ServerProcess("--drain-timeout", "60", "--drain-rate", "20", source=APP) as server:
        async with Visitors(server.port, 20, 2) as visitors:
            await until(lambda: visitors.here == 20 and visitors.outcomes["served"] > 20)
            assert visitors.troubles == {}
            assert 0 < visitors.longest_s < 30
            visitors.forget()
            assert not visitors.outcomes
            server.signal(signal.SIGTERM)
            await until(lambda: visitors.outcomes["moved"] >= 20 and bool(visitors.troubles))
            assert await asyncio.to_thread(server.wait, 30) == 0
    # Nobody is there any longer: refused while it drained, and not connected after that.
    assert all(name.startswith(("status 503", "not connected", "reset", "cut off")) for name in visitors.troubles)


async def test_what_goes_wrong_is_written_down() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.transport.abort()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    for handler, expected in ((reset, "before the 101"), (refuse, "status 429")):
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server, Visitors(server.sockets[0].getsockname()[1], 1, 0) as visitors:
            await until(lambda visitors=visitors: bool(visitors.outcomes))  # type: ignore[misc]
            assert all(expected in name for name in visitors.troubles)
