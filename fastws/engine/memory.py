"""The engine of a single process: everything is in this process's memory and answers at once."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from time import monotonic, time
from typing import Final

from fastws.core.publication import Position, Publication, Retention
from fastws.engine.admission import admitted_here
from fastws.engine.contract import (
    SESSIONS_LISTED,
    Admission,
    Answer,
    Cap,
    Engine,
    EngineEvents,
    EpochError,
    NodeFigures,
    Order,
    Outcome,
    Outgoing,
    Page,
    Recovery,
)
from fastws.engine.departures import Departures
from fastws.engine.keys import Keys
from fastws.engine.log import Log, Stock
from fastws.engine.presence import LocalPresence
from fastws.errors import EngineError, InternalError
from fastws.types import Published, SessionInfo, TopicInfo, UserStatus

_log: Final = logging.getLogger("fastws.engine")

IDLE_S: Final = 3600.0
"""Seconds that the position of a topic outlives its publications and its subscribers here; then its epoch ends."""

MAX_KEYS: Final = 1_000_000
"""Keys of publications that are remembered at once, some 250 MB; above that a publication with a new key is refused."""

MAX_QUIET_TOPICS: Final = 100_000
"""Topics with history above which a new one takes the place of those that nobody hears and that hold nothing."""

MEMORY_SHARE: Final = 0.5
"""Of the machine's memory, or of the control group's: what the publications that are kept may take. Above that topics
give up what is oldest in them, those that nobody hears all of it; who wants to recover it is told that it is gone.
"""

LAST_SEEN_S: Final = 604_800.0
"""Seconds for which it is remembered when a user was here last: a week."""

MAX_LAST_SEEN: Final = 100_000
"""Users that left of whom that is remembered, some 12 MB; above that those are forgotten that left first."""

_LAST_SEEN_MS: Final = int(LAST_SEEN_S * 1000)
_WITHOUT_HISTORY: Final = Published(None, None, duplicate=False)
_SWEEP_S: Final = 1.0
_MADE_ROOM_BY: Final = 4  # logs looked at for each new one while there are too many
_MADE_SMALLER_BY: Final = 500  # logs looked at for each publication while they take too much, at most
_SWEPT_AT_ONCE: Final = 2000  # logs looked at per sweep, about 1 ms
_RELEASED_AT_ONCE: Final = 5000  # publications whose memory is given back at once, about 1 ms
_FORGOTTEN_AT_ONCE: Final = 4000  # keys per sweep, about 1 ms
_FORGOTTEN_FOR_EACH: Final = 2  # keys whose time is over, for each new one


def memory_size() -> int:
    """Bytes of memory that this process may use, as far as the system says."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text()
    except OSError:
        return size
    return min(size, int(limit)) if limit.strip().isdigit() else size


