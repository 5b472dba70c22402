"""The process that `--workers` starts: it serves nobody, and sees to it that others do.

One thread that waits for signals and messages; whatever takes time is done by somebody else. Its children are zygotes
and, adopted from them, the workers.
"""

from __future__ import annotations

import ctypes
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fastws.config import Settings, as_url
from fastws.errors import AppImportError, StartError
from fastws.net.admission import descriptor_capacity
from fastws.observe import logs
from fastws.server.process.admin_address import bind_admin
from fastws.server.process.notify import Notifier
from fastws.server.process.pidfile import write_pidfile
from fastws.server.supervisor.control import Channel
from fastws.server.supervisor.crew import Crew
from fastws.server.supervisor.listening import Doors
from fastws.server.supervisor.nursery import Nursery
from fastws.server.supervisor.places import DEATHS_WITHIN_S, ENGINE_AWAY, MAX_DEATHS, Phase, Process
from fastws.server.supervisor.renewal import Renewal
from fastws_ext.shared import MAX_SLOTS, Board

_log: Final = logging.getLogger("fastws.supervisor")

TICK_S: Final = 0.25
HANG_S: Final = 30.0
"""A worker whose loop does not answer for so long is killed and replaced."""
HURRY_S: Final = 10.0
"""After a second signal whoever has not ended within this is killed."""
UNBORN_PAUSE_S: Final = 1.0
_LATE_S: Final = 5.0
_MAX_ADDRESSES: Final = 1 << 22  # 32 MB, if so many are counted
_PR_SET_CHILD_SUBREAPER: Final = 36
_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGCHLD,
)


def run(settings: Settings, given: Mapping[str, object], redis: str) -> int:
    """Serve with several processes until a signal; the exit code.

    `given`: the options of the command line as text, from which the settings can be read again; `redis`: what workers
    connect to, which is the URL of the embedded one where the settings ask for that. Raises `StartupError`
    if it cannot serve, and has said why where a worker could not.
    """
    supervisor = Supervisor(settings, given, redis)
    try:
        supervisor.startup()
        supervisor.main_loop()
    finally:
        supervisor.shutdown()
    return supervisor.exit_code


