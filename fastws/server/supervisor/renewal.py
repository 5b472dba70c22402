"""The rolling restart: new code and a new configuration, place by place, while the server serves.

What workers were forked from before is kept until everybody has a successor. So whatever becomes of a restart, there is
something to fork that has served.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from fastws.config import Settings
from fastws.errors import StartupError
from fastws.observe import logs
from fastws.server.process.notify import Notifier
from fastws.server.process.rereading import read_again
from fastws.server.supervisor.crew import Crew
from fastws.server.supervisor.nursery import Nursery
from fastws.server.supervisor.places import GIVE_UP_S, Phase, Process

_log: Final = logging.getLogger("fastws.supervisor")

_AT_ONCE: Final = 8
"""Of so many workers one is replaced at a time: who is moved away finds room at the others."""


class Renewal:
    """Asked for by HUP. One at a time; who asks meanwhile gets another one afterwards."""

    def __init__(self, crew: Crew, nursery: Nursery, notifier: Notifier) -> None:
        self._crew = crew
        self._nursery = nursery
        self._notifier = notifier
        self._is_under_way = False
        self._is_asked_again = False
        self._has_failed = False
        self._settings = Settings()
        self._target = -1
        """The generation of the new workers."""
        self._old: list[Process] = []
        """Those who have a successor, ready or not yet, and have not ended."""

    def ask(self) -> None:
        """Begin, unless the configuration is wrong."""
        if self._is_under_way:
            self._is_asked_again = True
            return
        self._notifier.reloading()
        try:
            settings = read_again(self._nursery.given)
        except StartupError as error:
            _log.error("SIGHUP: the configuration is wrong, and everything stays as it is: %s", error)
            self._notifier.ready()
            return
        changes = self._nursery.changes(settings)
        if changes:
            _log.warning("SIGHUP: %s cannot change until the server is started again", ", ".join(changes))
        try:
            self._nursery.make_next()
        except StartupError as error:
            _log.error("SIGHUP: %s", error)
            self._notifier.ready()
            return
        _log.info("SIGHUP: replacing %d workers", len(self._crew.places))
        self._is_under_way = True
        self._has_failed = False
        self._settings = settings
        self._target = self._nursery.next_generation

    def go_on(self) -> None:
        """Do what can be done now."""
        if not self._is_under_way:
            return
        self._old = [
            process
            for process in self._old
            if self._crew.processes.get(process.slot) is process
            and (process.phase is Phase.RETIRING or process.place.successor is not None)
        ]
        if not self._is_settled:
            self._give_up_who_never_comes()
        if not self._is_settled and not self._begin_some():
            self._nursery.promote()
        if self._is_settled and not self._old:
            self._finish()

    @property
    def _is_settled(self) -> bool:
        """Whether it is known what workers are forked from afterwards."""
        return self._has_failed or self._nursery.generation == self._target

    def _give_up_who_never_comes(self) -> None:
        if self._nursery.next_has_failed:
            self.fail("the application could not be loaded")
        elif self._nursery.next_imports_for_s > GIVE_UP_S:
            self.fail(f"the application was not loaded within {GIVE_UP_S:.0f} s")
        now = time.monotonic()
        for successor in self._successors():
            if successor.waited_s(now) > GIVE_UP_S:
                self.fail(
                    f"worker {successor.place.number} (process {successor.pid}) did not come as far as to serve within "
                    f"{GIVE_UP_S:.0f} s, it waited for {successor.waits_for}"
                )

    def _successors(self) -> list[Process]:
        """Those that are still to come as far as to serve."""
        return [place.successor for place in self._crew.places.values() if place.successor is not None]

    def is_new(self, process: Process | None) -> bool:
        """Whether it is one of those that are tried out."""
        return not self._is_settled and self._has_target(process)

    def _has_target(self, process: Process | None) -> bool:
        return process is not None and process.generation == self._target

    def fail(self, reason: str) -> None:
        """Leave those as they are who have not been replaced yet; from now on what was there before is forked again."""
        if not self._is_under_way or self._is_settled:
            return
        self._has_failed = True
        renewed = sum(self._has_target(place.process) for place in self._crew.places.values())
        left = len(self._crew.places) - renewed
        more = f"; {renewed} that have been replaced go on with what is new, until they end" if renewed else ""
        _log.error("SIGHUP: %s: %d workers stay as they are%s", reason, left, more)
        for successor in self._successors():
            self._crew.give_up(successor)
        self._nursery.drop_next()

    def _begin_some(self) -> bool:
        """Have successors started, as many as may be at a time. True: there is somebody left to be replaced."""
        left = [
            place
            for place in self._crew.places.values()
            if not place.is_leaving and not self._has_target(place.process)
        ]
        zygote = self._nursery.successor
        leaving = sum(process.phase is Phase.RETIRING for process in self._old)
        room = max(len(self._crew.places) // _AT_ONCE, 1) - leaving - len(self._successors())
        for place in left:
            if zygote is None or room <= 0:
                break
            process = place.process
            if place.successor is not None or process is None or process.phase is not Phase.READY:
                continue
            if time.monotonic() < place.may_start_s:
                continue  # the last one could not even be forked
            if self._crew.spawn(place, zygote, self._target) is not None:
                self._old.append(process)
                room -= 1
        return bool(left)

    def _finish(self) -> None:
        self._is_under_way = False
        if not self._has_failed:
            self._take_over_logging()
            _log.info("all workers have been replaced")
        self._notifier.ready()
        if self._is_asked_again:
            self._is_asked_again = False
            self.ask()

    def _take_over_logging(self) -> None:
        """What the supervisor itself can take from the new configuration."""
        try:
            logs.configure(self._settings)
        except StartupError as error:
            _log.error("the supervisor logs as before: %s", error)
