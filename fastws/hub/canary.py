"""A message that this process sends to itself through the engine, again and again: what comes back shows that it works.

What is asked is not whether there is a connection to the engine, but whether it carries messages: out and in again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from typing import Final

from fastws.core.publication import Publication
from fastws.engine.contract import Engine, Outgoing
from fastws.errors import EngineError
from fastws.types import Published

_log: Final = logging.getLogger("fastws.hub")

INTERVAL_S: Final = 2.0
"""Seconds from one to the next."""
WITHIN_S: Final = 5.0
"""Seconds within which one has to have come back."""


class Canary:
    """`start` it when the engine has started, `stop` it before. The hub gives it what comes for `topic`."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, node_name: str) -> None:
        self.topic: Final = f"\0canary:{node_name}"
        """No name of a client's topic begins like this: a tenant has at least one letter."""
        self._engine = engine
        self._loop = loop
        self._number = 0
        self._recent: deque[bytes] = deque(maxlen=int(WITHIN_S // INTERVAL_S) + 1)
        """What was sent within the last 5 seconds, about: on a slow way the next one leaves before this is back."""
        self._heard_s = float("-inf")
        self._is_joined = False
        """The engine hears the topic."""
        self._next: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    @property
    def is_back(self) -> bool:
        """Whether one came back within the last 5 seconds."""
        return self._loop.time() - self._heard_s <= WITHIN_S

    def start(self) -> None:
        """Send the first one as soon as it would be heard; the others follow."""
        self._next = self._loop.call_later(INTERVAL_S, self._send)
        self._join()

    def _join(self) -> None:
        answer = self._engine.join(self.topic)
        if isinstance(answer, Awaitable):
            self._sending = self._loop.create_task(self._join_later(answer))
            self._sending.add_done_callback(self._joined)
        else:
            self._is_joined = True
            self._send_one()

    def look(self) -> None:
        """Something has happened to the engine: send one now, and not when the next one is due."""
        if self._next is not None:
            self._next.cancel()
            self._next = self._loop.call_later(0, self._send)

    def stop(self) -> None:
        """Send no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
            self._engine.leave(self.topic)
        if self._sending is not None:
            self._sending.cancel()

    def on_publication(self, publication: Publication) -> None:
        """One has come back; an old one, which was held up on the way, does not count."""
        if publication.data in self._recent:
            self._heard_s = self._loop.time()

    def _send(self) -> None:
        self._next = self._loop.call_later(INTERVAL_S, self._send)
        if self._sending is not None:
            return  # the last one has not left yet
        if self._is_joined:
            self._send_one()
        else:
            self._engine.leave(self.topic)
            self._join()

    def _send_one(self) -> None:
        self._number += 1
        data = b"%d" % self._number
        self._recent.append(data)
        try:
            answer = self._engine.publish(Outgoing(self.topic, data, None))
        except EngineError as error:
            _log.debug("the canary was not sent: %s", error)
            self._forget(data)
            return
        if isinstance(answer, Awaitable):
            self._sending = self._loop.create_task(self._send_later(data, answer))
            self._sending.add_done_callback(self._sent)
        elif answer.degraded:
            self._forget(data)

    def _forget(self, data: bytes) -> None:
        """It has not left this process, and may have come back all the same: what connects processes is away."""
        self._recent = deque((other for other in self._recent if other != data), self._recent.maxlen)
        self._heard_s = float("-inf")

    async def _join_later(self, answer: Awaitable[None]) -> None:
        try:
            await answer
        except EngineError as error:
            _log.debug("the canary is not heard: %s", error)
        else:
            self._is_joined = True

    def _joined(self, task: asyncio.Task[None]) -> None:
        self._sent(task)
        if self._next is not None and self._is_joined:
            self._next.cancel()
            self._send()

    async def _send_later(self, data: bytes, answer: Awaitable[Published]) -> None:
        try:
            published = await answer
        except EngineError as error:
            _log.debug("the canary was not sent: %s", error)
            self._forget(data)
        else:
            if published.degraded:
                self._forget(data)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the canary could not be sent", exc_info=error)
