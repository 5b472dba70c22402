"""What each command does. Handlers check, act and return the result of the reply, or an awaitable of it.

They raise `TopicError` for errors of the client, and know nothing of codecs and ids.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from time import time
from typing import Any, Final

from fastws import closes
from fastws.core.codecs.commands import Auth, Heartbeat, History, Ping, Pub, Refresh, Since, Sub, Unsub
from fastws.core.publication import Position
from fastws.core.topics import scoped, topic_problem
from fastws.engine.contract import Answer, Engine, EpochError, Outgoing, Page, Recovery
from fastws.errors import TopicError
from fastws.gateway.access import PUBLISH, SUBSCRIBE, Access
from fastws.gateway.data import pack
from fastws.gateway.session import Session
from fastws.hub.hub import Hub
from fastws.hub.topic import Topic
from fastws.net.connection import Connection
from fastws.types import Published

Result = dict[str, Any]
Handler = Callable[[Connection, Session, Any], "Result | Awaitable[Result]"]

MIN_HEARTBEAT_S: Final = 10
MAX_HEARTBEAT_S: Final = 300
MAX_PAGE: Final = 1000
"""Publications that one `history` may ask for."""
DEFAULT_PAGE: Final = 100


class FatalError(TopicError):
    """The command is answered with the error, and then the connection closes."""

    def __init__(self, error: closes.ErrorCode, message: str, close: closes.Close) -> None:
        super().__init__(error.code, message)
        self.close = close


class Commands:
    """The commands of the client protocol."""

    def __init__(self, hub: Hub, engine: Engine, access: Access, *, max_topics: int, has_heartbeat: bool) -> None:
        self._hub = hub
        self._engine = engine
        self._access = access
        self._max_topics = max_topics
        self._has_heartbeat = has_heartbeat

    def table(self) -> dict[type, Handler]:
        """The handler of each command, by its type."""
        return {
            Auth: self.authenticate,
            Refresh: self.authenticate,
            Sub: self.sub,
            Unsub: self.unsub,
            Pub: self.pub,
            History: self.history,
            Heartbeat: self.heartbeat,
            Ping: self.ping,
        }

    def authenticate(self, _conn: Connection, _session: Session, _command: Auth | Refresh) -> Result:
        """No key is configured, so no token can be valid."""
        raise FatalError(closes.UNAUTHORIZED, "the token is not valid here", closes.INVALID_TOKEN)

    def sub(self, conn: Connection, session: Session, command: Sub) -> Answer[Result]:
        name = command.topic
        namespace = self._access.namespace(name)
        key = scoped(session.identity.tenant, name)
        heard = self._hub.topics.get(key)
        if heard is not None and conn in heard.audience:
            raise TopicError(closes.ALREADY_SUBSCRIBED.code, "this connection is subscribed to the topic")
        self._access.check(session.identity, SUBSCRIBE, namespace)
        if self._max_topics and session.subscription_count >= self._max_topics:
            raise TopicError(
                closes.LIMIT_EXCEEDED.code, f"one connection subscribes to at most {self._max_topics} topics"
            )
        if heard is not None:
            _check_room(heard)
        topic = self._hub.topic(key, name, namespace)
        retention = namespace.retention
        if retention is None:
            return self._enter(conn, session, topic, None)
        since = _position(command.recover) if namespace.recover else None
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

    def pub(self, conn: Connection, session: Session, command: Pub) -> Answer[Result]:
        namespace = self._access.namespace(command.topic)
        identity = session.identity
        self._access.check(identity, PUBLISH, namespace)
        echo = namespace.echo if command.echo is None else command.echo
        conn_id = conn.id
        outgoing = Outgoing(
            scoped(identity.tenant, command.topic),
            pack(command.data, namespace, of_client=True),
            namespace.retention,
            identity.user,
            conn_id,
            command.key,
            "" if echo else conn_id,
        )
        answer = self._engine.publish(outgoing)
        return _published(answer) if isinstance(answer, Published) else _published_later(answer)

    def history(self, _conn: Connection, session: Session, command: History) -> Answer[Result]:
        namespace = self._access.namespace(command.topic)
        self._access.check(session.identity, SUBSCRIBE, namespace)
        retention = namespace.retention
        if retention is None:
            raise TopicError(closes.NOT_AVAILABLE.code, "the topic has no history")
        limit = DEFAULT_PAGE if command.limit is None else command.limit
        if limit > MAX_PAGE:
            raise TopicError(closes.LIMIT_EXCEEDED.code, f"limit is at most {MAX_PAGE}")
        key = scoped(session.identity.tenant, command.topic)
        since = _position(command.since)
        try:
            answer = self._engine.history(key, retention, since, limit, reverse=bool(command.reverse))
        except EpochError:
            raise _another_epoch() from None
        return _page(answer) if isinstance(answer, Page) else _page_later(answer)

    def heartbeat(self, conn: Connection, _session: Session, command: Heartbeat) -> Result:
        if not self._has_heartbeat:
            raise TopicError(closes.NOT_AVAILABLE.code, "this server sends no pings")
        if math.isnan(command.interval):
            raise TopicError(closes.MALFORMED.code, "interval is a number of seconds")
        interval = min(max(command.interval, MIN_HEARTBEAT_S), MAX_HEARTBEAT_S)
        conn.set_ping_interval(interval)
        return {"interval": interval}

    def ping(self, _conn: Connection, _session: Session, _command: Ping) -> Result:
        return {"ts": int(time() * 1000)}


def _check_room(topic: Topic) -> None:
    limit = topic.namespace.max_subscribers
    if limit and len(topic.audience) >= limit:
        raise TopicError(closes.LIMIT_EXCEEDED.code, "the topic has as many subscribers as it may")


def _position(since: Since | None) -> Position | None:
    return None if since is None else Position(since.epoch, since.offset)


def _another_epoch() -> TopicError:
    return TopicError(closes.UNRECOVERABLE_POSITION.code, "the topic's epoch is another one")


def _published(published: Published) -> Result:
    if published.offset is None:
        return {"duplicate": published.duplicate}
    return {"offset": published.offset, "epoch": published.epoch, "duplicate": published.duplicate}


async def _published_later(answer: Awaitable[Published]) -> Result:
    return _published(await answer)


def _page(page: Page) -> Result:
    epoch, offset = page.position
    return {"publications": list(page.publications), "epoch": epoch, "offset": offset}


async def _page_later(answer: Awaitable[Page]) -> Result:
    try:
        return _page(await answer)
    except EpochError:
        raise _another_epoch() from None
