"""Zygotes: the one that workers are forked from, and the one that will take its place."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from fastws.config import OPTIONS, Settings
from fastws.errors import StartError
from fastws.server.supervisor.control import Channel
from fastws.server.supervisor.places import WARN_S

_log: Final = logging.getLogger("fastws.supervisor")

KEPT: Final = (
    "host",
    "port",
    "uds",
    "workers",
    "backlog",
    "tcp_keepalive",
    "pidfile",
    "redis",
    "data_dir",
    "node_name",
    "prefix",
    "admin_host",
    "admin_port",
)
"""Settings that stay as they are until the server is started again."""

_PAUSE_S: Final = 3.0
"""Before another zygote is made in place of one that could not import the application, which it once could."""

_BOOTSTRAP: Final = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from fastws.server.supervisor.zygote import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


class ZygoteProcess:
    """One zygote, from `start` until it is hung up on. It says `loaded` when workers can be forked from it."""

    def __init__(self) -> None:
        self.is_loaded = False
        self.is_warned_of = False
        """Whether the log has it that importing takes long."""
        self._since_s = time.monotonic()
        self.channel, theirs = Channel.pair()
        try:
            command = [sys.executable, *_interpreter_flags(), "-P", "-c", _BOOTSTRAP]
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                [*command, str(theirs.fileno()), str(os.getpid()), *sys.path],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                # A terminal's signals are for the supervisor alone.
                start_new_session=True,
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def imports_for_s(self) -> float:
        """For how long it has been importing; 0 once it is done with that."""
        return 0.0 if self.is_loaded else time.monotonic() - self._since_s

    def begin(self, given: Mapping[str, object], kept: Mapping[str, object], board: int) -> None:
        """Let it import what these options of the command line say; `kept` are settings that stay as they were."""
        self.channel.send("begin", [board], given=dict(given), kept=dict(kept))

    def fork(self, worker: int, slot: int, channel: Channel, listeners: Sequence[int], admin: Sequence[int]) -> bool:
        """Ask for a worker that has these descriptors."""
        descriptors = [channel.fileno(), *listeners, *admin]
        return self.channel.send("fork", descriptors, worker=worker, slot=slot, listeners=len(listeners))

    def exit_code(self) -> int | None:
        """If it has ended: its exit code, 128 + signal if one ended it, as a shell has it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def hang_up(self) -> None:
        """Let it end; `exit_code` tells when it has."""
        self.channel.close()

    def kill(self) -> None:
        """End it at once, and collect it."""
        self.channel.close()
        self._process.kill()
        self._process.wait()


class Events(Protocol):
    """What the supervisor is told."""

    def on_zygote_failure(self, code: int) -> None:
        """Nobody can be forked, and that will not change. The exit code for it."""


