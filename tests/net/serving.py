"""A server on real sockets inside the test's own loop, over each kind of transport, and a client that knows no
better.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import uvloop

from fastws.core.deflate import compress
from fastws.core.law import Law
from fastws.core.upgrade import UpgradeRules
from fastws.net.admission import Admission
from fastws.net.http import Site, SocketPath
from fastws.net.ingress import Ingress
from fastws.net.listener import Listeners, bind_tcp, bind_unix
from fastws.net.raw import MessageRunner, RawRunner, StreamRunner
from fastws.net.tls.context import server_context
from fastws_ext.endpoint import Endpoint
from fastws_ext.loop_data import LoopData
from tests.support.certificates import self_signed

TRANSPORTS = ("reactor", "uvloop", "asyncio", "tls")
TLS_TRANSPORTS = ("tls", "tls on asyncio")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
PATIENCE_S = 30.0


def run(transport: str, test: Callable[[], Awaitable[None]], within_s: float = 3 * PATIENCE_S) -> None:
    """Run `test` on the loop that belongs to `transport`, for at most so many seconds."""
    factory = asyncio.new_event_loop if transport.endswith("asyncio") else uvloop.new_event_loop

    async def main() -> None:
        async with asyncio.timeout(within_s):
            await test()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Those of a server and of a client that trusts it."""
    with tempfile.TemporaryDirectory(prefix="fastws-test-") as directory:
        certificate = self_signed(Path(directory))
        server = server_context(certificate.certfile, certificate.keyfile)
        return server, ssl.create_default_context(cafile=certificate.certfile)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is bound to happen."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)


@dataclass
class Answer:
    """What came back to a request."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One socket to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> Answer:
        """The status line and the headers of an answer."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.split(": ", 1) for line in lines)
        return Answer(int(first.split(" ")[1]), {name.lower(): value for name, value in pairs})

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    async def answer(self) -> Answer:
        """A whole answer; the server closes after it."""
        answer = await self.head()
        answer.body = await self.rest()
        return answer

    def send(self, message: str | bytes) -> None:
        data = message.encode() if isinstance(message, str) else message
        self.frame(1 if isinstance(message, str) else 2, data)

    def frame(self, opcode: int, payload: bytes = b"", fin: bool = True) -> None:
        self.write(frame(opcode, payload, fin))

    async def receive(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame."""
        async with asyncio.timeout(PATIENCE_S):
            first, second = await self.reader.readexactly(2)
            length = second & 127
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(length)

    async def text(self) -> str:
        opcode, payload = await self.receive()
        assert opcode == 1, (opcode, payload)
        return payload.decode()

    async def closed(self) -> tuple[int, str]:
        """(code, reason) of the server's close frame, answered; frames before it are skipped."""
        while True:
            opcode, payload = await self.receive()
            if opcode == 8:
                self.frame(8, payload[:2])
                return (int.from_bytes(payload[:2]), payload[2:].decode()) if payload else (1005, "")

    def abort(self) -> None:
        """Go away with a reset."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:  # of TLS: gone when the server was first
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


def frame(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    """One masked frame as clients send it."""
    key = os.urandom(4)
    length = len(payload)
    if length < 126:
        size = bytes([128 | length])
    elif length < 65536:
        size = bytes([128 | 126]) + struct.pack("!H", length)
    else:
        size = bytes([128 | 127]) + struct.pack("!Q", length)
    mask = (key * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(length)
    return bytes([opcode | (128 if fin else 0)]) + size + key + masked


def upgrade(path: str = "/echo", *, without: tuple[str, ...] = (), **headers: str | None) -> bytes:
    """An upgrade request; keywords replace or add headers (`_` for `-`)."""
    wanted: dict[str, str | None] = {
        "Host": "example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    for name, value in headers.items():
        dashed = name.replace("_", "-")
        wanted = {own: old for own, old in wanted.items() if own.lower() != dashed.lower()}
        wanted[dashed] = value
    lines = [f"{name}: {value}" for name, value in wanted.items() if value is not None and name not in without]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


@dataclass
class Options:
    """How the server of a test is set up."""

    raw: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    streams: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    runner_options: Mapping[str, Any] = field(default_factory=dict)
    site: Mapping[str, Any] = field(default_factory=dict)
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    rules: UpgradeRules = field(default_factory=UpgradeRules)
    admission: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 5
    uds: Path | None = None


class Server:
    """The parts of a worker that are below the gateway."""

    def __init__(self, transport: str, options: Options) -> None:
        loop = asyncio.get_running_loop()
        self.loop_data = LoopData(loop)
        self.runners: dict[str, RawRunner] = {}
        self.endpoints: dict[str, Endpoint] = {}
        sockets: dict[bytes, SocketPath] = {}
        kinds = [(MessageRunner, options.raw), (StreamRunner, options.streams)]
        for kind, handlers in kinds:
            for path, handler in handlers.items():
                runner = self.runners[path] = kind(loop, handler, **options.runner_options)
                given = {"law_factory": Law, "compress": compress, **runner.callbacks(), **options.endpoint}
                endpoint = self.endpoints[path] = Endpoint(self.loop_data, path, **given)
                wants = runner.wants_session
                sockets[path.encode()] = SocketPath(endpoint, options.rules, wants, is_common=not wants)
        self.admission = Admission(**options.admission)
        site = Site(sockets=sockets, **options.site)
        self.ingress = Ingress(self.loop_data, loop, site, self.admission, timeout_s=options.timeout_s)
        self.tls = transport.startswith("tls")
        self.listeners = Listeners(
            loop,
            self.loop_data,
            self.ingress,
            backlog=100,
            through_reactor=transport == "reactor",
            tls=tls_contexts()[0] if self.tls else None,
            handshake_timeout_s=options.timeout_s,
        )
        self.uds = options.uds
        self.port = 0

    async def start(self) -> None:
        if self.uds is not None:
            self.listeners.adopt(bind_unix(str(self.uds)))
        else:
            self.listener = bind_tcp("127.0.0.1", 0)[0]
            self.port = self.listener.getsockname()[1]
            self.listeners.adopt(self.listener)
        self.loop_data.start()
        await self.listeners.listen()

    async def stop(self) -> None:
        await self.listeners.close()
        self.ingress.close()
        tasks = [task for runner in self.runners.values() for task in runner.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.loop_data.stop()

    async def client(self) -> Client:
        """A connected socket."""
        context = tls_contexts()[1] if self.tls else None
        name = "localhost" if self.tls else None
        if self.uds is not None:
            opened = asyncio.open_unix_connection(str(self.uds), ssl=context, server_hostname=name)
        else:
            opened = asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)
        async with asyncio.timeout(PATIENCE_S):
            return Client(*await opened)

    async def connect(self, path: str = "/echo", **headers: str | None) -> Client:
        """A WebSocket."""
        client = await self.client()
        client.write(upgrade(path, **headers))
        answer = await client.head()
        assert answer.status == 101, (answer, await client.rest())
        return client

    async def ask(self, request: bytes) -> Answer:
        """The answer to a request on a connection of its own."""
        client = await self.client()
        client.write(request)
        answer = await client.answer()
        await client.close()
        return answer


@asynccontextmanager
async def serving(transport: str, **options: Any) -> AsyncIterator[Server]:
    """A server for the time of the block."""
    server = Server(transport, Options(**options))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
