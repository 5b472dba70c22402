"""What is answered as stored is at enough replicas: `WAIT` behind what was written.

A connection has one `WAIT` under way at most: it is for all that was written before it, and what is written meanwhile
has the next one together. So a pass of the loop costs one, and writers do not wait for each other in turn. What else is
asked over the connection waits behind it, for as long as replicas take to answer; where they do not, they are waited
for in full only now and then.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, Final

from fastws.engine.redis.resp.errors import AwayError, BusyError, ReplicasError
from fastws.engine.redis.resp.link import Link, Tuning, fail

_log: Final = logging.getLogger("fastws.engine")

_CONNECTED: Final = re.compile(rb"^connected_slaves:(\d{1,9})\r?$", re.MULTILINE)
_GLANCE_S: Final = 0.05
"""For so long replicas are waited for that have just not answered in time."""
_IN_FULL_EVERY_S: Final = 5.0
"""Seconds from one time that such replicas are waited for in full to the next."""
_TOLD_EVERY_S: Final = 10.0
"""Seconds from one time that the log says that they do not answer to the next, though they come and go."""


def connected_replicas(info: object) -> int:
    """How many a server has that says this of its replication (`INFO`)."""
    found = _CONNECTED.search(info) if isinstance(info, bytes) else None
    return int(found[1]) if found is not None else 0


class Replicas:
    """Of one server: how many of its replicas have to have what is stored, and whether they have."""

    def __init__(self, address: str, tuning: Tuning) -> None:
        """`address`: how logs call the server."""
        self._address = address
        self._least: Final = tuning.min_replicas
        self._within_s: Final = tuning.replicas_s
        self.is_short = False
        """The last time too few of them answered."""
        self.refused = 0
        """Writes that were answered as not safe, since the server has been known."""
        self._refused_before = 0
        self._now_s = 0.0
        self._in_full_at = self._told_at = float("-inf")
        self._is_told = False
        """The log says that they do not answer, and not yet that they do again."""

    @property
    def least(self) -> int:
        """How many; 0: nobody waits for them."""
        return self._least

    async def greet(self, link: Link, address: str) -> None:
        """Ask a new connection's server how many it has, and if they may be waited for. Raises `EngineError` if not.

        Fewer than there shall be is in the log: it may get them yet, and says of each write whether it has.
        """
        self._address = address
        if not self._least:
            return
        may_wait, said = link.ask("WAIT", 0, 1), link.ask("INFO", "replication")
        count = connected_replicas(await said)
        await may_wait  # for none, so that it is answered at once; not with how many there are, but have acknowledged
        if count < self._least:
            _log.warning("%s has %d of the %d replicas that --min-replicas asks for", address, count, self._least)

    def time_ms(self, now_s: float) -> int:
        """How long the next `WAIT` may take; `now_s` by the clock of the loop."""
        self._now_s = now_s
        if self.is_short and now_s - self._in_full_at < _IN_FULL_EVERY_S:
            return int(min(self._within_s, _GLANCE_S) * 1000)
        self._in_full_at = now_s
        return max(1, int(self._within_s * 1000))  # 0 would be for ever

    def judge(self, answer: object, writes: int) -> ReplicasError | None:
        """What came of a `WAIT` for so many writes: the error that their writers get, or None."""
        if isinstance(answer, int) and answer >= self._least:
            self.is_short = False
            if self._is_told:
                self._is_told = False
                refused, self._refused_before = self.refused - self._refused_before, self.refused
                _log.info(
                    "%s: enough replicas have what is stored again; %d writes were refused", self._address, refused
                )
            return None
        self.refused += writes
        if isinstance(answer, int):
            reason = f"{answer} of {self._least} replicas had it in time"
        else:
            reason = f"Redis does not say whether replicas have it: {answer}"
        self.is_short = True
        if not self._is_told and self._now_s - self._told_at >= _TOLD_EVERY_S:
            self._is_told, self._told_at = True, self._now_s
            _log.error("%s: what is written is refused, as it is not safe: %s", self._address, reason)
        return ReplicasError(f"it was stored, but may get lost yet: {reason}")


class Waiting:
    """Of one connection: the writes that are done, and not known to be at enough replicas."""

    __slots__ = ("_is_due", "_is_out", "_link", "_loop", "_replicas", "_writes")

    def __init__(self, link: Link, replicas: Replicas) -> None:
        self._link: Final = link
        self._replicas: Final = replicas
        self._loop: Final = asyncio.get_running_loop()
        self._writes: list[tuple[asyncio.Future[Any], object]] = []
        """Those that were answered, with their answers. Answers come in order, so that all of them were executed before
        the `WAIT` whose answer comes next.
        """
        self._is_out = False
        """A `WAIT` is on its way."""
        self._is_due = False
        """Something was sent behind it, or is sent in this pass."""

    def expect(self) -> None:
        """Something is written now; call it before it is sent, so that both go out together."""
        if not self._is_due:
            self._is_due = True
            if not self._is_out:
                self._loop.call_soon(self._ask_if_due)

    def hold(self, future: asyncio.Future[Any], answer: object) -> None:
        """It was written; the future gets the answer when that is safe, else `ReplicasError`."""
        self._writes.append((future, answer))
        if not self._is_out:
            self._ask()

    def _ask_if_due(self) -> None:
        if self._is_due and not self._is_out:
            self._ask()

    def _ask(self) -> None:
        self._is_due = False
        try:
            self._link.send(self, b"WAIT", self._replicas.least, self._replicas.time_ms(self._loop.time()))
        except BusyError as error:
            self._fail(ReplicasError(f"it was stored, but may get lost yet: {error}"))
        except AwayError as error:
            self._fail(error)
        else:
            self._is_out = True

    def take(self, answer: object) -> None:
        """So many replicas have it."""
        self._is_out = False
        writes, self._writes = self._writes, []
        error = self._replicas.judge(answer, len(writes))
        for future, result in writes:
            if error is not None:
                fail(future, error)
            elif not future.done():
                future.set_result(result)
        self._ask_if_due()

    def lose(self, error: AwayError) -> None:
        """The link is gone, and nobody knows."""
        self._is_out = False
        self._fail(error)

    def _fail(self, error: AwayError | ReplicasError) -> None:
        writes, self._writes = self._writes, []
        for future, _ in writes:
            fail(future, error)
