"""A worker of several: a `Serving` on sockets that it was given, which does what the supervisor says."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import logging
import mmap
import os
import struct
import time
from collections.abc import Callable
from typing import Any, Final

from fastws.app import FastWS
from fastws.config import Settings
from fastws.errors import EngineError, StartupError
from fastws.observe import logs
from fastws.server import cli
from fastws.server.drain import close_now
from fastws.server.serving import GRACE_S, Serving
from fastws.server.supervisor.places import ENGINE_AWAY
from fastws.server.supervisor.zygote import Birth
from fastws.server.worker import loop_factory, settle_memory
from fastws_ext.shared import DRAINING, READY, Board

_log: Final = logging.getLogger("fastws.server")

BEAT_S: Final = 0.25
"""How often a worker writes down how it is."""
_SIGNAL_STACK: Final = 256 * 1024

_signal_stack: Final[list[mmap.mmap]] = []  # as long as the process lives


def run(settings: Settings, app: FastWS | None, birth: Birth, board: Board) -> int:
    """Serve until the supervisor says stop; the exit code."""
    _number_logs(birth.worker)
    member = Member(settings, app if app is not None else FastWS(), birth, board, leave_trace())
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(member.serve())
    except StartupError as error:
        code = cli.report(error)
        cause = error.__cause__
        return ENGINE_AWAY if isinstance(cause, EngineError) and cause.temporary else code


def leave_trace() -> int:
    """Have a signal such as SIGSEGV or SIGABRT write where this process was; the descriptor of the file for that."""
    descriptor = os.memfd_create("fastws-trace")
    faulthandler.enable(descriptor)
    # Every handler runs on the stack that this brings, and a burst of signals would be more than its 16 KB hold. Of a
    # larger one no page is there until it is needed.
    _signal_stack.append(mmap.mmap(-1, _SIGNAL_STACK))
    address = ctypes.addressof(ctypes.c_char.from_buffer(_signal_stack[-1]))
    ctypes.CDLL(None).sigaltstack(struct.pack("PixxxxN", address, 0, _SIGNAL_STACK), None)
    return descriptor


def _number_logs(worker: int) -> None:
    """Have every record say which worker it comes from."""
    make: Callable[..., logging.LogRecord] = logging.getLogRecordFactory()

    def made(*args: Any, **named: Any) -> logging.LogRecord:
        record = make(*args, **named)
        record.worker = worker
        return record

    logging.setLogRecordFactory(made)


class Member(Serving):
    """One process of several. The methods stand in the order in which they run."""

    def __init__(self, settings: Settings, app: FastWS, birth: Birth, board: Board, trace_fd: int = -1) -> None:
        """`trace_fd`: the supervisor reads what is written there when a signal ends this process; -1: nothing is."""
        super().__init__(settings, app, birth.worker)
        self._birth = birth
        self._board = board
        self._trace_fd = trace_fd
        self.seat = board.seat(birth.slot)
        self.counts = self.seat
        self._may_listen = asyncio.Event()
        self._end = asyncio.Event()
        """Set when it is to drain, for whatever reason."""
        self._may_exit = asyncio.Event()
        self._is_retiring = False
        self._is_hurried = False
        self._beating: asyncio.TimerHandle | None = None

    async def serve(self) -> int:
        """Start, serve until the supervisor says stop, drain, stop. Returns the exit code."""
        self.build()
        try:
            self.report()
            await self.startup()
            await self._end.wait()
            await self.drain()
        finally:
            await self.shutdown()
        return 1 if self._is_hurried else 0

    def report(self) -> None:
        """Take the place on the board, and tell the supervisor who is there."""
        self.seat.open(os.getpid(), self.worker, self.admission.capacity)
        self.loop.add_reader(self._birth.channel.fileno(), self._listen_to_supervisor)
        descriptors = [self._trace_fd] if self._trace_fd >= 0 else []
        drain_timeout_s = self.settings.drain_timeout
        self._birth.channel.send("hello", descriptors, pid=os.getpid(), drain_timeout_s=drain_timeout_s)
        self._beat()

    async def startup(self) -> None:
        """Let the application start, and once the supervisor has opened the door, serve who comes."""
        self.bind()
        self.bind_admin()
        self.lifespan.on_startup = lambda hook: self._wait_for(f"on_startup in {hook}")
        if self.settings.redis != "none":
            self._wait_for("Redis")
        if not (await self.open_unless(self._end) and await self.run_startup_hooks()):
            return
        settle_memory()
        self._birth.channel.send("started")
        await self._may_listen.wait()
        if self._end.is_set():
            return
        await self.listen()
        await self.serve_admin()
        self.seat.state = READY
        self._beat_now()
        self._birth.channel.send("ready")

    def _wait_for(self, what: str) -> None:
        self._birth.channel.send("waits", what=what)

    def bind(self) -> str:
        """Adopt what the supervisor has bound."""
        for sock in self._birth.listeners:
            self.listeners.adopt(sock)
        return ""

    def bind_admin(self) -> str:
        """The same for the admin address, on which every worker answers."""
        if self._birth.admin:
            self.adopt_admin(self._birth.admin)
        return ""

    def _listen_to_supervisor(self) -> None:
        try:
            message = self._birth.channel.receive()
        except BlockingIOError:
            return
        match message.kind if message is not None else "gone":
            case "go":
                self._may_listen.set()
            case "retire":
                self._is_retiring = True
                self._leave()
            case "stop":
                self._leave()
            case "exit":
                self._may_exit.set()
            case "reopen":
                logs.reopen()
            case "hurry":
                self._hurry()
            case "gone":
                # The kernel kills us as well, when the supervisor dies.
                self.loop.remove_reader(self._birth.channel.fileno())
                self._hurry()

    def _leave(self) -> None:
        self._end.set()
        self._may_listen.set()
        self.lifespan.interrupt()

    def _hurry(self) -> None:
        self._is_hurried = True
        self._may_exit.set()
        self._leave()
        self.hurry()

    async def drain(self) -> None:
        """Move everyone away. If another process takes the place, let nobody else in, and end; if all of them stop,
        refuse newcomers until the last has nobody left.
        """
        self.seat.state = DRAINING
        if self._is_retiring:
            await self.listeners.stop_accepting()
            self._birth.channel.send("retired")
        if not self._is_hurried:
            reset = await (self.retire() if self._is_retiring else self.empty())
            if reset and not self._is_hurried:
                _log.warning("%d connections did not close in time and were reset", reset)
        if self._is_hurried:
            self.admission.draining = True
            await close_now(self.listeners.websockets())
        elif not self._is_retiring:
            self._birth.channel.send("drained")
            await self._may_exit.wait()

    async def shutdown(self, grace_s: float = GRACE_S) -> None:
        """Give everything back."""
        await super().shutdown(grace_s if not self._is_hurried else 0)
        if self._beating is not None:
            self._beating.cancel()

    def is_node_ready(self) -> tuple[bool, dict[str, Any]]:
        """For `/readyz` of the node: whether any worker lets newcomers in, and messages get through from here."""
        _, checks = self.is_ready()
        here = checks["accepting"] and self.seat.state == READY
        others = any(process.state == READY for process in self._board.all())
        checks["accepting"] = here or (others and not self.admission.is_full)
        return all(checks.values()), checks

    def remove_socket(self) -> None:
        """The name of a Unix socket is the supervisor's to remove."""

    def _beat(self) -> None:
        self._beat_now()
        self._beating = self.loop.call_later(BEAT_S, self._beat)

    def _beat_now(self) -> None:
        endpoints = [path.endpoint for path in self.parts.site.sockets.values()]
        self.seat.beat(
            time.monotonic_ns(),
            sockets=self.ingress.connections + self.listeners.coming,
            accepted=self.accepted,
            websockets=sum(endpoint.opened - sum(endpoint.closed.values()) for endpoint in endpoints),
            works=self.parts.engine_works(),
        )