class Supervisor:
    """The methods stand in the order in which they run."""

    def __init__(self, settings: Settings, given: Mapping[str, object], redis: str) -> None:
        self.settings = settings
        self._redis = redis
        self.exit_code = 0
        self.is_up = False
        """Whether all workers were ready once."""
        self.is_stopping = False
        self._given = given
        self._notifier = Notifier()
        self._selector = selectors.DefaultSelector()
        self._signals: deque[int] = deque()
        self._waker = socket.socketpair()
        self._stop_signals = 0
        self._deadline_s = float("inf")
        self._watch_hangs_from_s = 0.0
        self._alive_at_s = 0.0
        self._pidfile: Path | None = None
        self._doors: Doors | None = None
        self._admin: list[socket.socket] = []
        self._board: Board | None = None
        self._crew: Crew | None = None
        self._nursery: Nursery | None = None
        # Shorter for tests.
        self._hang_s = float(os.environ.get("FASTWS_TEST_HANG_S", HANG_S))

    # Start.

    def startup(self) -> None:
        """Bind everything, and have the first zygote begin. Raises `StartError`."""
        settings = self.settings
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._take_signals()
        self._doors = Doors(settings)
        if settings.admin_port >= 0:
            self._admin = bind_admin(settings.admin_host, settings.admin_port)
        self._pidfile = write_pidfile(self.settings.pidfile)
        self._board = make_board(settings)
        self._nursery = Nursery(self._given, settings, self._redis, self._board.fd, self, self._watch, self._unwatch)
        self._crew = Crew(self._doors, self._admin, self._board, self, self._watch, self._unwatch)
        self._renewal = Renewal(self._crew, self._nursery, self._notifier)
        for _ in range(settings.workers):
            self._crew.add_place()
        self._nursery.make_first()

    def _take_signals(self) -> None:
        wake, waker = self._waker
        for sock in (wake, waker):
            sock.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self._selector.register(wake, selectors.EVENT_READ, self._drop_wakes)
        for number in _SIGNALS:
            signal.signal(number, lambda number, _frame: self._signals.append(number))

    def _drop_wakes(self) -> None:
        with suppress(BlockingIOError):
            self._waker[0].recv(4096)

    # Run.

    def main_loop(self) -> None:
        """Go on until everybody has ended."""
        last_s = time.monotonic()
        while not self._is_over():
            for key, _ in self._selector.select(TICK_S):
                key.data()
            now = time.monotonic()
            if now - last_s > _LATE_S:
                # All processes stood still, or only this one: in the first case nobody is to blame.
                self._watch_hangs_from_s = now + _LATE_S
            last_s = now
            while self._signals:
                self.on_signal(self._signals.popleft())
            self._see_to_everything(now)

    def _is_over(self) -> bool:
        if not self.is_stopping:
            return False
        return self.crew.let_go() and self.nursery.is_empty()

    def _see_to_everything(self, now_s: float) -> None:
        self.crew.collect()
        self.nursery.collect()
        self._reap_orphans()
        if now_s >= self._watch_hangs_from_s:
            self.crew.kill_who_hangs(self._hang_s)
        if now_s >= self._deadline_s:
            self.crew.kill()
            self.nursery.kill()
        self.crew.see_to_slow()
        if not self.is_stopping:
            self._fill_places(now_s)
            self.crew.see_to_leaving()
            self._renewal.go_on()
            self.crew.spread()
        if self._notifier.watchdog_s and now_s >= self._alive_at_s:
            self._alive_at_s = now_s + self._notifier.watchdog_s
            self._notifier.alive()

    @property
    def crew(self) -> Crew:
        """The workers; from `startup` on."""
        assert self._crew is not None
        return self._crew

    @property
    def nursery(self) -> Nursery:
        """The zygotes; from `startup` on."""
        assert self._nursery is not None
        return self._nursery

    def _fill_places(self, now_s: float) -> None:
        """Start who is missing. The first one of all starts alone: if it cannot, one is enough to say why."""
        zygote = self.nursery.current
        if zygote is None:
            return
        is_first = not any(process.was_ready for process in self.crew.processes.values())
        for place in list(self.crew.places.values()):
            # Its successor may take long to start, if it ever does.
            if place.process is None and not place.is_leaving and now_s >= place.may_start_s:
                self.crew.spawn(place, zygote, self.nursery.generation)
            if is_first and not self.is_up:
                break

    def on_ready(self, process: Process) -> None:
        """A worker lets connections in."""
        del process
        places = self.crew.places.values()
        if not self.is_up and all(place.process and place.process.phase is Phase.READY for place in places):
            self.is_up = True
            self._announce()

    def _announce(self) -> None:
        assert self._doors is not None
        sys.stdout.write(f"listening on {self._doors.address}\n")
        if self._admin:
            port = self._admin[0].getsockname()[1]
            sys.stdout.write(f"admin on {as_url(self.settings.admin_host, port)}\n")
        sys.stdout.flush()
        self._notifier.ready()

    def on_end(self, process: Process, code: int) -> None:
        """A worker has ended: as it should, or not."""
        place = process.place
        if not process.pid and self.is_up:
            # It was never born, for want of memory perhaps: that is no reason to stop those who live.
            place.may_start_s = time.monotonic() + UNBORN_PAUSE_S
            return
        is_engine_away = code == ENGINE_AWAY
        if is_engine_away:
            code = StartError.exit_code
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        if self.is_stopping or process.phase is Phase.RETIRING or place.is_leaving:
            if code and not self._stop_signals >= 2:
                what = "while it drained" if process.was_ready else "when it was given up"
                _log.warning("worker %d (process %d) %s %s", place.number, process.pid, how, what)
                self.exit_code = self.exit_code or (1 if self.is_stopping else 0)
            return
        if self._renewal.is_new(process):
            # That the application does not run any longer must not cost more than the restart: others serve.
            self._renewal.fail(f"a new worker {how} {'when' if process.was_ready else 'before'} it was ready")
            return
        if is_engine_away and self.is_up:
            # Those who are here go on without Redis, and must not be stopped by one more trouble.
            place.may_start_s = time.monotonic() + UNBORN_PAUSE_S
            _log.error("worker %d cannot start while Redis is away: another one will try again", place.number)
        elif code in (StartError.exit_code, AppImportError.exit_code):
            _log.error("worker %d (process %d) %s: the server stops", place.number, process.pid, how)
            self.stop(code)
        elif place.note_death(time.monotonic()):
            _log.error(
                "worker %d (process %d) %s, for the %dth time within %g s: the server stops",
                place.number,
                process.pid,
                how,
                MAX_DEATHS,
                DEATHS_WITHIN_S,
            )
            self.stop(code if code > 0 else 1)
        else:
            _log.error("worker %d (process %d) %s: another one takes its place", place.number, process.pid, how)

    def on_failure(self, error: StartError) -> None:
        """The server cannot go on."""
        _log.error("%s", error)
        self.stop(error.exit_code)

    def on_zygote_failure(self, code: int) -> None:
        """The application could not be loaded, and what could not has said why."""
        self.stop(code)

    # Signals.

    def on_signal(self, number: int) -> None:
        """One of those that were taken."""
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self.on_stop_signal(number)
            case signal.SIGUSR1:
                logs.reopen()
                self.nursery.tell_all("reopen")
                self.crew.tell_all("reopen")
            case signal.SIGHUP if not self.is_stopping and self.is_up:
                self._renewal.ask()
            case signal.SIGTTIN if not self.is_stopping and self.is_up:
                self.on_more()
            case signal.SIGTTOU if not self.is_stopping and self.is_up:
                self.on_fewer()
            case signal.SIGCHLD:
                pass
            case _:
                _log.warning("%s is ignored while the server starts or stops", signal.Signals(number).name)

    def on_stop_signal(self, number: int) -> None:
        """TERM and INT: drain, and stop at once when a second one comes."""
        self._stop_signals += 1
        name = signal.Signals(number).name
        if self._stop_signals == 1:
            _log.info("%s: draining, workers: %d", name, len(self.crew.processes))
            self.stop(0)
            return
        _log.warning("%s again: stopping at once", name)
        self.exit_code = 1
        self.crew.tell_all("hurry")
        self._deadline_s = min(self._deadline_s, time.monotonic() + HURRY_S)

    def stop(self, code: int) -> None:
        """Let everybody drain, and end with this code."""
        if self.is_stopping:
            return
        self.is_stopping = True
        self.exit_code = code
        self._notifier.stopping()
        self.nursery.close()
        self.crew.stop()

    def on_more(self) -> None:
        """TTIN: one worker more, where something connects them."""
        if self._redis == "none":
            _log.warning(
                "SIGTTIN is ignored: without Redis two workers would not hear each other; start the server again with "
                "--redis embedded, or the URL of one"
            )
            return
        if not self.crew.has_room(len(self.crew.places) + 1):
            _log.warning("SIGTTIN: there is no room for another worker: start the server again with more --workers")
            return
        try:
            place = self.crew.add_place()
        except StartError as error:
            _log.error("SIGTTIN: %s", error)
            return
        _log.info("SIGTTIN: one worker more, number %d", place.number)

    def on_fewer(self) -> None:
        """TTOU: one worker fewer."""
        staying = [place for place in self.crew.places.values() if not place.is_leaving]
        if len(staying) < 2:
            _log.warning("SIGTTOU is ignored: there is one worker")
            return
        place = max(staying, key=lambda place: place.number)
        _log.info("SIGTTOU: one worker fewer, number %d", place.number)
        self.crew.give_up_place(place)

    # End.

    def shutdown(self) -> None:
        """Give everything back; whoever is still there is killed."""
        if self._crew is not None:
            self._crew.kill()
        if self._nursery is not None:
            self._nursery.kill()
        if self._doors is not None:
            self._doors.close()
        for sock in self._admin:
            sock.close()
        if self._board is not None:
            os.close(self._board.fd)
        if self._pidfile is not None:
            self._pidfile.unlink(missing_ok=True)
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for sock in self._waker:
            sock.close()

    # Descriptors and children.

    def _watch(self, channel: Channel, handler: Callable[[], None]) -> None:
        self._selector.register(channel, selectors.EVENT_READ, handler)

    def _unwatch(self, channel: Channel) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(channel)

    def _reap_orphans(self) -> None:
        """What workers have left behind is ours when they end. For our other children somebody else waits."""
        while all(process.pid for process in self.crew.processes.values()):
            try:
                found: Any = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is None or self._is_known(found.si_pid):
                    return
                os.waitpid(found.si_pid, 0)
            except (ChildProcessError, ProcessLookupError):
                return  # there is none, or a thread of ours has just taken the one that it waited for

    def _is_known(self, pid: int) -> bool:
        known = {process.pid for process in self.crew.processes.values()} | self.nursery.pids()
        return pid in known or os.getsid(pid) == os.getsid(0)


def make_board(settings: Settings) -> Board:
    """What all workers count on, as large as the settings and this machine may need it."""
    most = descriptor_capacity() * settings.workers
    if settings.max_connections:
        most = min(most, settings.max_connections)
    return Board.create(
        slots=min(4 * settings.workers + 64, MAX_SLOTS),
        addresses=min(2 * most, _MAX_ADDRESSES),
        window=64 + 4 * settings.workers,
    )
