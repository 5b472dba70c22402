"""An endpoint on real sockets inside the test's own event loop, over each kind of transport, and a client that may say
anything.

::

    @every_transport
    async def test_echo(transport: str) -> None:
        async with serving(transport) as server:
            client = await server.connect()
            await client.send_frame(TEXT, b"hi")
            assert await client.read_message() == "hi"

    @on_reactor
    async def test_something_of_the_reactor() -> None:
        async with serving("reactor") as server:
            assert server.reactor.connections() == []
"""

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from fastws.core.deflate import compress, inflate
from fastws.core.law import Law
from fastws_ext.endpoint import Endpoint
from fastws_ext.handshake import FastIngress
from fastws_ext.loop_data import LoopData
from fastws_ext.reactor import Reactor
from fastws_ext.wire import Wire
from tests.fastws_ext.client import ANSWERS, PATIENCE_S, STREAM, Client, turns, upgrade_request

__all__ = [
    "ANSWERS",
    "CLOSED",
    "CLOSING",
    "DROPPED",
    "GONE",
    "HANDSHAKING",
    "LINGERING",
    "OPEN",
    "PATIENCE_S",
    "QUEUED",
    "SENT",
    "STREAM",
    "TRANSPORTS",
    "Client",
    "Server",
    "agree_to_deflate",
    "every_transport",
    "on_reactor",
    "over",
    "run",
    "serving",
    "turns",
    "until",
    "upgrade_request",
]

TRANSPORTS = ("reactor", "uvloop", "asyncio")
TEST_S = 30.0
HANDSHAKING, OPEN, CLOSING, LINGERING, CLOSED = range(5)  # Wire.state
SENT, QUEUED, DROPPED, GONE = range(4)  # results of Wire.send

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


def run(transport: str, test: Callable[[], Awaitable[None]]) -> None:
    """Run `test` on a new loop of the kind that belongs to `transport`."""
    factory = asyncio.new_event_loop if transport == "asyncio" else uvloop.new_event_loop

    async def main() -> None:
        async with asyncio.timeout(TEST_S):
            await test()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def over(*transports: str) -> Callable[[AsyncTest], Callable[..., None]]:
    """Make a test of a coroutine function whose parameter `transport` takes each of `transports`."""

    def decorate(test: AsyncTest) -> Callable[..., None]:
        @functools.wraps(test)
        def run_test(**arguments: Any) -> None:
            run(arguments["transport"], functools.partial(test, **arguments))

        decorated: Callable[..., None] = pytest.mark.parametrize("transport", transports)(run_test)
        return decorated

    return decorate


every_transport = over(*TRANSPORTS)


def on_reactor(test: AsyncTest) -> Callable[..., None]:
    """Make a test of a coroutine function: it runs on uvloop, where the reactor lives."""

    @functools.wraps(test)
    def run_test(**arguments: Any) -> None:
        run("reactor", functools.partial(test, **arguments))

    return run_test


