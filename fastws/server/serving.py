"""An application on an event loop: what `fastws-server`, `TestServer` and mounted applications have in common."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastws import __version__
from fastws.app import FastWS
from fastws.config import Settings, as_url
from fastws.engine.contract import NodeFigures
from fastws.errors import FastWSError, StartError
from fastws.net.admission import Admission, Counts
from fastws.net.ingress import Ingress
from fastws.net.listener import Listeners, bind_tcp, bind_unix, start_listening
from fastws.server.assembly import Assembly
from fastws.server.drain import Drain
from fastws.server.engines.nodes import nodes_of
from fastws.server.lag import LoopLag
from fastws.server.lifespan import HASTE_S, Lifespan
from fastws.server.process.admin_address import bind_admin, of_admin_address
from fastws.server.startup_checks import tls_context
from fastws_ext.loop_data import LoopData

if TYPE_CHECKING:
    from fastws.observe.admin.results import Node
    from fastws.observe.admin.server import AdminServer

_log: Final = logging.getLogger("fastws.server")

_first_numbers: Final = count(step=1 << 40)
"""Connections are called by their number and a prefix of the process: several servers in one do not share numbers."""

GRACE_S: Final = 2.0
"""Handlers and hooks of connections that are gone have so long to finish what they were doing."""
END_S: Final = 10.0
"""After the time for moving connections away everything else, `on_shutdown` too, may take so long."""


class Serving:
    """An application on the running event loop: everything of a worker but its process.

    The methods stand in the order in which they are called: `build`, `bind`, `open`, `run_startup_hooks`, `listen`,
    `empty`, `shutdown`. Who has transports of its own binds nothing, and asks `listeners.make_connection` for what to
    connect them to. Whatever fails, `shutdown` gives everything back.
    """

    def __init__(self, settings: Settings, app: FastWS, worker: int = 0) -> None:
        """`worker`: which of the processes of this node it is, from 0."""
        self.settings = settings
        self.app = app
        self.worker = worker
        self.counts: Counts | None = None
        """What is counted together with other workers of this node, if there are any."""
        self._drain: Drain | None = None
        self._end_by_s = 0.0
        """When `on_shutdown` is to have ended, on the clock of the loop; 0 before a drain begins."""
        self._admin: AdminServer | None = None
        self._admin_sockets: list[socket.socket] = []
        self._ready_s = 0.0

    @property
    def accepted(self) -> int:
        """Connections so far."""
        return self.loop_data.numbers - self._first_number

    def build(self) -> None:
        """Put the parts together; nothing is opened yet."""
        settings = self.settings
        self.loop = asyncio.get_running_loop()
        self._first_number = next(_first_numbers)
        self.loop_data = LoopData(self.loop, self._first_number)
        self.admission = Admission(
            max_connections=settings.max_connections,
            max_per_address=settings.max_connections_per_ip,
            loopback_exempt=not settings.is_set("max_connections_per_ip"),
            connects_per_second=settings.connect_rate,
            counts=self.counts,
        )
        self.parts = Assembly(
            settings, self.app, self.loop, self.loop_data, is_ready=self.is_ready, demo_page=_demo_page(settings)
        )
        self.parts.hub.describe = self._figures
        self.ingress = Ingress(
            self.loop_data, self.loop, self.parts.site, self.admission, timeout_s=settings.handshake_timeout
        )
        self.listeners = Listeners(
            self.loop,
            self.loop_data,
            self.ingress,
            backlog=settings.backlog,
            through_reactor=type(self.loop).__module__.startswith("uvloop"),
            tls=tls_context(settings),
            handshake_timeout_s=settings.handshake_timeout,
        )
        self.lag = LoopLag(self.loop)
        self.lifespan = Lifespan(self.app.startup_hooks, self.app.shutdown_hooks)

    def bind(self) -> str:
        """Bind what the settings say and return its address as it is printed. Raises `StartError`."""
        settings = self.settings
        if settings.uds is not None:
            sockets, address = [bind_unix(settings.uds)], f"unix:{settings.uds}"
        else:
            sockets = bind_tcp(settings.host, settings.port, keepalive=settings.tcp_keepalive)
            address = as_url(settings.host, sockets[0].getsockname()[1], settings.scheme)
        for sock in sockets:
            self.listeners.adopt(sock)
        return address

    def bind_admin(self) -> str:
        """Bind the admin address, make what will answer there, and return it as it is printed; empty if it is off.

        Raises `StartError`. Takes a tenth of a second, in which nobody else is served.
        """
        settings = self.settings
        if settings.admin_port < 0:
            return ""
        self.adopt_admin(bind_admin(settings.admin_host, settings.admin_port))
        return as_url(settings.admin_host, self._admin_sockets[0].getsockname()[1])

    def adopt_admin(self, sockets: list[socket.socket]) -> None:
        """Take bound sockets for the admin address, to be closed by `shutdown`, and make what will answer there."""
        self._admin_sockets = sockets
        self._admin = self._make_admin()

    def _make_admin(self) -> AdminServer:
        # Imported where it is wanted: its library costs a tenth of a second and 13 MB.
        from fastws.observe.admin.floor import Floor  # noqa: PLC0415
        from fastws.observe.admin.guard import Guard  # noqa: PLC0415
        from fastws.observe.admin.methods import Context  # noqa: PLC0415
        from fastws.observe.admin.server import AdminServer  # noqa: PLC0415

        settings = self.settings
        return AdminServer(
            Context(self.parts.gateway.services, self._nodes, Floor()),
            Guard(settings.admin_key, settings.admin_host),
            self.is_node_ready,
            is_serving=lambda: self.parts.is_running,
            claims=self.parts.engine.claims,
            max_message_size=settings.max_message_size,
            access_log=settings.access_log,
        )

    async def open(self) -> None:
        """Start clock and engine; services work after this."""
        self.loop_data.start()
        await self.parts.start()

    async def open_unless(self, stop: asyncio.Event) -> bool:
        """The same, until `stop` is set; whether it was done. An engine that says nothing is waited for for seconds."""
        opening, stopping = asyncio.create_task(self.open()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            opening.cancel()
            await asyncio.wait((opening, stopping))
        if opening.cancelled():
            return False
        opening.result()
        return True

    async def run_startup_hooks(self) -> bool:
        """Let the application start. False: that was interrupted. Raises `StartError` if it fails."""
        return await self.lifespan.start()

    async def listen(self) -> None:
        """Let connections in through what was bound."""
        self._ready_s = self.loop.time()
        await self.listeners.listen()
        self.lag.start()

    async def serve_admin(self) -> None:
        """Answer on the admin address, from now on until the end of `shutdown`. Raises `StartError`."""
        if self._admin is None:
            return
        from fastws.observe.admin.server import BACKLOG  # noqa: PLC0415

        try:
            for sock in self._admin_sockets:
                start_listening(sock, BACKLOG)
        except StartError as error:
            raise of_admin_address(error) from error
        await self._admin.start(self._admin_sockets)

    async def _nodes(self) -> list[Node]:
        """Every node, this one among them. Raises `EngineError`."""
        answer = self.parts.engine.nodes()
        return nodes_of(await answer if isinstance(answer, Awaitable) else answer, self.parts.engine.name)

    def _figures(self) -> NodeFigures:
        """How this process is."""
        endpoints = [path.endpoint for path in self.parts.site.sockets.values()]
        return NodeFigures(
            name=self.settings.node_name,
            worker=self.worker,
            version=__version__,
            connections=sum(endpoint.opened - sum(endpoint.closed.values()) for endpoint in endpoints),
            uptime_s=self.loop.time() - self._ready_s if self._ready_s else 0.0,
            draining=self.admission.draining,
        )

    async def empty(self) -> int:
        """Refuse newcomers, close everyone in turn, within the deadline. Returns how many had to be reset."""
        self.admission.draining = True
        return await self._move_away(lambda: self.ingress.pending)

    async def retire(self) -> int:
        """The same where another process goes on accepting on the same sockets: nobody is refused, and whose handshake
        is under way comes in before being closed like the others.
        """
        await self.listeners.stop_accepting()
        return await self._move_away(lambda: self.ingress.connections + self.listeners.coming)

    async def _move_away(self, pending: Callable[[], int]) -> int:
        settings = self.settings
        self._end_by_s = self.loop.time() + settings.drain_timeout + END_S
        self._drain = Drain(
            self.listeners.websockets, pending, rate=settings.drain_rate, timeout_s=settings.drain_timeout
        )
        await self._drain.run()
        return self._drain.reset

    def hurry(self) -> None:
        """Nobody wants to wait any longer: `empty` returns, and `shutdown` gives the application a moment at most."""
        if self._drain is not None:
            self._drain.stop()
        self.lifespan.hurry()

    async def shutdown(self, grace_s: float = GRACE_S) -> None:
        """Give everything back; also after a start that failed half way. `grace_s`: for handlers that still run.

        To be cancelled is to make haste: nothing is left behind then either.
        """
        task = asyncio.create_task(self._shut_down(grace_s))
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                cancelled = error
                self.hurry()
        task.result()
        if cancelled is not None:
            raise cancelled

    async def _shut_down(self, grace_s: float) -> None:
        self.lag.stop()
        try:
            await self.listeners.close()
            self.ingress.close()
            await self.parts.end_handlers(grace_s)
            end_by_s = self._end_by_s or self.loop.time() + self.settings.drain_timeout + END_S
            await self.lifespan.end(max(end_by_s - self.loop.time(), HASTE_S))
        finally:
            await self._give_back()

    async def _give_back(self) -> None:
        try:
            await self.parts.stop()
        finally:
            self.loop_data.stop()
            if self._admin is not None:
                await self._admin.stop()
            for sock in self._admin_sockets:
                sock.close()
            self.remove_socket()

    def remove_socket(self) -> None:
        """Remove the name of a Unix socket that was listened on."""
        if self.settings.uds is not None and self.listeners.is_bound:
            Path(self.settings.uds).unlink(missing_ok=True)

    def is_node_ready(self) -> tuple[bool, dict[str, Any]]:
        """For `/readyz` on the admin address, which speaks of the node: this process is all of it."""
        return self.is_ready()

    def is_ready(self) -> tuple[bool, dict[str, Any]]:
        """For `/readyz`: whether newcomers are let in, and what carries messages works."""
        checks: dict[str, Any] = {
            "accepting": not self.admission.draining and not self.admission.is_full,
            "engine": self.parts.engine_works(),
        }
        return all(checks.values()), checks


def _demo_page(settings: Settings) -> bytes | None:
    """The page that `--dev` shows at `/`."""
    if not settings.dev:
        return None
    try:
        return files("fastws").joinpath("static", "demo.html").read_bytes()
    except OSError as error:
        raise FastWSError("the demo page is not installed") from error
