"""The workers of one server: started, watched, told what to do, and collected when they have ended."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Final, Protocol

from fastws.errors import StartError
from fastws.server.supervisor.control import Channel
from fastws.server.supervisor.listening import Door, Doors
from fastws.server.supervisor.nursery import ZygoteProcess
from fastws.server.supervisor.places import GIVE_UP_S, WARN_S, Phase, Place, Process
from fastws.server.supervisor.weights import Load, weights
from fastws_ext.shared import Board

_log: Final = logging.getLogger("fastws.supervisor")

DEAF_S: Final = 2.0
"""A worker that has not written down how it is for so long gets no new connections."""
REMOVAL_S: Final = 1.5
"""After nobody is sent to a worker any longer, handshakes of TCP that were under way have so long to get there."""
LONGEST_REMOVAL_S: Final = 10.0
LAST_WORD_S: Final = 3.0
"""A process that is to die writes down where it is before that, if it can."""
LAST_CHANCE_S: Final = 10.0
"""A new worker that is not wanted any longer may end by itself for so long."""
_LEAST_NEWCOMERS: Final = 16


class Events(Protocol):
    """What the supervisor is told."""

    def on_ready(self, process: Process) -> None:
        """It lets connections in."""

    def on_end(self, process: Process, code: int) -> None:
        """It has ended with this exit code, negative for a signal. Nothing of it is left."""

    def on_failure(self, error: StartError) -> None:
        """The server cannot go on."""


class Crew:
    """All processes. `watch` and `unwatch`: have a channel's messages handled by the callable, or no longer."""

    def __init__(
        self,
        doors: Doors,
        admin: Sequence[socket.socket],
        board: Board,
        events: Events,
        watch: Callable[[Channel, Callable[[], None]], None],
        unwatch: Callable[[Channel], None],
    ) -> None:
        self.places: dict[int, Place] = {}
        self.processes: dict[int, Process] = {}
        """By slot."""
        self._doors = doors
        self._admin = admin
        self._board = board
        self._events = events
        self._watch = watch
        self._unwatch = unwatch
        self._parts: dict[Door, int] = {}
        self._total = 0
        """Connections when newcomers were spread last."""

    # Places.

    def add_place(self) -> Place:
        """One worker more, to be started. Raises `StartError`."""
        number = next(number for number in range(len(self.places) + 1) if number not in self.places)
        place = self.places[number] = Place(number, self._doors.make())
        return place

    def has_room(self, places: int) -> bool:
        """Whether so many workers could be restarted."""
        return 2 * places <= self._board.slots

    def give_up_place(self, place: Place) -> None:
        """One worker fewer: nobody is sent there any longer, and it ends when nobody waits."""
        place.leaving_since_s = time.monotonic()
        self.spread()

    def see_to_leaving(self) -> None:
        """Let those go that are to be given up."""
        now = time.monotonic()
        for place in [place for place in self.places.values() if place.is_leaving]:
            if not place.processes:
                self._doors.remove(place.door)
                del self.places[place.number]
                continue
            waited_s = now - place.leaving_since_s
            queue = place.door.queue() if place.door.is_open else 0
            # Where no program chooses, somebody new comes all the time.
            is_empty = queue == 0 or not self._doors.may_choose
            if not place.told_to_retire and (waited_s > LONGEST_REMOVAL_S or (waited_s > REMOVAL_S and is_empty)):
                place.told_to_retire = True
                for process in place.processes:
                    self.retire(process)

    # Processes.

    def spawn(self, place: Place, zygote: ZygoteProcess, generation: int) -> Process | None:
        """Start a process in a place: its successor, if there is one. None if the zygote does not hear."""
        slot = next((slot for slot in range(self._board.slots) if slot not in self.processes), None)
        if slot is None:
            return None
        ours, theirs = Channel.pair()
        process = Process(place, slot, ours, generation)
        listeners = [sock.fileno() for sock in place.door.sockets]
        admin = [sock.fileno() for sock in self._admin]
        sent = zygote.fork(place.number, slot, theirs, listeners, admin)
        theirs.close()
        if not sent:
            ours.close()
            return None
        if place.process is None:
            place.process = process
        else:
            place.successor = process
        self.processes[slot] = process
        self._watch(ours, lambda: self._hear(process))
        return process

    def _hear(self, process: Process) -> None:
        try:
            message = process.channel.receive()
        except BlockingIOError:
            return
        match message.kind if message is not None else "gone":
            case "hello" if message is not None:
                process.pid = message.fields["pid"]
                process.drain_timeout_s = message.fields.get("drain_timeout_s", 0.0)
                process.waits_for = "nothing that it has named"
                process.trace_fd = next(iter(message.descriptors), -1)
            case "waits" if message is not None:
                process.waits_for = message.fields["what"]
            case "started":
                self._started(process)
            case "ready":
                process.was_ready = True
                if process.phase is Phase.STARTING:
                    process.enter(Phase.READY)
                    self._take_place(process)
            case "retired" if process.place.is_leaving:
                self._doors.remove(process.place.door)
                self.spread()
            case "drained" if process.phase is Phase.STOPPING:
                process.enter(Phase.DRAINED)
            case "gone":
                self._unwatch(process.channel)
                if not process.pid:
                    self._ended(process, 1)

    def _started(self, process: Process) -> None:
        if process.phase is not Phase.STARTING:
            return
        try:
            self._doors.open(process.place.door)
        except StartError as error:
            self._events.on_failure(error)
            return
        process.channel.send("go")

    def _take_place(self, process: Process) -> None:
        place = process.place
        if place.successor is process:
            if place.process is not None:
                self.retire(place.process)
            place.process, place.successor = process, None
        self.spread()
        self._events.on_ready(process)

    def retire(self, process: Process) -> None:
        """Let it move its connections away and end."""
        process.enter(Phase.RETIRING)
        process.channel.send("retire")

    def give_up(self, process: Process) -> None:
        """The same for one that has not come as far as to serve, and perhaps never will: it has little time."""
        self.retire(process)
        process.abort_at_s = time.monotonic() + LAST_CHANCE_S

    def see_to_slow(self) -> None:
        """Name those whose start or end takes long, and end those who do not end."""
        now = time.monotonic()
        for process in self.processes.values():
            waited_s = process.waited_s(now)
            is_leaving = process.phase in (Phase.RETIRING, Phase.STOPPING)
            if waited_s > WARN_S and not process.is_warned_of:
                process.is_warned_of = True
                _log.warning(
                    "worker %d (process %d) has not %s for %.0f s: it waits for %s",
                    process.place.number,
                    process.pid,
                    "ended" if is_leaving else "come as far as to serve",
                    waited_s,
                    "its handlers or on_shutdown" if is_leaving and process.was_ready else process.waits_for,
                )
            if is_leaving and waited_s > GIVE_UP_S:
                self._abort(process, now)

    def tell_all(self, kind: str) -> None:
        """Say the same to every process."""
        for process in self.processes.values():
            process.channel.send(kind)

    def stop(self) -> None:
        """Let all drain. They wait for each other until `let_go`, and refuse whoever comes meanwhile."""
        for process in self.processes.values():
            if process.phase is not Phase.RETIRING:
                process.enter(Phase.STOPPING)
                process.channel.send("stop")

    def let_go(self) -> bool:
        """Let those end who are drained, if all are. False: there is still somebody to wait for."""
        if any(process.phase is Phase.STOPPING for process in self.processes.values()):
            return False
        for process in self.processes.values():
            if process.phase is Phase.DRAINED:
                process.enter(Phase.RETIRING)
                process.channel.send("exit")
        return not self.processes

    def kill(self) -> None:
        """End all at once."""
        for process in self.processes.values():
            _kill(process.pid)

    def collect(self) -> None:
        """Note who has ended, and see to the end of those who are to die."""
        now = time.monotonic()
        for process in list(self.processes.values()):
            if not process.pid:
                continue
            if now >= process.abort_at_s:
                self._abort(process, now)
            if now >= process.kill_at_s:
                _kill(process.pid)
            try:
                pid, status = os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = process.pid, 0
            if pid:
                self._unwatch(process.channel)
                self._ended(process, os.waitstatus_to_exitcode(status))

    def _ended(self, process: Process, code: int) -> None:
        trace = process.trace() if code < 0 else ""
        if trace:
            _log_trace(process, trace)
        process.close()
        self._board.clear(process.slot)
        del self.processes[process.slot]
        process.place.forget(process)
        self.spread()
        self._events.on_end(process, code)

    def kill_who_hangs(self, hang_s: float) -> None:
        """A worker whose loop does not go round any longer is killed; it is then found to have ended. While an
        application starts it may take its time, unless all are to end.
        """
        now_ns = time.monotonic_ns()
        for process in self.processes.values():
            beat_ns = self._board.figures(process.slot).beat_ns
            silent_s = (now_ns - beat_ns) / 1e9
            is_watched = process.was_ready or process.phase is not Phase.STARTING
            if process.pid and beat_ns and is_watched and process.kill_at_s == inf and silent_s > hang_s:
                _log.error(
                    "worker %d (process %d) has not answered for %.0f s and is killed: something blocks its event loop",
                    process.place.number,
                    process.pid,
                    silent_s,
                )
                self._abort(process, time.monotonic())

    def _abort(self, process: Process, now_s: float) -> None:
        """Have it write down where it is and die; if it does not, it is killed a moment later."""
        if process.kill_at_s == inf:
            process.kill_at_s = now_s + LAST_WORD_S
            _kill(process.pid, signal.SIGABRT)

    # Newcomers.

    def spread(self) -> None:
        """Have the kernel send newcomers to those who have fewest."""
        places = [place for place in self.places.values() if place.door.is_open]
        if not places or not self._doors.may_choose:
            return
        now_ns = time.monotonic_ns()
        loads = []
        for place in places:
            process = place.process
            if process is None:
                loads.append(Load(0, 0, 0, takes=False))
                continue
            figures = self._board.figures(process.slot)
            takes = process.phase is Phase.READY and not place.is_leaving
            is_deaf = now_ns - figures.beat_ns > DEAF_S * 1e9
            queue = place.door.queue()
            sockets = figures.sockets + queue
            loads.append(Load(sockets, figures.capacity - sockets, queue, takes=takes and not is_deaf))
        total = sum(load.sockets for load in loads)
        # Those who go again at once make no difference, so it is not arrivals that count.
        growth, self._total = max(total - self._total, 0), total
        shares = weights(loads, max(2 * growth, total // 50, _LEAST_NEWCOMERS))
        parts = dict(zip((place.door for place in places), shares, strict=True))
        if parts != self._parts:
            self._parts = parts
            self._doors.weigh(parts)


def _kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _log_trace(process: Process, trace: str) -> None:
    """Below the line, where tracebacks are, so that none of it looks like a line of its own."""
    message = "worker %d (process %d) was here when it ended"
    arguments = (process.place.number, process.pid)
    if _log.isEnabledFor(logging.ERROR):
        _log.handle(_log.makeRecord(_log.name, logging.ERROR, __file__, 0, message, arguments, None, sinfo=trace))
