# ruff: noqa: ARG002
"""Who is present in topics, over all processes."""

from __future__ import annotations

from collections.abc import Iterable

from fastws.engine.contract import Answer
from fastws.engine.redis.common import Common
from fastws.errors import EngineError
from fastws.types import Member, Presence, PresenceStats


class RemotePresence:
    """See the contract for what its methods do."""

    def __init__(self, common: Common) -> None:
        self._common = common

    def present(self, topic: str, conn: str, member: Member, *, announce: bool) -> None:
        """Note it."""
        raise EngineError("not there yet")

    def absent(self, topic: str, conn: str, member: Member, *, announce: bool) -> None:
        """Note it."""
        raise EngineError("not there yet")

    def presence(self, topic: str, limit: int) -> Answer[Presence]:
        """Who is there."""
        raise EngineError("not there yet")

    def presence_stats(self, topic: str) -> Answer[PresenceStats]:
        """How many are."""
        raise EngineError("not there yet")

    async def register(self, members: Iterable[tuple[str, str, Member]]) -> None:
        """Note everybody who is here again, a part at a time, for a node with a new id; nothing is announced."""
        raise EngineError("not there yet")

    async def forget(self, node: str, partition: int, most: int) -> bool:
        """Remove at most `most` topics' members of a dead node from a partition, and announce that they left; True if
        nothing of it is left there.
        """
        raise EngineError("not there yet")
