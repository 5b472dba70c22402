"""`sub` and `unsub`."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

from fastws import closes
from fastws.core.codecs.commands import Sub, Unsub
from fastws.core.topics import Namespace, scoped, topic_problem
from fastws.engine.contract import Answer, Engine, Recovery
from fastws.errors import TopicError
from fastws.gateway.auth.access import SUBSCRIBE, Access
from fastws.gateway.commands.common import Result, after, position_of
from fastws.gateway.session import Session
from fastws.hub.hub import Hub
from fastws.hub.topic import Topic
from fastws.net.connection import Connection


class Subscribing:
    """Who hears what."""

    def __init__(self, hub: Hub, engine: Engine, access: Access, *, max_topics: int) -> None:
        self._hub = hub
        self._engine = engine
        self._access = access
        self._max_topics = max_topics

    def sub(self, conn: Connection, session: Session, command: Sub) -> Answer[Result]:
        name = command.topic
        namespace = self._access.namespace(name)
        key = scoped(session.identity.tenant, name)
        self._check_new(conn, key)
        waiting = self._access.check(conn, session, SUBSCRIBE, name, namespace, command.token)
        if waiting is None:
            return self._join(conn, session, command, key, namespace)
        return after(waiting, partial(self._join, conn, session, command, key, namespace))

    def _check_new(self, conn: Connection, key: str) -> Topic | None:
        """The topic if anybody hears it, but not this connection."""
        heard = self._hub.topics.get(key)
        if heard is not None and conn in heard.audience:
            raise TopicError(closes.ALREADY_SUBSCRIBED.code, "this connection is subscribed to the topic")
        return heard

    def _join(self, conn: Connection, session: Session, command: Sub, key: str, namespace: Namespace) -> Answer[Result]:
        heard = self._check_new(conn, key)
        if self._max_topics and session.subscription_count >= self._max_topics:
            raise TopicError(
                closes.LIMIT_EXCEEDED.code, f"one connection subscribes to at most {self._max_topics} topics"
            )
        if heard is not None:
            _check_room(heard)
        topic = self._hub.topic(key, command.topic, namespace)
        retention = namespace.retention
        if retention is None:
            return self._enter(conn, session, topic, None)
        since = position_of(command.recover) if namespace.recover else None
        try:
            answer = self._engine.recover(key, retention, since)
        except BaseException:
            self._hub.settle(topic)
            raise
        if isinstance(answer, Recovery):
            return self._enter(conn, session, topic, answer)
        return self._enter_later(conn, session, topic, answer)

    async def _enter_later(
        self, conn: Connection, session: Session, topic: Topic, answer: Awaitable[Recovery]
    ) -> Result:
        topic.awaited += 1
        try:
            recovery = await answer
            _check_room(topic)  # others may have come meanwhile
            return self._enter(conn, session, topic, recovery)
        finally:
            topic.awaited -= 1
            self._hub.settle(topic)

    def _enter(self, conn: Connection, session: Session, topic: Topic, recovery: Recovery | None) -> Result:
        """The reply is queued before anything can be published: nothing happens in between."""
        if self._hub.subscribe(conn, topic):
            session.note_subscribed(topic)
        result: Result = {"topic": topic.name}
        if recovery is None:
            return {**result, "recovered": False, "publications": []}
        result["epoch"], result["offset"] = recovery.position
        result["recovered"] = recovery.recovered
        result["publications"] = list(recovery.publications)
        return result

    def unsub(self, conn: Connection, session: Session, command: Unsub) -> Result:
        problem = topic_problem(command.topic)
        if problem is not None:
            raise TopicError(closes.MALFORMED.code, problem)
        topic = self._hub.topics.get(scoped(session.identity.tenant, command.topic))
        if topic is not None and conn in topic.audience:
            session.note_unsubscribed(topic)
            self._hub.unsubscribe(conn, topic)
        return {}


def _check_room(topic: Topic) -> None:
    limit = topic.namespace.max_subscribers
    if limit and len(topic.audience) >= limit:
        raise TopicError(closes.LIMIT_EXCEEDED.code, "the topic has as many subscribers as it may")
