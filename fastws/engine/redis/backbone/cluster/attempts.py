"""Commands that may have to be given more than once, to different masters, until one does them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from fastws.engine.redis.backbone.contract import Word
from fastws.engine.redis.backbone.server import Server
from fastws.engine.redis.resp.errors import AwayError, BusyError, ReplyError
from fastws.engine.redis.resp.link import fail
from fastws.engine.redis.scripts import Script
from fastws.errors import EngineError

GIVE_UP_S: Final = 2.0
"""Seconds after which a command that nobody has done is given up."""
MOST_HELD: Final = 20_000
"""Commands of one partition that wait."""

_ELSEWHERE: Final = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"})
"""Who answers so has done nothing."""


class Attempt:
    """One command on its way to whoever can do it. It is what the future of its answer calls."""

    __slots__ = ("error", "future", "keys", "number", "on_redirect", "partition", "script", "until", "words")

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
        loop = asyncio.get_running_loop()
        self.on_redirect = on_redirect
        self.number = number
        self.partition = partition
        self.script = script
        self.keys = keys
        self.words = words
        self.future: asyncio.Future[Any] = loop.create_future()
        """What the caller has."""
        self.until = loop.time() + GIVE_UP_S
        self.error: EngineError | None = None
        """Why it was not done yet."""

    def send(self, server: Server) -> None:
        """Give it to a server. Raises `AwayError` or `BusyError`."""
        if self.script is None:
            answer = server.call(self.partition, *self.words)
        else:
            answer = server.run(self.script, self.partition, self.keys, self.words)
        answer.add_done_callback(self)

    def __call__(self, answer: asyncio.Future[Any]) -> None:
        """It is answered."""
        if self.future.done():
            return
        error = answer.exception()
        if error is None:
            self.future.set_result(answer.result())
        elif isinstance(error, ReplyError) and error.code in _ELSEWHERE:
            self.error = error
            self.on_redirect(self, error)
        else:
            fail(self.future, error if isinstance(error, EngineError) else EngineError(repr(error)))

    def give_up(self, error: EngineError) -> None:
        """Nobody has done it."""
        fail(self.future, error)


OnRedirect: TypeAlias = Callable[[Attempt, ReplyError], None]


class Held:
    """The commands that wait, by their partitions."""

    def __init__(self) -> None:
        self._held: Final[dict[int, list[Attempt]]] = {}

    def add(self, attempt: Attempt) -> None:
        """Hold one. Raises `BusyError`."""
        held = self._held.setdefault(attempt.partition, [])
        if len(held) >= MOST_HELD:
            raise BusyError("more commands wait for a slot that is being moved than may")
        held.append(attempt)

    def release(self, partition: int, server: Server) -> None:
        """Give those of a partition to a server, in the order in which they were given first."""
        for attempt in sorted(self._held.pop(partition, ()), key=lambda each: each.number):
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
