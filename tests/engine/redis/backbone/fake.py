"""Servers that say of themselves what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from hiredis import Reader

Answer = Callable[[Sequence[bytes]], bytes]
"""From the words of a command to what is sent for it; `SILENT` is nothing."""

SILENT: Final = b""
OK: Final = b"+OK\r\n"


def bulks(*words: object) -> bytes:
    """A list of strings, as Redis answers it; None is no string."""
    return b"*%d\r\n" % len(words) + b"".join(_bulk(word) for word in words)


def _bulk(word: object) -> bytes:
    if word is None:
        return b"$-1\r\n"
    text = str(word).encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)


class FakeServer:
    """As a context: listens on a port of loopback and answers what `answer` says, HELLO and PING by itself."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.port = 0
        self.asked: list[Sequence[bytes]] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        await self._server.wait_closed()

    def say(self, data: bytes) -> None:
        """To everybody who is connected."""
        for writer in self._writers:
            writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        commands: Any = Reader()
        with suppress(OSError):
            while data := await reader.read(65536):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    self.asked.append(command)
                    writer.write(self._answer_to(command))
        self._writers.discard(writer)
        writer.close()

    def _answer_to(self, command: Sequence[bytes]) -> bytes:
        if command[0] == b"HELLO":
            return b"%1\r\n$5\r\nproto\r\n:3\r\n"
        if command[0] == b"PING":
            return b"+PONG\r\n"
        return self.answer(command)


class FakeSentinel(FakeServer):
    """Names what it is told to name."""

    def __init__(self, epoch: object, port: object, host: object = "127.0.0.1") -> None:
        super().__init__(self._say)
        self.epoch = epoch
        self.host = host
        self.named = port

    def _say(self, words: Sequence[bytes]) -> bytes:
        if words[0] == b"SUBSCRIBE":
            return SILENT
        if words[1] == b"MASTER":
            return bulks("name", words[2].decode(), "config-epoch", self.epoch)
        return bulks(self.host, self.named)

    def switch(self, epoch: int, port: int) -> None:
        """Name another one, and say so."""
        self.epoch = epoch
        self.named = port
        self.say(b">3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (b"message", b"+switch-master", b"m")))
