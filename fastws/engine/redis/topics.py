# ruff: noqa: ARG002
"""Publications: to everybody who hears a topic, and into its history."""

from __future__ import annotations

from collections.abc import Sequence

from fastws.core.publication import Position, Retention
from fastws.engine.contract import Answer, Outgoing, Page, Recovery
from fastws.engine.redis.common import Common
from fastws.errors import EngineError
from fastws.types import Published, TopicInfo


class Topics:
    """See the contract for what its methods do."""

    def __init__(self, common: Common) -> None:
        self._common = common

    def hear(self, channel: bytes, payload: bytes) -> bool:
        """Something was said in a channel; False if it is no topic's."""
        raise EngineError("not there yet")

    def join(self, topic: str) -> Answer[None]:
        """Subscribe to its channel."""
        raise EngineError("not there yet")

    def leave(self, topic: str) -> None:
        """Unsubscribe, after a moment."""
        raise EngineError("not there yet")

    def publish(self, outgoing: Outgoing) -> Answer[Published]:
        """Publish."""
        raise EngineError("not there yet")

    def recover(self, topic: str, retention: Retention, since: Position | None) -> Answer[Recovery]:
        """What was missed."""
        raise EngineError("not there yet")

    def history(
        self, topic: str, retention: Retention, since: Position | None, limit: int, *, reverse: bool = False
    ) -> Answer[Page]:
        """A page."""
        raise EngineError("not there yet")

    def positions(self, topics: Sequence[str]) -> Answer[Sequence[Position | None]]:
        """Where they are."""
        raise EngineError("not there yet")

    def topics(self, tenant: str, pattern: str) -> Answer[Sequence[TopicInfo]]:
        """Those that somebody hears."""
        raise EngineError("not there yet")
