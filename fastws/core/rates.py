"""Limits per second of one connection: token buckets with a burst of one second."""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_REFUSALS: Final = 100
REFUSAL_WINDOW_S: Final = 10.0
"""A connection that was refused `MAX_REFUSALS` times within so many seconds is closed."""


class Meter:
    """What one connection may still send. Times are seconds of any clock that never steps back."""

    __slots__ = ("_bytes", "_bytes_per_s", "_filled_s", "_messages", "_messages_per_s", "_refusals")

    def __init__(self, messages_per_s: int, bytes_per_s: int, now_s: float) -> None:
        """0 = unlimited."""
        self._messages_per_s = messages_per_s
        self._bytes_per_s = bytes_per_s
        self._messages = float(messages_per_s)
        self._bytes = float(bytes_per_s)
        self._filled_s = now_s
        self._refusals: deque[float] | None = None

    def take(self, size: int, now_s: float) -> bool:
        """Take one message of `size` bytes out of the buckets, unless there is not enough left in one of them."""
        elapsed_s = now_s - self._filled_s
        self._filled_s = now_s
        self._messages = min(self._messages + elapsed_s * self._messages_per_s, self._messages_per_s)
        self._bytes = min(self._bytes + elapsed_s * self._bytes_per_s, self._bytes_per_s)
        if (self._messages_per_s and self._messages < 1) or (self._bytes_per_s and self._bytes < size):
            return False
        self._messages -= 1
        self._bytes -= size
        return True

    def refuse(self, now_s: float) -> bool:
        """Note that a message was refused; True when there were so many that the connection is to be closed."""
        if self._refusals is None:
            self._refusals = deque(maxlen=MAX_REFUSALS)
        self._refusals.append(now_s)
        return len(self._refusals) == MAX_REFUSALS and now_s - self._refusals[0] <= REFUSAL_WINDOW_S
