"""The rolling restart: new code and a new configuration, place by place, while the server serves."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from fastws.config import Settings, load
from fastws.errors import StartupError
from fastws.server import engines, startup_checks
from fastws.server.process.notify import Notifier
from fastws.server.supervisor.crew import Crew
from fastws.server.supervisor.nursery import Nursery
from fastws.server.supervisor.places import Phase, Process

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
        self._target = 0
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
        self._target = self._nursery.generation + 1

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
        is_promoted = self._nursery.generation >= self._target
        if not is_promoted and not self._has_failed and self._nursery.next_has_failed:
            self.fail("the application could not be loaded")
        renewed = [place for place in self._crew.places.values() if self._is_new(place.process)]
        if renewed and not is_promoted and not self._has_failed:
            self._nursery.promote()
        if not self._has_failed and self._begin_some():
            return
        if not self._old:
            self._finish()

    def fail(self, reason: str) -> None:
        """Leave those as they are who have not been replaced yet."""
        if not self._is_under_way or self._has_failed:
            return
        self._has_failed = True
        left = sum(not self._is_new(place.process) for place in self._crew.places.values())
        _log.error("SIGHUP: %s: %d workers stay as they are", reason, left)
        self._nursery.drop_next()

    def _begin_some(self) -> bool:
        """Have successors started, as many as may be at a time. True: there is somebody left to be replaced."""
        left = [
            place for place in self._crew.places.values() if not place.is_leaving and not self._is_new(place.process)
        ]
        is_promoted = self._nursery.generation >= self._target
        zygote = self._nursery.current if is_promoted else self._nursery.successor
        at_once = max(len(self._crew.places) // _AT_ONCE, 1)
        for place in left:
            if zygote is None or len(self._old) >= at_once:
                break
            process = place.process
            if place.successor is not None or process is None or process.phase is not Phase.READY:
                continue
            if time.monotonic() < place.may_start_s:
                continue  # the last one could not even be forked
            if self._crew.spawn(place, zygote, self._target) is not None:
                self._old.append(process)
        return bool(left)

    def _is_new(self, process: Process | None) -> bool:
        return process is not None and process.generation >= self._target

    def _finish(self) -> None:
        self._is_under_way = False
        if not self._has_failed:
            _log.info("all workers have been replaced")
        self._notifier.ready()
        if self._is_asked_again:
            self._is_asked_again = False
            self.ask()


def read_again(given: Mapping[str, object]) -> Settings:
    """The settings as they are now. Raises `StartupError` for what would not start."""
    settings = engines.chosen(load(given))
    startup_checks.protect(settings)
    startup_checks.tls_context(settings)
    return settings
