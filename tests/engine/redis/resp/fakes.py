"""A server that says whatever a test wants, and a link to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

import hiredis

from fastws.engine.redis.resp.address import Address
from fastws.engine.redis.resp.link import DEFAULT_TUNING, Link, LinkOwner, Tuning

Answering = Callable[[list[bytes]], bytes | None]

HELLO = b"%1\r\n$5\r\nproto\r\n:3\r\n"


def politely(words: list[bytes]) -> bytes:
    """As Redis would answer, as far as a link asks by itself."""
    match words[0].upper():
        case b"HELLO":
            return HELLO
        case b"PING":
            return b"+PONG\r\n"
    return b"+OK\r\n"


class FakeServer:
    """Listens on loopback, as an asynchronous context. `answer` makes each answer; None says nothing."""

    def __init__(self, answer: Answering = politely, greeting: bytes = b"") -> None:
        """`greeting` is said to everybody who connects."""
        self.answer = answer
        self.greeting = greeting
        self.commands: list[list[bytes]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> Address:
        host, port = self._server.sockets[0].getsockname()
        return Address(host, port)

    def say(self, data: bytes) -> None:
        """To everybody who is connected."""
        for writer in self.writers:
            writer.write(data)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.writers.append(writer)
        writer.write(self.greeting)
        parser = hiredis.Reader()
        try:
            while data := await reader.read(65536):
                parser.feed(data)
                while (words := parser.gets()) is not False:
                    self.commands.append(words)
                    said = self.answer(words)
                    if said:
                        writer.write(said)
        except ConnectionError:
            pass
        finally:
            writer.close()
            self._tasks.discard(task)


class Recorder(LinkOwner):
    """What a link tells its owner."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.pushes: list[list[Any]] = []
        self.reasons: list[str] = []
        self.changed = asyncio.Event()

    def on_message(self, channel: bytes, payload: bytes) -> None:
        self.messages.append((channel, payload))
        self.changed.set()

    def on_push(self, kind: bytes, push: list[Any]) -> None:
        assert kind == push[0]
        self.pushes.append(push)
        self.changed.set()

    def on_lost(self, link: Link, reason: str) -> None:
        assert not link.is_open
        self.reasons.append(reason)
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to be told."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()


class Nowhere(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_aborted = False
        self.reads = True

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def pause_reading(self) -> None:
        assert self.reads
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.reads
        self.reads = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


def link_to_nothing(owner: LinkOwner, tuning: Tuning = DEFAULT_TUNING, *, hears: bool = False) -> tuple[Link, Nowhere]:
    """A link whose other end is the test. The loop has to run."""
    link, transport = Link(tuning, hears=hears), Nowhere()
    link.connection_made(transport)
    link.own(owner)
    return link, transport
