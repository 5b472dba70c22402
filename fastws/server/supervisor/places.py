"""Workers as the supervisor sees them: places that stay, and processes that come and go in them."""

from __future__ import annotations

import enum
import os
import time
from collections import deque
from math import inf
from typing import Final

from fastws.server.supervisor.control import Channel
from fastws.server.supervisor.listening import Door

ENGINE_AWAY: Final = 75  # EX_TEMPFAIL
"""A worker ends with this exit code where it could not start because Redis is away."""

WARN_S: Final = 60.0
"""Whoever starts or ends for longer is named in a warning, with what it waits for."""
GIVE_UP_S: Final = 600.0
"""A restart does not wait any longer for a new worker, or anybody for one that has moved its connections away."""

MAX_DEATHS: Final = 5
DEATHS_WITHIN_S: Final = 30.0
_LONGEST_TRACE: Final = 64 * 1024
_LONGEST_PAUSE_S: Final = 1.0
_PAUSE_S: Final = 0.25


class Phase(enum.Enum):
    """Of a process, in the order in which they come."""

    STARTING = enum.auto()
    READY = enum.auto()
    RETIRING = enum.auto()
    """Somebody else has its place, or nobody: it moves its connections away and ends."""
    STOPPING = enum.auto()
    """The server stops."""
    DRAINED = enum.auto()
    """The server stops, and this one has nobody left."""


class Process:
    """One worker process."""

    def __init__(self, place: Place, slot: int, channel: Channel, generation: int) -> None:
        self.place = place
        self.slot = slot
        self.channel = channel
        self.generation = generation
        """Of the zygote that it was forked from."""
        self.pid = 0
        """0 until it has said it."""
        self.phase = Phase.STARTING
        self.since_s = time.monotonic()
        """When this phase began."""
        self.waits_for = "the process that it is forked from"
        """While it starts, in its own words."""
        self.drain_timeout_s = 0.0
        self.was_ready = False
        self.is_warned_of = False
        """Whether the log has it that this phase takes long."""
        self.abort_at_s = inf
        self.kill_at_s = inf
        self.trace_fd = -1
        """A file that it writes to where it is when a signal such as SIGABRT ends it; -1 if it has none."""

    def enter(self, phase: Phase) -> None:
        """What it does from now on."""
        self.phase = phase
        self.since_s = time.monotonic()
        self.is_warned_of = False

    def waited_s(self, now_s: float) -> float:
        """For how long a start or an end goes on; of an end, what comes after the time for moving connections away."""
        if self.phase in (Phase.RETIRING, Phase.STOPPING):
            return now_s - self.since_s - self.drain_timeout_s
        return now_s - self.since_s if self.phase is Phase.STARTING else 0.0

    def trace(self) -> str:
        """Where it was when a signal ended it; empty if nobody knows."""
        if self.trace_fd < 0:
            return ""
        text = os.pread(self.trace_fd, _LONGEST_TRACE, 0).decode(errors="replace")
        return text.partition("\nExtension modules:")[0].strip()

    def close(self) -> None:
        """Let go of what leads to it."""
        self.channel.close()
        if self.trace_fd >= 0:
            os.close(self.trace_fd)
            self.trace_fd = -1


class Place:
    """A worker by its number, with the sockets that whoever works there listens on."""

    def __init__(self, number: int, door: Door) -> None:
        self.number = number
        self.door = door
        self.process: Process | None = None
        self.successor: Process | None = None
        """Takes the place of `process` once it is ready."""
        self.leaving_since_s = 0.0
        """0 unless there shall be one worker fewer: this one."""
        self.told_to_retire = False
        self.may_start_s = 0.0
        """Not to be filled again before that."""
        self._deaths = Deaths()

    @property
    def is_leaving(self) -> bool:
        """Whether it is to be given up."""
        return self.leaving_since_s > 0

    @property
    def processes(self) -> list[Process]:
        """Those who hold the place or will."""
        return [process for process in (self.process, self.successor) if process is not None]

    def forget(self, process: Process) -> None:
        """It has ended."""
        if self.process is process:
            self.process = None
        if self.successor is process:
            self.successor = None

    def note_death(self, now_s: float) -> bool:
        """A process has died here. True: too many have."""
        recent = self._deaths.note(now_s)
        self.may_start_s = now_s + min(_PAUSE_S * (recent - 1), _LONGEST_PAUSE_S)
        return recent >= MAX_DEATHS


class Deaths:
    """How many there were lately."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=MAX_DEATHS)

    def note(self, now_s: float) -> int:
        """One more; answers how many there were within `DEATHS_WITHIN_S`."""
        self._times_s.append(now_s)
        return sum(now_s - time_s <= DEATHS_WITHIN_S for time_s in self._times_s)
