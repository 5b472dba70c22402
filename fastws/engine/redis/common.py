"""What the parts of the engine have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import time
from typing import Any, Final, TypeVar

from fastws.engine.contract import EngineEvents
from fastws.engine.redis.backbone.contract import Backbone
from fastws.engine.redis.names import HERE, HOME, PARTITIONS, Names
from fastws.errors import EngineError, InternalError

Hear = Callable[[bytes], None]
HearOfTopic = Callable[[str, bytes], None]
"""Called with the topic and the envelope."""

T = TypeVar("T")

_log: Final = logging.getLogger("fastws.engine")


class Common:
    """One per engine."""

    def __init__(self, backbone: Backbone, names: Names, node: str) -> None:
        self.backbone = backbone
        self.names = names
        self.node = node
        """The id of this process as long as its lease lives: whoever is fenced gets another one. Sessions, presence and
        mailboxes belong to it, and no other process ever has the same.
        """
        self.listeners: dict[bytes, Hear] = {}
        """What is called for each channel that is no topic's."""
        self.kinds: dict[int, HearOfTopic] = {}
        """What is called for each kind of envelope in a topic's channel that is no publication."""
        self.unreadable: dict[str, int] = {}
        """Envelopes that were left out because nobody here can read them, by what they should have been."""
        self._marked: set[int] = set()
        self._marked_as = ""
        self.tasks: set[asyncio.Task[Any]] = set()
        """What is under way; cancelled when the engine stops."""
        self.hub: EngineEvents | None = None
        """The same as `events`, without a word where there is none: each message asks for it."""

    @property
    def events(self) -> EngineEvents:
        """The hub. Raises `InternalError` while the engine does not run."""
        if self.hub is None:
            raise InternalError("the engine is not running")
        return self.hub

    @events.setter
    def events(self, events: EngineEvents | None) -> None:
        self.hub = events

    @property
    def is_running(self) -> bool:
        """Whether events are wanted."""
        return self.hub is not None

    def later(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something that has to wait. Its answer need not be awaited."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()

    def skip(self, what: str) -> None:
        """An envelope cannot be read, or is of a version or kind that comes later than this program."""
        count = self.unreadable[what] = self.unreadable.get(what, 0) + 1
        if not count & (count - 1):
            _log.warning("%d envelopes of kind %s were left out: they are damaged, or of a newer fastws", count, what)

    def mark(self, partition: int) -> None:
        """Before something is noted as this node's in a partition: it is known that there may be something."""
        if self._marked_as != self.node:
            self._marked.clear()
            self._marked_as = self.node
        if partition in self._marked:
            return
        try:
            self.backbone.call(partition, b"SADD", self.names.key(HERE, partition), self.node)
        except EngineError:
            return  # what is to be noted fails as well
        self._marked.add(partition)

    def unmark(self) -> None:
        """Redis may have forgotten it."""
        self._marked.clear()

    def require(self, partition: int) -> None:
        """Raise `EngineError` if the server of this partition is away."""
        if not self.backbone.is_up(partition):
            raise EngineError("Redis is away", temporary=True)

    def away(self) -> set[int]:
        """The partitions whose servers are away."""
        return {partition for partition in range(PARTITIONS) if not self.backbone.is_up(partition)}

    @property
    def is_home_up(self) -> bool:
        """Whether what all nodes have in common can be asked."""
        return self.backbone.is_up(HOME)


def now_ms() -> int:
    """Milliseconds of Unix time on this machine; what is compared between machines asks Redis for its time."""
    return int(time() * 1000)
