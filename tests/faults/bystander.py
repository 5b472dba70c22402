"""A process that has nothing to do: how late it answers is what the machine makes everybody wait."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from typing import Final

_PROGRAM: Final = """
import asyncio, sys

async def echo(reader, writer):
    while data := await reader.read(64):
        writer.write(data)

async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class Bystander:
    """Asks it again and again; `worst_s` is the longest that it took since `reset`."""

    def __init__(self, pause_s: float = 0.05) -> None:
        self.worst_s = 0.0
        self._pause_s = pause_s
        self._process: subprocess.Popen[str] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to ask."""
        self._process = subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port = int(await asyncio.to_thread(self._process.stdout.readline))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self._task = asyncio.create_task(self._ask(reader, writer))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(self._pause_s)
                begun_s = loop.time()
                writer.write(b"?")
                await reader.readexactly(1)
                self.worst_s = max(self.worst_s, loop.time() - begun_s)
        finally:
            writer.close()

    def reset(self) -> None:
        """Forget what was."""
        self.worst_s = 0.0

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
