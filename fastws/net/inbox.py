"""Messages that wait for a coroutine which receives them one by one."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from fastws.errors import UsageError

CAPACITY: Final = 128
"""Messages that may wait; reading pauses while there are so many, and goes on at half of it."""


class Pausable(Protocol):
    """What can stop reading from its peer."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class ConnectionEnded(EOFError):  # noqa: N818
    """The connection has ended, and every message before that was received."""


class Inbox:
    """The queue between a connection that is read and the one coroutine that receives from it."""

    __slots__ = ("_connection", "_ended", "_messages", "_paused", "_waiter")

    def __init__(self, connection: Pausable) -> None:
        self._connection = connection
        self._messages: deque[str | bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._paused = False

    def put(self, message: str | bytes) -> None:
        """A message has arrived. Pauses the connection when the queue is full."""
        self._messages.append(message)
        if len(self._messages) >= CAPACITY and not self._paused:
            self._paused = True
            self._connection.pause_reading()
        self._wake()

    def end(self) -> None:
        """No message comes any more; those that are there can still be received."""
        self._ended = True
        self._wake()

    async def get(self) -> str | bytes:
        """The next message. Raises `ConnectionEnded` at the end, `UsageError` if another coroutine is waiting
        already.
        """
        while not self._messages:
            if self._ended:
                raise ConnectionEnded("the connection has ended")
            if self._waiter is not None:
                raise UsageError("two coroutines receive from one connection", "receive in one and hand on from there")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._messages.popleft()
        if self._paused and not self._ended and len(self._messages) <= CAPACITY // 2:
            self._paused = False
            self._connection.resume_reading()
        return message

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
