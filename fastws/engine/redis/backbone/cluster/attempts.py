"""Commands that may have to be given more than once, to different masters, until one does them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from fastws.engine.redis.backbone.contract import Word
from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.resp.errors import ELSEWHERE, AwayError, BusyError, ReplyError
from fastws.engine.redis.resp.link import fail
from fastws.engine.redis.scripts import Script
from fastws.errors import EngineError

GIVE_UP_S: Final = 2.0
"""Seconds after which a command that nobody has done is given up."""
MOST_HELD: Final = 20_000
"""Commands of one partition that wait."""


class Attempt:
    """One command on its way to whoever can do it, which takes its own answer."""

    __slots__ = ("error", "future", "given_s", "keys", "number", "on_redirect", "partition", "script", "until", "words")

    def __init__(
        self,
        on_redirect: OnRedirect,
        number: int,
        partition: int,
        script: Script | None,
        keys: Sequence[bytes],
        words: Sequence[Word],
    ) -> None:
        """`on_redirect` is told when it was not done by whom it was given to; `number`: in the order of giving."""
        self.on_redirect = on_redirect
        self.number = number
        self.partition = partition
        self.script = script
        self.keys = keys
        self.words = words
        loop = asyncio.get_running_loop()
        self.given_s = loop.time()
        self.future: asyncio.Future[Any] = loop.create_future()
        """What the caller has."""
        self.until = 0.0
        """When it is given up; 0 while nobody has refused it and it was not held."""
        self.error: EngineError | None = None
        """Why it was not done yet."""

    def send(self, server: Server) -> None:
        """Give it to a server. Raises `AwayError` or `BusyError`."""
        if self.script is None:
            server.give(self, self.partition, self.words)
        else:
            server.run(self.script, self.partition, self.keys, self.words).add_done_callback(self._take_from)

    def _take_from(self, answer: asyncio.Future[Any]) -> None:
        error = answer.exception()
        if error is None:
            self.take(answer.result())
        elif isinstance(error, ReplyError):
            self.take(error)
        else:
            self.give_up(error if isinstance(error, EngineError) else EngineError(repr(error)))

    def take(self, answer: object) -> None:
        """It is answered."""
        if self.future.done():
            return
        if not isinstance(answer, ReplyError):
            self.future.set_result(answer)
        elif answer.code in ELSEWHERE:
            self.error = answer
            self.on_redirect(self, answer)
        else:
            fail(self.future, answer)

    def lose(self, error: AwayError) -> None:
        """There will be no answer."""
        fail(self.future, error)

    def give_up(self, error: EngineError) -> None:
        """Nobody has done it."""
        fail(self.future, error)

    def note_time(self) -> float:
        """Begin to count the time that it has; the time now."""
        now = asyncio.get_running_loop().time()
        if not self.until:
            self.until = now + GIVE_UP_S
        return now


OnRedirect: TypeAlias = Callable[[Attempt, ReplyError], None]


class Held:
    """The commands that wait, by their partitions."""

    def __init__(self) -> None:
        self._held: Final[dict[int, list[Attempt]]] = {}

    def add(self, attempt: Attempt) -> bool:
        """Hold one; false if there are too many."""
        held = self._held.setdefault(attempt.partition, [])
        if len(held) >= MOST_HELD:
            return False
        attempt.note_time()
        held.append(attempt)
        return True

    def release(self, partition: int, server: Server) -> None:
        """Give those of a partition to a server, in the order in which they were given first."""
        for attempt in sorted(self._held.pop(partition, ()), key=lambda each: each.number):
            if attempt.future.done() and not attempt.future.cancelled():
                continue  # its time is over, which its caller was told
            try:
                attempt.send(server)
            except (AwayError, BusyError) as error:
                attempt.give_up(error)

    def drop(self, partitions: Iterable[int], error: EngineError) -> None:
        """Give up those of some partitions."""
        for partition in partitions:
            for attempt in self._held.pop(partition, ()):
                attempt.give_up(error)

    def expire(self, error: EngineError) -> None:
        """Give up those whose time is over; `error` is for those that nobody was asked to do."""
        now = asyncio.get_running_loop().time()
        for partition, held in list(self._held.items()):
            late = [attempt for attempt in held if attempt.until < now]
            if late:
                self._held[partition] = [attempt for attempt in held if attempt.until >= now]
            for attempt in late:
                attempt.give_up(attempt.error or error)
