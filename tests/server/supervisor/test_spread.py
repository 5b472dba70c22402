"""A rolling restart under load: nobody is reset, and in the end all workers have about as many connections."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.server.supervisor.test_renewal import application, renewable
from tests.server.supervisor.workers import told
from tests.support.frames import CLOSE, TEXT, build_frame
from tests.support.server import ServerProcess

WORKERS = 4
STAYING = 320
COMING_AND_GOING = 6


class Crowd:
    """Clients that stay, and come back when they are told to; others that come and go all the time."""

    def __init__(self, server: ServerProcess) -> None:
        self.here: Counter[str] = Counter()
        """Of those that stay, by the process that serves them."""
        self.served = 0
        self.moved = 0
        self.problems: Counter[str] = Counter()
        self._server = server

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(self._server.host, self._server.port)
        try:
            await self.upgrade(reader, writer)
            yield reader, writer
        finally:
            writer.close()

    async def upgrade(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = ["GET /echo HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", ""]
        writer.write("\r\n".join(lines).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        writer.write(build_frame(TEXT, b"who"))

    async def hear(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        first, size = await reader.readexactly(2)
        return first & 15, await reader.readexactly(size)

    async def stay(self) -> None:
        while True:
            retry_s = await self.stay_until_told()
            await asyncio.sleep(retry_s)

    async def stay_until_told(self) -> float:
        process = ""
        try:
            async with self.connected() as (reader, writer):
                while True:
                    opcode, payload = await self.hear(reader)
                    if opcode == CLOSE:
                        break
                    process = payload.split()[0].decode()
                    self.here[process] += 1
                writer.write(build_frame(CLOSE, payload[:2]))
                self.moved += 1
        except (OSError, EOFError) as error:
            self.problems[f"{type(error).__name__} of one who stays"] += 1
            return 1
        finally:
            if process:
                self.here[process] -= 1
        pause = re.search(rb"retry_ms=(\d+)", payload)
        assert pause is not None, payload
        return int(pause[1]) / 1000

    async def come_and_go(self) -> None:
        while True:
            try:
                async with self.connected() as (reader, writer):
                    opcode, _ = await self.hear(reader)
                    self.served += opcode == TEXT
                    writer.write(build_frame(CLOSE, b"\x03\xe8"))
                    while opcode != CLOSE:
                        opcode, _ = await self.hear(reader)
            except (OSError, EOFError) as error:
                self.problems[f"{type(error).__name__} of one who goes"] += 1

    async def until_here(self) -> None:
        async with asyncio.timeout(60):
            while sum(self.here.values()) < STAYING:
                await asyncio.sleep(0.05)

    def imbalance(self) -> float:
        return max(self.here.values()) * WORKERS / sum(self.here.values())


def test_a_rolling_restart_under_a_storm(tmp_path: Path) -> None:
    async def test(server: ServerProcess) -> None:
        crowd = Crowd(server)
        tasks = [asyncio.create_task(crowd.stay()) for _ in range(STAYING)]
        await crowd.until_here()
        tasks += [asyncio.create_task(crowd.come_and_go()) for _ in range(COMING_AND_GOING)]
        server.signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            while not told(server, "all workers have been replaced"):
                await asyncio.sleep(0.2)
        await crowd.until_here()
        imbalance = crowd.imbalance()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
        print(f"max/mean {imbalance:.2f}, moved {crowd.moved}, served meanwhile {crowd.served}")
        assert crowd.problems == {}
        assert crowd.moved >= STAYING
        assert crowd.served > 100
        assert imbalance <= 1.2

    with renewable(tmp_path, workers=WORKERS) as server:
        application(tmp_path, "two")
        asyncio.run(test(server))
