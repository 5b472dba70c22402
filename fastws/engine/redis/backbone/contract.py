"""What the engine asks of its connections to Redis, and what it is told by them.

Every server behind it has one connection for commands and one for what is subscribed to. Commands of one partition are
executed in the order in which they are given. While a partition's server is away, `call` and `run` raise at once.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from fastws.engine.contract import Answer
from fastws.engine.redis.scripts import Script

Word = bytes | str | int | float
"""Of a command; text is sent in UTF-8."""


class BackboneEvents(Protocol):
    """Called on the loop; must not raise and must not wait."""

    def on_message(self, channel: bytes, payload: bytes) -> None:
        """Something was said in a channel that was subscribed to."""

    def on_away(self, partitions: Sequence[int], reason: str) -> None:
        """The server of these partitions is away since now; told once until `on_back`."""

    def on_back(self, partitions: Sequence[int]) -> None:
        """It is back: commands work, and every channel that was subscribed to is heard again. What was said meanwhile
        is lost.
        """


class Backbone(ABC):
    """All connections of this process. Whatever fails raises `EngineError`, within `DEADLINE_S`."""

    publish_command: bytes = b"PUBLISH"
    """How a script publishes to a channel of its partition; `SPUBLISH` in a cluster."""

    @abstractmethod
    async def start(self, events: BackboneEvents) -> None:
        """Connect; `EngineError` with a sentence that says what to do if that cannot be done in time."""

    @abstractmethod
    async def stop(self) -> None:
        """Send what was given, wait for it for a moment, disconnect. Nothing is called after this."""

    @abstractmethod
    def is_up(self, partition: int) -> bool:
        """Whether commands for this partition are taken."""

    @abstractmethod
    def call(self, partition: int, *words: Word) -> asyncio.Future[object]:
        """One command; the future has the server's answer, or fails with `EngineError`: `ReplyError` if the server
        refused, `AwayError` if nobody knows whether it was done. It need not be awaited.
        """

    @abstractmethod
    def run(
        self, script: Script, partition: int, keys: Sequence[bytes], words: Sequence[Word]
    ) -> asyncio.Future[object]:
        """One script on keys of this partition; the same. Scripts that need it have the era's key before `keys`."""

    @abstractmethod
    def say(self, partition: int, channel: bytes, payload: bytes) -> asyncio.Future[object]:
        """Publish to a channel of a partition; the answer is to how many connections of its server."""

    @abstractmethod
    def subscribe(self, partition: int, channel: bytes) -> Answer[None]:
        """Hear a channel from now on, over all outages; what is said after this has answered is heard. While the
        partition's server is away it answers at once, and the channel is heard from `on_back` on.
        """

    @abstractmethod
    def unsubscribe(self, partition: int, channel: bytes) -> None:
        """Hear it no longer."""