class Nursery:
    """All zygotes that have not ended. `settings`: those that `KEPT` are taken from; `redis`: what is in use."""

    def __init__(
        self,
        given: Mapping[str, object],
        settings: Settings,
        redis: str,
        board: int,
        events: Events,
        watch: Callable[[Channel, Callable[[], None]], None],
        unwatch: Callable[[Channel], None],
    ) -> None:
        self.generation = 0
        """Of what is forked now."""
        self.next_generation = 0
        """Of what may be forked next; no two that were made by `make_next` have one."""
        self.given = given
        self._asked = {name: getattr(settings, name) for name in KEPT}
        self._kept = {**self._asked, "redis": redis}
        self._board = board
        self._events = events
        self._watch = watch
        self._unwatch = unwatch
        self._current: ZygoteProcess | None = None
        self._next: ZygoteProcess | None = None
        self._ending: list[ZygoteProcess] = []
        self._has_loaded = False
        self._make_at_s = 0.0
        self._is_closed = False

    def changes(self, settings: Settings) -> list[str]:
        """The options among `KEPT` that these settings would change."""
        return [OPTIONS[name].flag for name, value in self._asked.items() if getattr(settings, name) != value]

    def make_first(self) -> None:
        """Begin to import what is to be served."""
        self._current = self._make()

    def make_next(self) -> None:
        """Begin to import it again. Raises `StartError`."""
        self._next = self._make()
        self.next_generation += 1

    @property
    def next_has_failed(self) -> bool:
        """Whether there is none."""
        return self._next is None

    @property
    def next_imports_for_s(self) -> float:
        """For how long the next one has been importing; 0 if it is not."""
        return self._next.imports_for_s() if self._next is not None else 0.0

    @property
    def current(self) -> ZygoteProcess | None:
        """What workers are forked from, if it can be."""
        return self._current if self._current is not None and self._current.is_loaded else None

    @property
    def successor(self) -> ZygoteProcess | None:
        """What has imported everything again, and will take its place."""
        return self._next if self._next is not None and self._next.is_loaded else None

    def promote(self) -> None:
        """The next one is the one from now on."""
        if self._next is not None:
            if self._current is not None:
                self._let_end(self._current)
            self._current, self._next = self._next, None
            self.generation = self.next_generation

    def drop_next(self) -> None:
        """There is to be no next one after all."""
        if self._next is not None:
            self._let_end(self._next)
            self._next = None

    def tell_all(self, kind: str) -> None:
        """Say something to each, which one that still imports hears when it has."""
        for zygote in (self._current, self._next):
            if zygote is not None:
                zygote.channel.send(kind)

    def close(self) -> None:
        """No more forks."""
        self._is_closed = True
        self.drop_next()
        if self._current is not None:
            self._let_end(self._current)
            self._current = None

    def is_empty(self) -> bool:
        """Whether all have ended."""
        return not (self._current or self._next or self._ending)

    def kill(self) -> None:
        """End all at once."""
        for zygote in (self._current, self._next, *self._ending):
            if zygote is not None:
                self._unwatch(zygote.channel)
                zygote.kill()
        self._current = self._next = None
        self._ending.clear()

    def pids(self) -> set[int]:
        """Of their processes."""
        return {zygote.pid for zygote in (self._current, self._next, *self._ending) if zygote is not None}

    def collect(self) -> None:
        """Note who has ended, and who takes long."""
        for zygote in (self._current, self._next):
            if zygote is not None and zygote.imports_for_s() > WARN_S and not zygote.is_warned_of:
                zygote.is_warned_of = True
                what = self.given.get("app") or "what is to be served"
                _log.warning("importing %s (process %d) has not ended within %.0f s", what, zygote.pid, WARN_S)
        self._ending = [zygote for zygote in self._ending if zygote.exit_code() is None]
        if self._next is not None and self._next.exit_code() is not None:
            self._unwatch(self._next.channel)
            self._next.hang_up()
            self._next = None
        if self._current is None and not self._is_closed and time.monotonic() >= self._make_at_s:
            self._replace()
        current = self._current
        code = current.exit_code() if current is not None else None
        if current is None or code is None:
            return
        self._unwatch(current.channel)
        current.hang_up()
        self._current = None
        if not self._has_loaded:
            self._events.on_zygote_failure(code if 0 < code < 128 else 1)
            return
        # Those who are here go on without one.
        _log.error("the process that workers are forked from (%d) ended with exit code %d", current.pid, code)
        self._make_at_s = time.monotonic() if current.is_loaded else time.monotonic() + _PAUSE_S

    def _replace(self) -> None:
        try:
            self._current = self._make()
        except StartError as error:
            self._make_at_s = time.monotonic() + _PAUSE_S
            _log.error("%s", error)

    def _make(self) -> ZygoteProcess:
        try:
            zygote = ZygoteProcess()
        except OSError as error:
            raise StartError(f"no process can be started: {error}") from error
        self._watch(zygote.channel, lambda: self._hear(zygote))
        zygote.begin(self.given, self._kept, self._board)
        return zygote

    def _hear(self, zygote: ZygoteProcess) -> None:
        try:
            message = zygote.channel.receive()
        except BlockingIOError:
            return
        if message is None:
            self._unwatch(zygote.channel)
        elif message.kind == "loaded":
            zygote.is_loaded = self._has_loaded = True

    def _let_end(self, zygote: ZygoteProcess) -> None:
        self._unwatch(zygote.channel)
        if zygote.is_loaded:
            zygote.hang_up()
            self._ending.append(zygote)
        else:
            # It imports, and hears nothing.
            zygote.kill()


def _interpreter_flags() -> list[str]:
    """How this interpreter was started, as far as modules can tell."""
    flags = ["-O"] * sys.flags.optimize + [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        flags += ["-X", name if value is True else f"{name}={value}"]
    return flags
