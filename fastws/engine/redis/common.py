"""What the parts of the engine have in common."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from fastws.engine.contract import EngineEvents
from fastws.engine.redis.backbone.contract import Backbone
from fastws.engine.redis.names import HOME, Names
from fastws.errors import EngineError, InternalError

Hear = Callable[[bytes], None]


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
        self._events: EngineEvents | None = None

    @property
    def events(self) -> EngineEvents:
        """The hub. Raises `InternalError` while the engine does not run."""
        if self._events is None:
            raise InternalError("the engine is not running")
        return self._events

    @events.setter
    def events(self, events: EngineEvents | None) -> None:
        self._events = events

    @property
    def is_running(self) -> bool:
        """Whether events are wanted."""
        return self._events is not None

    def require(self, partition: int) -> None:
        """Raise `EngineError` if the server of this partition is away."""
        if not self.backbone.is_up(partition):
            raise EngineError("Redis is away", temporary=True)

    @property
    def is_home_up(self) -> bool:
        """Whether what all nodes have in common can be asked."""
        return self.backbone.is_up(HOME)


def now_ms() -> int:
    """Milliseconds of Unix time on this machine; what is compared between machines asks Redis for its time."""
    return int(time() * 1000)
