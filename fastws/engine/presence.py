"""Presence where there is one process: who is in a topic is what the hub knows, and nothing is kept a second time."""

from __future__ import annotations

from abc import ABC, abstractmethod

from fastws.engine.contract import EngineEvents
from fastws.types import Member, Presence, PresenceStats


class LocalPresence(ABC):
    """The presence part of an engine without other processes."""

    @property
    @abstractmethod
    def _listener(self) -> EngineEvents:
        """The hub; raises while the engine does not run."""

    def present(self, topic: str, conn: str, member: Member, *, announce: bool, is_known: bool = False) -> None:
        """Nobody else has to know."""

    def absent(self, topic: str, conn: str, member: Member, *, announce: bool) -> None:
        """Nobody else has to know."""

    def presence(self, topic: str, limit: int) -> Presence:
        """What the hub knows."""
        return self._listener.members_of(topic, limit)

    def presence_stats(self, topic: str) -> PresenceStats:
        """What the hub has counted."""
        known = self._listener.members_of(topic, 0)
        return PresenceStats(known.connections, known.users)
