"""The worker: one process with one event loop, put together here and nowhere else.

`run` builds everything from the settings and the application, serves until a signal, drains and returns the exit code.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fastws.app import FastWS
from fastws.config import Settings
from fastws.errors import StartupError
from fastws.observe import logs
from fastws.server import startup_checks
from fastws.server.drain import close_now
from fastws.server.process.notify import Notifier
from fastws.server.process.pidfile import write_pidfile
from fastws.server.process.rereading import read_again, taken_over
from fastws.server.serving import GRACE_S, Serving

_log: Final = logging.getLogger("fastws.server")

# Objects of the third generation are few and old: a collection of everything should be rare, not every 700 newcomers.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


def run(settings: Settings, app: FastWS | None, given: Mapping[str, object] = MappingProxyType({})) -> int:
    """Serve until a signal; the exit code: 0 drained and stopped, 1 stopped at once by a second signal.

    `app`: None serves the built-in gateway alone. `given`: the options of the command line as text, from which the
    settings can be read again. Raises `StartupError` if it cannot serve.
    """
    worker = Worker(settings, app if app is not None else FastWS(), given)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(worker.serve())


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop where it is installed; None stands for asyncio's own."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop  # noqa: PLC0415

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def settle_memory() -> None:
    """Take what is there now for what will stay. Call it before anybody comes in: it takes tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


class Worker(Serving):
    """One process. The methods stand in the order in which they run."""

    def __init__(self, settings: Settings, app: FastWS, given: Mapping[str, object] = MappingProxyType({})) -> None:
        super().__init__(settings, app)
        self._given = given
        self._stop = asyncio.Event()
        self._is_up = False
        """Whether everybody has been told that it serves."""
        self.stop_signals = 0
        self._notifier = Notifier()
        self._pidfile: Path | None = None
        self._watchdog: asyncio.TimerHandle | None = None

    async def serve(self) -> int:
        """Start, serve until a signal, drain, stop. Returns the exit code."""
        self.build()
        try:
            await self.startup()
            await self.main_loop()
            await self.drain()
        finally:
            await self.shutdown()
        return 1 if self.stop_signals >= 2 else 0

    async def startup(self) -> None:
        """Bind, let the application start, listen, and say so; a signal ends it early. Raises `StartError`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.on_stop_signal, number)
        # From the beginning: what they do by themselves is to end the process, or to halt it.
        self.loop.add_signal_handler(signal.SIGUSR1, self.on_reopen_signal)
        self.loop.add_signal_handler(signal.SIGHUP, self.on_reread_signal)
        for number in (signal.SIGTTIN, signal.SIGTTOU):
            self.loop.add_signal_handler(number, self.on_unsupported_signal, number)
        address = self.bind()
        admin_address = self.bind_admin()
        if not (await self.open_unless(self._stop) and await self.run_startup_hooks()):
            return
        self._pidfile = write_pidfile(self.settings.pidfile)
        settle_memory()
        await self.listen()
        await self.serve_admin()
        sys.stdout.write(f"listening on {address}\n")
        if admin_address:
            sys.stdout.write(f"admin on {admin_address}\n")
        sys.stdout.flush()
        self._is_up = True
        self._notifier.ready()
        self._keep_watchdog()

    async def main_loop(self) -> None:
        """Serve until a signal says stop."""
        await self._stop.wait()

    def on_stop_signal(self, number: int) -> None:
        """TERM and INT: drain, and stop at once when a second one comes."""
        self.stop_signals += 1
        name = signal.Signals(number).name
        if self.stop_signals == 1:
            _log.info("%s: draining, connections: %d", name, len(self.listeners.websockets()))
            self._stop.set()
            self.lifespan.interrupt()
        else:
            _log.warning("%s again: stopping at once", name)
            self.hurry()

    def on_reopen_signal(self) -> None:
        """USR1: open log files again, after they were moved away."""
        logs.reopen()

    def on_reread_signal(self) -> None:
        """HUP: read the configuration and the certificates again, and take of it what can change in one process."""
        if not self._is_up or self._stop.is_set():
            _log.warning("SIGHUP is ignored while the server starts or stops")
            return
        self._notifier.reloading()
        try:
            settings, left = taken_over(self.settings, read_again(self._given))
            context = startup_checks.tls_context(settings)
            if settings.log_config is None:  # if its file is wrong, that is found out when half of it has been done
                logs.configure(settings)
        except StartupError as error:
            _log.error("SIGHUP: the configuration is wrong, and everything stays as it is: %s", error)
        else:
            self.settings = settings
            if context is not None:
                self.listeners.renew_tls(context)
            if left:
                _log.warning(
                    "SIGHUP: %s cannot change until the server is started again; with --workers they could",
                    ", ".join(left),
                )
            what = "certificates, logging and drain" if settings.log_config is None else "certificates and drain"
            _log.info("SIGHUP: %s are as they are configured now", what)
        self._notifier.ready()

    def on_unsupported_signal(self, number: int) -> None:
        """Signals that only a supervisor of several workers can obey."""
        _log.warning("%s is ignored: there is no supervisor; --workers sets one", signal.Signals(number).name)

    async def drain(self) -> None:
        """Move everyone away; at once, if a second signal comes."""
        self._notifier.stopping()
        reset = 0 if self.stop_signals >= 2 else await self.empty()
        if self.stop_signals >= 2:
            self.admission.draining = True
            await close_now(self.listeners.websockets())
        elif reset:
            _log.warning("%d connections did not close in time and were reset", reset)

    async def shutdown(self, grace_s: float = GRACE_S) -> None:
        """Give everything back, the process's own included."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        await super().shutdown(grace_s if self.stop_signals < 2 else 0)
        if self._pidfile is not None:
            self._pidfile.unlink(missing_ok=True)

    def _keep_watchdog(self) -> None:
        if self._notifier.watchdog_s:
            self._notifier.alive()
            self._watchdog = self.loop.call_later(self._notifier.watchdog_s, self._keep_watchdog)
