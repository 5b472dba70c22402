"""The worker: one process with one event loop, put together here and nowhere else.

`run` builds everything from the settings and the application, serves until a signal, drains and returns the exit code.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from importlib.resources import files
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastws import __version__
from fastws.app import FastWS
from fastws.config import Settings, as_url
from fastws.errors import FastWSError, StartError
from fastws.net.admission import Admission
from fastws.net.ingress import Ingress
from fastws.net.listener import Listeners, bind_tcp, bind_unix, start_listening
from fastws.observe import logs
from fastws.server.assembly import Assembly
from fastws.server.drain import Drain, close_now
from fastws.server.lag import LoopLag
from fastws.server.notify import Notifier
from fastws.server.startup_checks import tls_context
from fastws_ext.loop_data import LoopData

if TYPE_CHECKING:
    from fastws.observe.admin.results import Node
    from fastws.observe.admin.server import AdminServer

_log: Final = logging.getLogger("fastws.server")

# Handlers and hooks of connections that are gone have so long to finish what they were doing.
_GRACE_S: Final = 2.0

# Objects of the third generation are few and old: a collection of everything should be rare, not every 700 newcomers.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


def run(settings: Settings, app: FastWS | None) -> int:
    """Serve until a signal; the exit code: 0 drained and stopped, 1 stopped at once by a second signal.

    `app`: None serves the built-in gateway alone. Raises `StartupError` if it cannot serve.
    """
    worker = Worker(settings, app if app is not None else FastWS())
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(worker.serve())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop  # noqa: PLC0415

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class Serving:
    """An application on the running event loop: everything of a worker but its process.

    `build`, `open`, `run_startup_hooks`, then connections: `listen` on what `bind` has bound, or
    `listeners.make_connection` for transports from elsewhere. `empty` drains. `shutdown` gives everything back, also
    after a start that failed half way.
    """

    def __init__(self, settings: Settings, app: FastWS) -> None:
        self.settings = settings
        self.app = app
        self._has_started = False
        self._stop = asyncio.Event()
        self._drain: Drain | None = None
        self._admin: AdminServer | None = None
        self._admin_sockets: list[socket.socket] = []
        self._ready_s = 0.0

    def build(self) -> None:
        """Put the parts together; nothing is opened yet."""
        settings = self.settings
        self.loop = asyncio.get_running_loop()
        self.loop_data = LoopData(self.loop)
        self.admission = Admission(
            max_connections=settings.max_connections,
            max_per_address=settings.max_connections_per_ip,
            loopback_exempt=not settings.is_set("max_connections_per_ip"),
            connects_per_second=settings.connect_rate,
        )
        self.parts = Assembly(
            settings, self.app, self.loop, self.loop_data, is_ready=self._is_ready, demo_page=_demo_page(settings)
        )
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

    async def open(self) -> None:
        """Start clock and engine; services work after this."""
        self.loop_data.start()
        await self.parts.start()

    async def run_startup_hooks(self) -> None:
        """Let the application start. Raises `StartError` if it fails."""
        for hook in self.app.startup_hooks:
            try:
                result = hook()
                if isawaitable(result) and not await self._unless_stopped(result):
                    return
            except Exception as error:
                _log.error("on_startup failed: %s", _name_of(hook), exc_info=error)
                raise StartError(f"on_startup failed in {_name_of(hook)}: {type(error).__name__}: {error}") from error
        self._has_started = True

    async def _unless_stopped(self, waiting: Awaitable[Any]) -> bool:
        """Await, but no longer than until it is to stop: then it is cancelled and the answer is False."""
        task = asyncio.ensure_future(waiting)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                return True
            return False
        finally:
            stop.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def listen(self) -> None:
        """Let connections in through what was bound."""
        await self.listeners.listen()
        self.lag.start()

    def bind_admin(self) -> str:
        """Bind the admin address, make what will answer there, and return it as it is printed; empty if it is off.

        Raises `StartError`. Takes a tenth of a second, in which nobody else is served.
        """
        settings = self.settings
        if settings.admin_port < 0:
            return ""
        try:
            self._admin_sockets = bind_tcp(settings.admin_host, settings.admin_port)
        except StartError as error:
            raise _of_admin_address(error) from error
        self._admin = self._make_admin()
        return as_url(settings.admin_host, self._admin_sockets[0].getsockname()[1])

    def _make_admin(self) -> AdminServer:
        # Imported where it is wanted: its library costs a tenth of a second and 13 MB.
        from fastws.observe.admin.floor import Floor  # noqa: PLC0415
        from fastws.observe.admin.guard import Guard  # noqa: PLC0415
        from fastws.observe.admin.methods import Context  # noqa: PLC0415
        from fastws.observe.admin.server import AdminServer  # noqa: PLC0415

        settings = self.settings
        return AdminServer(
            Context(self.parts.gateway.services, lambda: [self._node()], Floor()),
            Guard(settings.admin_key, settings.admin_host),
            self._is_ready,
            is_serving=lambda: self.parts.is_running,
            max_message_size=settings.max_message_size,
            access_log=settings.access_log,
        )

    async def serve_admin(self) -> None:
        """Answer on the admin address, from now on until the end of `shutdown`. Raises `StartError`."""
        if self._admin is None:
            return
        from fastws.observe.admin.server import BACKLOG  # noqa: PLC0415

        self._ready_s = self.loop.time()
        try:
            for sock in self._admin_sockets:
                start_listening(sock, BACKLOG)
        except StartError as error:
            raise _of_admin_address(error) from error
        await self._admin.start(self._admin_sockets)

    def _node(self) -> Node:
        """How this node is."""
        from fastws.observe.admin.results import Node  # noqa: PLC0415

        endpoints = [path.endpoint for path in self.parts.site.sockets.values()]
        return Node(
            id=self.settings.node_name,
            version=__version__,
            connections=sum(endpoint.opened - sum(endpoint.closed.values()) for endpoint in endpoints),
            workers=1,
            uptime=round(self.loop.time() - self._ready_s, 3),
            engine=self.parts.engine.name,
            draining=self.admission.draining,
        )

    async def empty(self) -> int:
        """Refuse newcomers, close everyone in turn, within the deadline. Returns how many had to be reset."""
        self.admission.draining = True
        settings = self.settings
        self._drain = Drain(
            self.listeners.websockets,
            lambda: self.ingress.pending,
            rate=settings.drain_rate,
            timeout_s=settings.drain_timeout,
        )
        await self._drain.run()
        return self._drain.reset

    async def shutdown(self, grace_s: float = _GRACE_S) -> None:
        """Give everything back; also after a start that failed half way. `grace_s`: for handlers that still run."""
        self.lag.stop()
        await self.listeners.close()
        self.ingress.close()
        await self.parts.end_handlers(grace_s)
        if self._has_started:
            await self._run_shutdown_hooks()
        await self.parts.stop()
        self.loop_data.stop()
        if self.settings.uds is not None and self.listeners.is_bound:
            _remove(Path(self.settings.uds))
        if self._admin is not None:
            await self._admin.stop()
        for sock in self._admin_sockets:
            sock.close()

    async def _run_shutdown_hooks(self) -> None:
        for hook in self.app.shutdown_hooks:
            try:
                result = hook()
                if isawaitable(result):
                    await result
            except Exception as error:
                _log.error("on_shutdown failed: %s", _name_of(hook), exc_info=error)

    def _is_ready(self) -> tuple[bool, dict[str, Any]]:
        """For `/readyz`: whether newcomers are let in, and what carries messages works."""
        checks: dict[str, Any] = {
            "accepting": not self.admission.draining and not self.admission.is_full,
            "engine": self.parts.engine_works(),
        }
        return all(checks.values()), checks


class Worker(Serving):
    """One process. The methods stand in the order in which they run."""

    def __init__(self, settings: Settings, app: FastWS) -> None:
        super().__init__(settings, app)
        self.stop_signals = 0
        self._notifier = Notifier()
        self._pidfile: Path | None = None
        self._watchdog: asyncio.TimerHandle | None = None

    async def serve(self) -> int:
        """Start, serve until a signal, drain, stop."""
        self.build()
        try:
            await self.startup()
            await self._stop.wait()
            code = await self.drain()
        finally:
            await self.stop()
        return code

    async def startup(self) -> None:
        """Bind, let the application start, listen, and say so. Raises `StartError`."""
        address = self.bind()
        admin_address = self.bind_admin()
        await self.open()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.on_stop_signal, number)
        await self.run_startup_hooks()
        if self._stop.is_set():
            return
        self.loop.add_signal_handler(signal.SIGUSR1, self.on_reopen_signal)
        for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU):
            self.loop.add_signal_handler(number, self.on_unsupported_signal, number)
        self._write_pidfile()
        # Before anybody comes in: it takes tens of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        await self.listen()
        await self.serve_admin()
        sys.stdout.write(f"listening on {address}\n")
        if admin_address:
            sys.stdout.write(f"admin on {admin_address}\n")
        sys.stdout.flush()
        self._notifier.ready()
        self._keep_watchdog()

    def on_stop_signal(self, number: int) -> None:
        """TERM and INT: drain, and stop at once when a second one comes."""
        self.stop_signals += 1
        name = signal.Signals(number).name
        if self.stop_signals == 1:
            _log.info("%s: draining, connections: %d", name, len(self.listeners.websockets()))
            self._stop.set()
        else:
            _log.warning("%s again: stopping at once", name)
            if self._drain is not None:
                self._drain.stop()

    def on_reopen_signal(self) -> None:
        """USR1: open log files again, after they were moved away."""
        logs.reopen()

    def on_unsupported_signal(self, number: int) -> None:
        """Signals that only a supervisor of several workers can obey."""
        _log.warning("%s is ignored: there is one worker and no supervisor", signal.Signals(number).name)

    async def drain(self) -> int:
        """Move everyone away. Returns the exit code."""
        self._notifier.stopping()
        reset = 0 if self.stop_signals >= 2 else await self.empty()
        if self.stop_signals >= 2:
            self.admission.draining = True
            await close_now(self.listeners.websockets())
            return 1
        if reset:
            _log.warning("%d connections did not close in time and were reset", reset)
        return 0

    async def stop(self) -> None:
        """Give everything back, the process's own included."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        await self.shutdown(_GRACE_S if self.stop_signals < 2 else 0)
        if self._pidfile is not None:
            _remove(self._pidfile)

    def _write_pidfile(self) -> None:
        if self.settings.pidfile is None:
            return
        path = Path(self.settings.pidfile)
        try:
            path.write_text(f"{os.getpid()}\n", encoding="ascii")
        except OSError as error:
            raise StartError(f"cannot write --pidfile {path}: {error.strerror or error}") from error
        self._pidfile = path

    def _keep_watchdog(self) -> None:
        if self._notifier.watchdog_s:
            self._notifier.alive()
            self._watchdog = self.loop.call_later(self._notifier.watchdog_s, self._keep_watchdog)


def _demo_page(settings: Settings) -> bytes | None:
    """The page that `--dev` shows at `/`."""
    if not settings.dev:
        return None
    try:
        return files("fastws").joinpath("static", "demo.html").read_bytes()
    except OSError as error:
        raise FastWSError("the demo page is not installed") from error


def _of_admin_address(error: StartError) -> StartError:
    """The same, said of the admin address, with what to do about a port that is taken."""
    cause = error.__cause__
    taken = isinstance(cause, OSError) and cause.errno in (errno.EADDRINUSE, errno.EACCES)
    hint = "; --admin-port takes another port (0: any free one), -1 turns it off" if taken else ""
    return StartError(f"the admin address: {error}{hint}")


def _name_of(hook: Callable[..., Any]) -> str:
    return str(getattr(hook, "__qualname__", None) or repr(hook))


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