class MemoryEngine(LocalPresence, Engine):
    """See the contract. `clock` is seconds that never step back, `wall_clock` seconds of Unix time."""

    name = "memory"

    def __init__(self, clock: Callable[[], float] = monotonic, wall_clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._events: EngineEvents | None = None
        self._joined: set[str] = set()
        self._logs: dict[str, Log] = {}
        self._turns: deque[str] = deque()
        """The topics that have logs, in the order in which they are looked at. A dict whose first entry goes again and
        again would be searched for it.
        """
        self._stock = Stock()
        self._most_stock = int(memory_size() * MEMORY_SHARE)
        self._has_given_up = False
        self._keys = Keys()
        self._last_seen = Departures(MAX_LAST_SEEN)
        self._epoch_prefix = os.urandom(4).hex()
        self._epoch_numbers = count(1)
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, events: EngineEvents) -> None:
        self._events = events
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep_on)

    async def stop(self) -> None:
        self._events = None
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def join(self, topic: str) -> None:
        self._joined.add(topic)

    def leave(self, topic: str) -> None:
        self._joined.discard(topic)

    def publish(self, outgoing: Outgoing) -> Published:
        now_s = self._clock()
        key = outgoing.key
        if key is not None:
            self._keys.forget(now_s, _FORGOTTEN_FOR_EACH)
            known = self._keys.get(outgoing.topic, key, now_s)
            if known is not None:
                return known._replace(duplicate=True)
            if len(self._keys) >= MAX_KEYS:
                # Forgetting one instead would deliver its publication twice.
                raise EngineError("as many keys of publications are remembered as may be")
        now_ms = int(self._wall_clock() * 1000)
        publication = Publication(outgoing.data, now_ms, 0, outgoing.user, outgoing.conn, outgoing.exclude)
        published = _WITHOUT_HISTORY
        if outgoing.retention is not None:
            log = self._log(outgoing.topic, outgoing.retention)
            log.used_s = now_s
            log.add(publication, now_s)
            if self._stock.size > self._most_stock:
                self._give_up()
            published = Published(log.offset, log.epoch, duplicate=False)
        if key is not None:
            self._keys.note(outgoing.topic, key, published, now_s)
        if outgoing.topic in self._joined:
            self._listener.on_publication(outgoing.topic, publication, outgoing.exclude, published.epoch or "")
        return published

    def announce(self, data: bytes) -> None:
        self._listener.on_announcement(data, int(self._wall_clock() * 1000))

    def recover(self, topic: str, retention: Retention, since: Position | None) -> Recovery:
        log = self._trimmed_log(topic, retention)
        position = Position(log.epoch, log.offset)
        if since is None or since.epoch != log.epoch or not log.trimmed <= since.offset <= log.offset:
            return Recovery(position, recovered=False, publications=())
        return Recovery(position, recovered=True, publications=log.after(since.offset))

    def history(
        self, topic: str, retention: Retention, since: Position | None, limit: int, *, reverse: bool = False
    ) -> Page:
        log = self._trimmed_log(topic, retention)
        if since is not None and since.epoch != log.epoch:
            raise EpochError
        position = Position(log.epoch, log.offset)
        if not reverse:
            return Page(position, log.after(since.offset if since is not None else 0, limit))
        return Page(position, log.before(since.offset if since is not None else None, limit))

    def positions(self, topics: Sequence[str]) -> Sequence[Position | None]:
        logs = [self._logs.get(topic) for topic in topics]
        return [Position(log.epoch, log.offset) if log is not None else None for log in logs]

    def admit(self, user: str, conn: str, device: str, cap: Cap) -> Answer[Admission]:
        return admitted_here(self._listener, user, conn, device, cap)

    def attach(self, user: str, conn: str, device: str) -> None:  # noqa: ARG002 - the hub knows its connections
        self._last_seen.forget(user)

    def detach(self, user: str, conn: str, *, is_last: bool) -> bool:  # noqa: ARG002 - the same
        if is_last:
            self._last_seen.note(user, int(self._wall_clock() * 1000))
        return True

    def sessions(self, user: str, limit: int = SESSIONS_LISTED) -> Sequence[SessionInfo]:
        return self._listener.sessions_of(user, limit)

    def status(self, users: Sequence[str]) -> Sequence[UserStatus]:
        now_ms = int(self._wall_clock() * 1000)
        return [self._status(user, now_ms) for user in users]

    def _status(self, user: str, now_ms: int) -> UserStatus:
        devices = self._listener.devices_of(user)
        if devices:
            return UserStatus(True, sorted(devices), now_ms)
        return UserStatus(False, (), self._last_seen.when_ms(user, now_ms - _LAST_SEEN_MS))

    def topics(self, tenant: str, pattern: str) -> Answer[Sequence[TopicInfo]]:
        return self._listener.topics_of(tenant, pattern)

    def nodes(self) -> Sequence[NodeFigures]:
        return [self._listener.figures()]

    def order(self, order: Order) -> Answer[Outcome]:
        return self._listener.on_order(order)

    @property
    def _listener(self) -> EngineEvents:
        if self._events is None:
            raise InternalError("the engine is not running")
        return self._events

    def _trimmed_log(self, topic: str, retention: Retention) -> Log:
        """The log of a topic with what holds now."""
        log = self._log(topic, retention)
        log.used_s = self._clock()
        log.trim(log.used_s)
        log.release()
        return log

    def _log(self, topic: str, retention: Retention) -> Log:
        """The log of a topic, made if there is none; maybe with more in it than holds now."""
        log = self._logs.get(topic)
        if log is None:
            if len(self._logs) >= MAX_QUIET_TOPICS:
                self._look_at(_MADE_ROOM_BY, self._clock(), 0.0)
            log = self._logs[topic] = Log(f"{self._epoch_prefix}{next(self._epoch_numbers):x}", retention, self._stock)
            self._turns.append(topic)
        log.retention = retention
        return log

    def _give_up(self) -> None:
        """Let topics that nobody hears keep nothing, and if that is not enough, others half of what they have."""
        if not self._has_given_up:
            self._has_given_up = True
            size = self._stock.size // 1_000_000
            _log.warning("the history of topics takes %d MB: the oldest of it is given up from now on", size)
        heard: list[Log] = []
        for _ in range(min(_MADE_SMALLER_BY, len(self._turns))):
            topic = self._turns.popleft()
            self._turns.append(topic)
            log = self._logs[topic]
            if topic in self._joined:
                heard.append(log)
            else:
                log.give_up(len(log))
            if self._stock.size <= self._most_stock:
                return
        for log in heard:
            log.give_up((len(log) + 1) // 2)
            if self._stock.size <= self._most_stock:
                return

    def _sweep_on(self) -> None:
        self.sweep()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep_on)

    def sweep(self) -> None:
        """Give back the memory of what is too old, a bounded part at a time; called every second."""
        now_s = self._clock()
        self._keys.forget(now_s, _FORGOTTEN_AT_ONCE)
        self._last_seen.forget_until(int(self._wall_clock() * 1000) - _LAST_SEEN_MS)
        self._look_at(_SWEPT_AT_ONCE, now_s, IDLE_S)

    def _look_at(self, number: int, now_s: float, idle_s: float) -> None:
        """Trim those logs that were looked at the longest ago, and drop those that were of no use for `idle_s`."""
        left = _RELEASED_AT_ONCE
        for _ in range(min(number, len(self._turns))):
            topic = self._turns.popleft()
            log = self._logs[topic]
            log.trim(now_s)
            left -= log.release(left)
            if not log.is_released:
                self._turns.appendleft(topic)
                return
            if len(log) or topic in self._joined or now_s - log.used_s < idle_s:
                self._turns.append(topic)
            else:
                del self._logs[topic]
