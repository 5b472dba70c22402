"""How connections are moved away before a worker ends: told to come back, a few at a time, within a deadline."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from fastws import closes

MIN_RETRY_MS: Final = 100
MIN_SPREAD_MS: Final = 1000
"""Even a drain of an instant has clients come back over this much time."""

_TURN_S: Final = 0.05
"""How often more are closed, and how often it is seen whether all are gone."""

_LOOKING_SHARE: Final = 10
"""To see who is left takes no more than one part in so many of the time."""

_LAST_WORD_S: Final = 0.25
"""How long a server that ends at once lets the kernel take its close frames."""


class Drainable(Protocol):
    """What a drain does to a connection."""

    def close(self, code: int = ..., reason: str = ...) -> None: ...

    def abort(self) -> None: ...


def closes_due(total: int, elapsed_s: float, rate: float, timeout_s: float) -> int:
    """How many of `total` connections should have been told to go `elapsed_s` after the beginning.

    `rate`: per second; 0 spreads them over half of `timeout_s`. With a timeout of 0 it is all of them at once.
    """
    if timeout_s <= 0:
        return total
    per_second = rate if rate > 0 else total / (timeout_s / 2)
    return min(total, int(per_second * elapsed_s) + 1)


def retry_ms(spread_s: float) -> int:
    """A random pause for one client before it connects again, so that they do not all come back at once."""
    return random.randint(MIN_RETRY_MS, max(int(spread_s * 1000), MIN_SPREAD_MS))  # noqa: S311


class Drain:
    """One drain. `connections` lists the WebSockets that are left, `pending` counts HTTP handlers under way."""

    def __init__(
        self,
        connections: Callable[[], Iterable[Drainable]],
        pending: Callable[[], int],
        *,
        rate: float,
        timeout_s: float,
    ) -> None:
        self.reset = 0
        """Connections that did not close in time."""
        self._connections = connections
        self._pending = pending
        self._rate = rate
        self._timeout_s = timeout_s
        self._known: set[Drainable] = set()
        self._waiting: deque[Drainable] = deque()
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Do not wait any longer; `run` returns and closes nobody else."""
        self._stopped.set()

    async def run(self) -> None:
        """Close everyone with 1012 and `restarting retry_ms=<integer>`, in order of age, and reset who is left.

        Those whose upgrade was under way when it began come last.
        """
        loop = asyncio.get_running_loop()
        begun = look_again = loop.time()
        left: list[Drainable] = []
        while not self._stopped.is_set():
            now = loop.time()
            if now >= look_again:
                left = self._look()
                # Of a million it takes long, and they all would wait meanwhile.
                look_again = now + _LOOKING_SHARE * (loop.time() - now)
            if not left and not self._pending():
                break
            if 0 < self._timeout_s <= now - begun:
                break
            self._tell(now - begun)
            if self._timeout_s <= 0:
                await self._pause(_LAST_WORD_S)
                break
            await self._pause(min(_TURN_S, self._timeout_s))
        if not self._stopped.is_set():
            left = self._look()
            self.reset = len(left)
            for conn in left:
                conn.abort()

    def _look(self) -> list[Drainable]:
        """Who is left; newcomers are to be told as well."""
        left = list(self._connections())
        newcomers = [conn for conn in left if conn not in self._known]
        self._known.update(newcomers)
        self._waiting.extend(newcomers)
        return left

    def _tell(self, elapsed_s: float) -> None:
        total = len(self._known)
        told = total - len(self._waiting)
        spread_s = total / self._rate if self._rate > 0 else self._timeout_s / 2
        for _ in range(closes_due(total, elapsed_s, self._rate, self._timeout_s) - told):
            reason = f"{closes.RESTARTING.reason} retry_ms={retry_ms(spread_s)}"
            self._waiting.popleft().close(closes.RESTARTING.code, reason)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return


async def close_now(connections: Iterable[Drainable]) -> None:
    """Close everyone with 1001, and give the kernel a moment to take the frames."""
    for conn in connections:
        conn.close(*closes.GOING_AWAY)
    await asyncio.sleep(_LAST_WORD_S)
