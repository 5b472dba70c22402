"""The server that is tortured: one endpoint for random deeds, two for witnesses, over each kind of transport."""

import asyncio
import gc
import os
import ssl
import tempfile
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

from fastws_ext.reactor import Reactor
from tests.fastws_ext.harness import GONE, Server
from tests.fastws_ext.test_link import make_certificate

KINDS = ("reactor", "uvloop", "asyncio", "tls", "unix")
LIMITS: dict[str, Any] = {
    "max_message_size": 70_000,
    "max_fragments": 8,
    "max_outbox": 150_000,
    "ping_interval": 0.3,
    "ping_timeout": 0.3,
    "message_timeout": 0.4,
    "close_timeout": 0.3,
}


def obey(conn: Any, message: str | bytes) -> None:
    """What a witness asks for: an exception, a close, more than it reads, heartbeats; everything else comes back."""
    if message == "raise":
        raise ValueError(message)
    if message == "close":
        conn.close(4000, "bye")
    elif message == "flood":
        while conn.send(bytes(30_000)) != GONE:
            pass
    elif message == "ping":
        conn.set_ping_interval(0.1)
    else:
        conn.send(message)


class TorturedServer(Server):
    """A server of one of KINDS, with an endpoint at /ws for random deeds.

    At /witness and /impatient handlers do as they are told; the second has short times.
    """

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(kind, **options)
        self.made: weakref.WeakSet[Any] = weakref.WeakSet()  # for whoever makes the connections to fill
        self.context: ssl.SSLContext | None = None  # for the clients of TLS
        calm = {**LIMITS, "on_message": obey, "ping_interval": 0.0, "message_timeout": 10.0, "close_timeout": 15.0}
        self.witness = self.new_endpoint("/witness", **calm)
        self.impatient = self.new_endpoint("/impatient", **calm | {"message_timeout": 0.2, "ping_timeout": 0.2})
        self.ingress.routes |= {b"/witness": self.witness, b"/impatient": self.impatient}

    def serve_listeners(self, **options: Any) -> None:
        """Serve /listen too, with the options of an endpoint among others."""
        options = {key: value for key, value in options.items() if key in LIMITS or key.startswith("on_")}
        self.listened = self.new_endpoint("/listen", **options)
        self.ingress.routes[b"/listen"] = self.listened

    async def start(self) -> None:
        """Serve."""
        if self.transport not in {"tls", "unix"}:
            await super().start()
            return
        self.loop.set_exception_handler(lambda loop, context: self.internal.append(context))
        self.loop_data.start()

        def connection() -> Any:
            return self.connection_class(self.ingress)

        if self.transport == "tls":
            with tempfile.TemporaryDirectory() as folder:
                certificate = make_certificate(Path(folder))
                serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                serving.load_cert_chain(certificate)
            self.context = ssl.create_default_context()
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE
            self._server = await self.loop.create_server(
                connection, sock=self.socket, ssl=serving, backlog=512, ssl_shutdown_timeout=0.3
            )
        else:
            self.socket.close()
            self.socket = socket(AF_UNIX)
            self.socket.bind(f"\0fastws-{os.getpid()}-{id(self)}")  # in no directory
            self.address = self.socket.getsockname()
            self._server = await self.loop.create_unix_server(connection, sock=self.socket, backlog=512)

    def end(self) -> None:
        """Close everything; a handler may call this."""
        if isinstance(self.reactor, Reactor):
            self.reactor.close()
        else:
            if self.transport != "asyncio":  # whose server loses what it has accepted if it is closed just then
                self._server.close()
            abort_all(self.made)

    def own_reports(self) -> list[dict[str, Any]]:
        """What was reported to the loop's exception handler, but for what the loop itself says of TLS peers."""
        return [context for context in self.internal if context["message"].startswith("fastws")]


def abort_all(made: Any) -> None:
    """Abort every connection that the loop has told of its transport."""
    for conn in list(made):
        if conn.transport is not None:
            conn.abort()


@asynccontextmanager
async def tortured(kind: str, **options: Any) -> AsyncIterator[TorturedServer]:
    """A server for the time of the block; what it reports is for the caller to judge."""
    server = TorturedServer(kind, **options)
    await server.start()
    try:
        yield server
    except BaseException:
        server.end()
        with suppress(Exception):  # of two failures the first one is worth knowing
            await server.stop()
        raise
    await server.stop()


async def collected(things: Any) -> list[Any]:
    """What is left of weakly held `things` once the loop has turned and the collector has run."""
    deadline = asyncio.get_running_loop().time() + 5
    while True:
        gc.collect()
        if not list(things) or asyncio.get_running_loop().time() > deadline:
            return list(things)
        await asyncio.sleep(0.01)