async def until(condition: Callable[[], Any], what: str = "") -> None:
    """Let the loop turn until `condition` holds.

    :raises AssertionError: it did not within PATIENCE_S.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"never happened: {what or getattr(condition, '__name__', 'condition')}") from None


class RecordingIngress(FastIngress):
    """Leaves every uncommon request to the test, and counts."""

    def __init__(self, server: "Server", handshake_timeout: float) -> None:
        super().__init__(server.loop_data, handshake_timeout=handshake_timeout)
        self.server = server
        self.lost = 0
        self.released = 0

    def on_request(self, conn: Any, data: bytes) -> None:
        """Hand over to `server.on_request`."""
        self.server.requests.append(data)
        self.server.on_request(conn, data)

    def on_handshake_timeout(self, conn: Any) -> bool | None:
        """Hand over to `server.on_handshake_timeout`."""
        granted: bool | None = self.server.on_handshake_timeout(conn)
        return granted

    def on_lost(self, conn: Any) -> None:
        """Count."""
        self.lost += 1

    def on_released(self, conn: Any) -> None:
        """Count."""
        self.released += 1


def bad_request(conn: Any, data: bytes) -> None:
    """What answers an uncommon request unless the test says otherwise."""
    conn.respond(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


def echo(conn: Any, message: str | bytes) -> None:
    """The usual on_message."""
    conn.send(message)


class Server:
    """One endpoint at /ws and the sockets it is served on, all in the running loop. Made by `serving`."""

    def __init__(
        self,
        transport: str,
        *,
        handshake_timeout: float = 5.0,
        connection_class: Callable[[Any], Any] = Wire,
        listener_options: tuple[tuple[int, int, int], ...] = (),
        keep: bool = True,
        loop: Any = None,
        started: bool = True,
        **options: Any,
    ) -> None:
        self.transport = transport
        self.loop: Any = asyncio.get_running_loop()
        self.loop_data = LoopData(loop or self.loop)
        self.started = started
        self.connection_class = connection_class
        self.listener_options = listener_options
        self.keep = keep
        self.conns: list[Any] = []  # every connection that was opened, in order (unless `keep` is off)
        self.messages: list[str | bytes] = []  # every message received, in order (unless `keep` is off)
        self.closes: list[tuple[int, str]] = []  # what on_close was told
        self.errors: list[tuple[str, BaseException]] = []  # what on_error was told: (where, error)
        self.results: list[Any] = []  # what on_result was given
        self.drained: list[Any] = []  # connections that on_drain was called for
        self.deadlines: list[Any] = []  # connections that on_deadline was called for
        self.internal: list[dict[str, Any]] = []  # contexts of the loop's exception handler; has to be empty at the end
        self.requests: list[bytes] = []  # what on_request was asked about
        self.on_request: Callable[[Any, bytes], Any] = bad_request
        self.on_handshake_timeout: Callable[[Any], Any] = lambda conn: None
        self.options = options
        self.endpoint = self.new_endpoint("/ws", **options)
        self.ingress = RecordingIngress(self, handshake_timeout)
        self.ingress.routes[b"/ws"] = self.endpoint
        self.clients: list[Client] = []
        self.reactor: Any = None
        self._server: Any = None
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        for level, name, value in listener_options:
            self.socket.setsockopt(level, name, value)
        self.address = self.socket.getsockname()

    def new_endpoint(self, path: str, **options: Any) -> Endpoint:
        """An endpoint whose callbacks are recorded, then handed on to those in `options`; on_message echoes."""
        given = {"law_factory": Law, "compress": compress, "inflate": inflate, "ping_interval": 0.0, **options}
        on_open, on_message = options.get("on_open"), options.get("on_message", echo)
        on_close, on_error = options.get("on_close"), options.get("on_error")

        def opened(conn: Any) -> Any:
            if self.keep:
                self.conns.append(conn)
            return on_open(conn) if on_open else None

        def received(conn: Any, message: str | bytes) -> Any:
            if self.keep:
                self.messages.append(message)
            return on_message(conn, message)

        def closed(conn: Any, code: int, reason: str) -> Any:
            self.closes.append((code, reason))
            return on_close(conn, code, reason) if on_close else None

        def failed(conn: Any, error: BaseException, where: str) -> None:
            self.errors.append((where, error))
            if on_error:
                on_error(conn, error, where)

        given |= {"on_open": opened, "on_message": received, "on_close": closed, "on_error": failed}
        given.setdefault("on_result", lambda conn, result: self.results.append(result))
        given.setdefault("on_drain", self.drained.append)
        given.setdefault("on_deadline", self.deadlines.append)
        return Endpoint(self.loop_data, path, **given)

    async def start(self) -> None:
        """Serve."""
        self.loop.set_exception_handler(lambda loop, context: self.internal.append(context))
        if self.started:
            self.loop_data.start()
        if self.transport == "reactor":
            self.reactor = Reactor(self.loop_data, self.connection_class, self.ingress)
            self.reactor.listen(self.socket)
        else:
            self._server = await self.loop.create_server(
                lambda: self.connection_class(self.ingress), sock=self.socket, backlog=512
            )

    async def stop(self) -> None:
        """Close every client and end what is left of the server."""
        for client in self.clients:
            client.close()
        if self.reactor is not None:
            self.reactor.close()
        else:
            self._server.close()
            for conn in self.conns:
                conn.abort()
            await until(lambda: not self.ingress.connections, "sockets of the loop's transports are closed")
            await turns(5)
        self.loop_data.stop()
        self.socket.close()

    async def client(self, *, receive_buffer: int | None = None, send_buffer: int | None = None) -> Client:
        """A TCP connection that has not said anything. Buffers: SO_RCVBUF and SO_SNDBUF in bytes."""
        sock = socket.socket()
        sock.setblocking(False)
        client = Client(sock)
        self.clients.append(client)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        async with asyncio.timeout(PATIENCE_S):
            await self.loop.sock_connect(sock, self.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    async def connect(self, path: str = "/ws", *, pipelined: bytes = b"", **buffers: int | None) -> Client:
        """An upgraded connection; `pipelined` bytes are sent together with the request."""
        client = await self.client(**buffers)
        await client.send(upgrade_request(path) + pipelined)
        status, _ = await client.read_response()
        assert status == 101, status
        return client

    async def connect_many(self, count: int, path: str = "/ws") -> list[Client]:
        """`count` upgraded connections, made together."""
        clients = []
        for _ in range(count):
            client = await self.client()
            await client.send(upgrade_request(path))
            clients.append(client)
        for client in clients:
            status, _ = await client.read_response()
            assert status == 101, status
        return clients

    async def all_closed(self) -> None:
        """Wait until the server has no socket left."""
        await until(lambda: not self.ingress.connections, "every socket of the server is closed")


def agree_to_deflate(server: Server) -> None:
    """Have connections to any path but /ws inflate what they are sent."""

    def agree(conn: Any, data: bytes) -> None:
        conn.accept(server.endpoint, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", len(data), 15)

    server.on_request = agree


@asynccontextmanager
async def serving(transport: str, *, internal_errors: bool = False, **options: Any) -> AsyncIterator[Server]:
    """A server for the time of the block.

    :param internal_errors: reports to the loop's exception handler are expected; without it one fails the test.
    :param options: `handshake_timeout` in seconds, `connection_class`, `listener_options` as (level, name, value),
        `keep` (off: no references to connections and messages are kept), `loop` (what LoopData takes for the loop),
        `started` (off: the wheel does not turn yet), and every keyword of `Endpoint`.
    """
    server = Server(transport, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    assert internal_errors or not server.internal, server.internal
