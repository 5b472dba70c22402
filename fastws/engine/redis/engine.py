"""The engine `redis`: the contract, put together from its parts.

A process is a node of the cluster for Redis: it has a lease, and a mailbox. What connects it is the backbone; `Topics`
publishes and remembers, `RemotePresence` and `Sessions` say who is here, `Post` carries orders.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from fastws.core.publication import Position, Retention
from fastws.engine.contract import (
    SESSIONS_LISTED,
    Admission,
    Answer,
    Cap,
    Engine,
    EngineEvents,
    NodeFigures,
    Order,
    Outcome,
    Outgoing,
    Page,
    Recovery,
)
from fastws.engine.redis.backbone.contract import Backbone
from fastws.engine.redis.common import Common, now_ms
from fastws.engine.redis.fleet.calls import Calls
from fastws.engine.redis.names import PARTITIONS, Names, partition_of
from fastws.engine.redis.nodes import Nodes
from fastws.engine.redis.post import Post
from fastws.engine.redis.presence import RemotePresence
from fastws.engine.redis.sessions import Sessions
from fastws.engine.redis.topics import Topics
from fastws.errors import EngineError
from fastws.types import Member, Presence, PresenceStats, Published, SessionInfo, TopicInfo, UserStatus

_log: Final = logging.getLogger("fastws.engine")

_AGAIN_S: Final = 0.5  # from one attempt to return to the next


class RedisEngine(Engine):
    """See the contract; it is what its backbone calls too."""

    name = "redis"
    may_lose = True

    def __init__(self, backbone: Backbone, *, prefix: str, node_name: str, lease_s: float) -> None:
        """`lease_s`: seconds after which a process that says nothing is taken for dead."""
        self._common = common = Common(backbone, Names(prefix), node_name)
        self._topics = Topics(common)
        self._hear_topic = self._topics.channels.hear  # hundreds of thousands of times a second
        self._presence = RemotePresence(common)
        self._sessions = Sessions(common)
        self._post = Post(common, self._sessions)
        self.claims = Calls(common)
        self._nodes = Nodes(common, node_name, lease_s, self._sessions, self._presence, self._post)
        self._away: set[int] = set()
        """Partitions whose server is away."""
        self._cut_off: set[int] = set()
        """Those of which the hub was told that they are away, and not yet that they are back."""
        self._returning: asyncio.Task[None] | None = None

    async def start(self, events: EngineEvents) -> None:
        await self._common.backbone.start(self)
        try:
            await self._nodes.register(events)
            self._common.events = events
            self._tell_hub("a part of it did not answer when this process began")
            await self._post.start()
            await self._topics.start()
        except BaseException:
            await self.stop()
            raise
        self._nodes.start()

    async def stop(self) -> None:
        if self._returning is not None:
            self._returning.cancel()
        self._topics.stop()
        self._presence.stop()
        try:
            await self._nodes.stop()
        finally:
            self._common.events = None
            await self._common.backbone.stop()
            for task in list(self._common.tasks):
                task.cancel()

    # What the backbone calls.

    def on_message(self, channel: bytes, payload: bytes) -> None:
        """Something was said in a channel."""
        if not self._hear_topic(channel, payload):
            hear = self._common.listeners.get(channel)
            if hear is not None and self._common.is_running:
                hear(payload)

    def on_away(self, partitions: Sequence[int], reason: str) -> None:
        """A server is away. If it was back for a moment only, that is the same outage."""
        self._away.update(partitions)
        if self._returning is not None:
            self._returning.cancel()
            self._returning = None
        self._tell_hub(reason)

    def on_back(self, partitions: Sequence[int]) -> None:
        """It is back."""
        self._away.difference_update(partitions)
        if self._away:
            self._tell_hub("")
        elif self._cut_off and self._common.is_running:
            self._returning = asyncio.get_running_loop().create_task(self._return())

    def _tell_hub(self, reason: str) -> None:
        """Of the parts that are away since now, and of those that are back before others."""
        if not self._common.is_running:
            return
        lost, back = self._away - self._cut_off, self._cut_off - self._away
        is_new = not self._cut_off
        if back:
            self._cut_off -= back
            self._nodes.return_in_part(back)
            self._common.events.on_restored(now_ms(), _of(back), is_over=False)
        if lost:
            if is_new and len(lost) == PARTITIONS:
                _log.warning("Redis is away (%s): this process is alone until it is back", reason)
            elif is_new:
                part = 100 * len(lost) / PARTITIONS
                _log.warning("a part of Redis is away (%s): %.0f %% of topics and users wait for it", reason, part)
            self._cut_off |= lost
            self._common.events.on_degraded(now_ms(), None if len(self._cut_off) == PARTITIONS else _of(lost))

    async def _return(self) -> None:
        """Be what this process was before: alive, with everybody who is here, and nothing missed in its mailbox."""
        while True:
            try:
                await self._nodes.renew()
                await self._post.mailbox.catch_up()
            except EngineError as error:
                if self._away:
                    return  # told again when it is back
                _log.warning("Redis is back and does not do what it is asked: %s", error)
            except Exception:
                _log.exception("this process cannot return to the others, and goes on trying")
            else:
                break
            await asyncio.sleep(_AGAIN_S)
        _log.info("Redis is back")
        back, self._cut_off = self._cut_off, set()
        self._common.events.on_restored(now_ms(), None if len(back) == PARTITIONS else _of(back))

    # Topics.

    def join(self, topic: str) -> Answer[None]:
        return self._topics.join(topic)

    def leave(self, topic: str) -> None:
        self._topics.leave(topic)

    def publish(self, outgoing: Outgoing) -> Answer[Published]:
        if self._presence.pending:
            self._presence.precede(outgoing.topic)
        return self._topics.publish(outgoing)

    def announce(self, data: bytes) -> Answer[None]:
        return self._post.announce(data)

    def recover(self, topic: str, retention: Retention, since: Position | None) -> Answer[Recovery]:
        return self._topics.recover(topic, retention, since)

    def history(
        self, topic: str, retention: Retention, since: Position | None, limit: int, *, reverse: bool = False
    ) -> Answer[Page]:
        return self._topics.history(topic, retention, since, limit, reverse=reverse)

    def positions(self, topics: Sequence[str]) -> Answer[Sequence[Position | None]]:
        return self._topics.positions(topics)

    # Who is here.

    def present(self, topic: str, conn: str, member: Member, *, announce: bool, is_known: bool = False) -> None:
        self._presence.present(topic, conn, member, announce=announce, is_known=is_known)

    def absent(self, topic: str, conn: str, member: Member, *, announce: bool) -> None:
        self._presence.absent(topic, conn, member, announce=announce)

    def presence(self, topic: str, limit: int) -> Answer[Presence]:
        return self._presence.presence(topic, limit)

    def presence_stats(self, topic: str) -> Answer[PresenceStats]:
        return self._presence.presence_stats(topic)

    def admit(self, user: str, conn: str, device: str, cap: Cap) -> Answer[Admission]:
        return self._sessions.admit(user, conn, device, cap)

    def attach(self, user: str, conn: str, device: str) -> None:
        self._sessions.attach(user, conn, device)

    def detach(self, user: str, conn: str, *, is_last: bool) -> Answer[bool]:
        return self._sessions.detach(user, conn, is_last=is_last)

    def assure(self) -> Answer[None]:
        return self._nodes.assure()

    def sessions(self, user: str, limit: int = SESSIONS_LISTED) -> Answer[Sequence[SessionInfo]]:
        return self._sessions.sessions(user, limit)

    def status(self, users: Sequence[str]) -> Answer[Sequence[UserStatus]]:
        return self._sessions.status(users)

    def topics(self, tenant: str, pattern: str) -> Answer[Sequence[TopicInfo]]:
        return self._topics.topics(tenant, pattern)

    # Nodes.

    def nodes(self) -> Answer[Sequence[NodeFigures]]:
        return self._nodes.nodes()

    def reaches(self, topic: str) -> bool:
        return not self._cut_off or partition_of(topic) not in self._cut_off

    def can_order(self, order: Order | None) -> bool:
        return not self._cut_off or self._cut_off.isdisjoint(self._post.needs(order))

    def order(self, order: Order) -> Answer[Outcome]:
        return self._post.order(order)


def _of(partitions: Collection[int]) -> Callable[[str], bool]:
    """Whether a topic belongs to one of them."""
    return lambda topic: partition_of(topic) in partitions
