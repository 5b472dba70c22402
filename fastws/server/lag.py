"""How late the event loop is: what every client of the process waits for."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from fastws.net.connection import Connection

_log: Final = logging.getLogger("fastws.loop")

WARN_S: Final = 0.1
"""A loop that is later than this is warned of, once in `WARN_EVERY_S`; a shared core alone makes it 50 ms late."""
WARN_EVERY_S: Final = 10.0


class LoopLag:
    """Wakes every `interval_s` seconds and notes how much later than asked for that was."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float = 0.25) -> None:
        self.last_s = 0.0
        self.peak_s = 0.0
        """The worst since `take_peak`."""
        self._loop = loop
        self._interval_s = interval_s
        self._handle: asyncio.TimerHandle | None = None
        self._warned_s = -WARN_EVERY_S

    def start(self) -> None:
        """Begin to measure."""
        self._handle = self._loop.call_at(self._loop.time() + self._interval_s, self._tick, self._loop.time())

    def stop(self) -> None:
        """Stop measuring."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def take_peak(self) -> float:
        """The worst lag since the last call, seconds."""
        peak, self.peak_s = self.peak_s, 0.0
        return peak

    def _tick(self, begun_s: float) -> None:
        now = self._loop.time()
        self.last_s = max(now - begun_s - self._interval_s, 0.0)
        self.peak_s = max(self.peak_s, self.last_s)
        if self.last_s > WARN_S and now - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now
            _log.warning(
                "the event loop was late by %.0f ms: a handler computes or blocks, or the machine is busy",
                self.last_s * 1000,
            )
        self.start()


class SlowHandlers:
    """Warns of handlers that hold the loop for more than 50 ms: every other client waits meanwhile.

    One for a worker; it is what endpoints call as `on_slow`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.count = 0
        """How often that happened."""
        self._loop = loop
        self._warned_s = -WARN_EVERY_S

    def __call__(self, conn: Connection, seconds: float) -> None:
        """What one read brought to `conn`, its handlers included, took `seconds`."""
        self.count += 1
        now = self._loop.time()
        if now - self._warned_s < WARN_EVERY_S:
            return
        self._warned_s = now
        _log.warning(
            "a handler held the event loop for %.0f ms (%d times so far): let it await, or give the work to a process",
            seconds * 1000,
            self.count,
            extra={"conn": conn.id, "path": conn.path},
        )
