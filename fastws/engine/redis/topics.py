"""Publications: to everybody who hears a topic, and into its history."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count

from fastws.core.publication import Position, Retention
from fastws.engine.contract import Answer, Outgoing, Page, Recovery
from fastws.engine.redis.common import Common
from fastws.engine.redis.topic.asking import Asking
from fastws.engine.redis.topic.channels import Channels
from fastws.engine.redis.topic.past import Past
from fastws.engine.redis.topic.sending import Sending
from fastws.types import Published, TopicInfo


class Topics:
    """See the contract for what its methods do."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self.channels = Channels(common)
        """Is told what is said in channels."""
        self._epoch_prefix = os.urandom(6).hex()
        self._epoch_numbers = count(1)
        self._sending = Sending(common, self.channels, self._new_epoch)
        self._past = Past(common, self.channels, self._new_epoch)
        self._asking = Asking(common)

    async def start(self) -> None:
        """Hear what others ask; `EngineError` if that cannot be."""
        await self._asking.start()

    def _new_epoch(self) -> str:
        """A name that no epoch has had, in any process."""
        return f"{self._epoch_prefix}{next(self._epoch_numbers):x}"

    def join(self, topic: str) -> Answer[None]:
        """Subscribe to its channel."""
        return self.channels.join(topic)

    def leave(self, topic: str) -> None:
        """Unsubscribe, after a moment."""
        self.channels.leave(topic)

    def publish(self, outgoing: Outgoing) -> Answer[Published]:
        """Publish."""
        return self._sending.publish(outgoing)

    def recover(self, topic: str, retention: Retention, since: Position | None) -> Answer[Recovery]:
        """What was missed."""
        return self._past.recover(topic, retention, since)

    def history(
        self, topic: str, retention: Retention, since: Position | None, limit: int, *, reverse: bool = False
    ) -> Answer[Page]:
        """A page."""
        return self._past.history(topic, retention, since, limit, reverse=reverse)

    def positions(self, topics: Sequence[str]) -> Answer[Sequence[Position | None]]:
        """Where they are."""
        return self._common.later(self._past.positions(topics))

    def topics(self, tenant: str, pattern: str) -> Answer[Sequence[TopicInfo]]:
        """Those that somebody hears."""
        return self._asking.topics(tenant, pattern)

    def stop(self) -> None:
        """Send what waits, and hear nothing any more."""
        self._sending.flush()
        self.channels.stop()
