"""`sub` and `unsub`, and subscriptions that the server makes and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from fastws import closes
from fastws.core.codecs.commands import Sub, Unsub
from fastws.core.publication import Position, Publication
from fastws.core.topics import Namespace, scoped, topic_problem
from fastws.engine.contract import Answer, Engine, Recovery
from fastws.errors import EngineError, TopicError
from fastws.gateway.auth.access import SUBSCRIBE, Access
from fastws.gateway.commands.common import Result, after, position_of
from fastws.gateway.session import Session
from fastws.hub.hub import Hub
from fastws.hub.pushes import push
from fastws.hub.topic import Topic
from fastws.net.connection import Connection
from fastws.net.stepping import step

T = TypeVar("T")

TRIES: Final = 3
"""Times that the engine is asked before a subscription fails because its answers do not fit what is published."""


MAX_TOPICS: Final = 30_000
"""Topics of one connection where `--max-topics` is 0: each may need two of the 65,535 places that a connection has."""


class Listener(Protocol):
    """Wants to know who subscribes and unsubscribes; neither waits nor raises. It is called before the reply is queued:
    what it has to say itself comes later.
    """

    def subscribed(self, conn: Connection, topic: str) -> None: ...

    def unsubscribed(self, conn: Connection, topic: str) -> None: ...

    def ended(self, conn: Connection) -> None:
        """The connection has ended, and was unsubscribed from everything."""


class _Wanted(NamedTuple):
    """A subscription to be."""

    conn: Connection
    session: Session
    key: str
    """The topic's name inside the server."""
    name: str
    namespace: Namespace
    since: Position | None = None
    """What the client has seen, if it wants the rest."""
    watching: bool = False
    """It wants to hear who joins and leaves."""
    by_token: bool = False
    """A token for the topic lets it in, and may end before it is."""


class _Begun(NamedTuple):
    """A subscription that is one."""

    topic: Topic
    position: Position | None
    """Up to where everything is known; None without history."""
    recovered: bool
    publications: list[Publication]


class Subscribing:
    """Who hears what."""

    def __init__(
        self, hub: Hub, engine: Engine, access: Access, *, max_topics: int, listener: Listener | None = None
    ) -> None:
        self._hub = hub
        self._engine = engine
        self._access = access
        self._max_topics = max_topics or MAX_TOPICS
        self._listener = listener

    # By clients.

    def sub(self, conn: Connection, session: Session, command: Sub) -> Answer[Result]:
        name = command.topic
        namespace = self._access.namespace(name)
        key = scoped(session.tenant, name)
        since = position_of(command.recover) if namespace.recover else None
        wanted = _Wanted(conn, session, key, name, namespace, since, bool(command.presence))
        self._check_new(wanted)
        waiting = self._access.check(conn, session, SUBSCRIBE, name, namespace, command.token)
        if _has_token(session, key):
            wanted = wanted._replace(by_token=True)
        if waiting is None:
            return self._begin(wanted, _result)
        return after(waiting, partial(self._begin, wanted, _result))

    def unsub(self, conn: Connection, session: Session, command: Unsub) -> Result:
        problem = topic_problem(command.topic)
        if problem is not None:
            raise TopicError(closes.MALFORMED.code, problem)
        topic = self._topic_of(conn, session, command.topic)
        if topic is not None:
            self._leave(conn, session, topic)
        return {}

    # By the server.

    def subscribe_by_server(self, conn: Connection, session: Session, topic: str) -> Answer[bool]:
        """Subscribe a connection that did not ask for it, and tell it by the push `subscribed`.

        Permissions do not apply. False: it is subscribed already, or has ended. Raises `TopicError`: 107 and 102 for
        the name, 106 where a limit is reached.
        """
        namespace = self._access.namespace(topic)
        wanted = _Wanted(conn, session, scoped(session.tenant, topic), topic, namespace)
        if self._hub.heard_by(conn, wanted.key) is not None:
            return False
        answer = self._begin(wanted, partial(_told, conn))
        if isinstance(answer, bool):
            return answer
        # Begun at once: a coroutine whose caller ends before its first step would never let go of the topic.
        told, task = step(_unless_subscribed(answer), asyncio.get_running_loop())
        return bool(told) if task is None else task

    def unsubscribe_by_server(self, conn: Connection, session: Session, topic: str) -> bool:
        """End a subscription, and tell the connection; False if there was none."""
        heard = self._topic_of(conn, session, topic)
        if heard is not None:
            self.end(conn, session, heard, closes.SERVER_UNSUBSCRIBE)
        return heard is not None

    def end(self, conn: Connection, session: Session, topic: Topic, why: closes.Unsubscribed) -> None:
        """End a subscription, and tell the connection why by the push `unsubscribed`."""
        if conn not in topic.audience:
            return
        self._leave(conn, session, topic)
        code, reason, resubscribe = why
        push(conn, "unsubscribed", {"topic": topic.name, "code": code, "reason": reason, "resubscribe": resubscribe})

    def ended(self, conn: Connection, session: Session) -> None:
        """The connection has ended, and with it all its subscriptions."""
        if self._listener is not None:
            for topic in session.subscriptions():
                self._listener.unsubscribed(conn, topic.name)
            self._listener.ended(conn)

    # Both.

    def _topic_of(self, conn: Connection, session: Session, name: str) -> Topic | None:
        return self._hub.heard_by(conn, scoped(session.tenant, name))

    def _leave(self, conn: Connection, session: Session, topic: Topic) -> None:
        session.note_unsubscribed(topic)
        self._hub.unsubscribe(conn, topic)
        if self._listener is not None:
            self._listener.unsubscribed(conn, topic.name)

    def _check_new(self, wanted: _Wanted) -> None:
        if self._hub.heard_by(wanted.conn, wanted.key) is not None:
            raise TopicError(closes.ALREADY_SUBSCRIBED.code, "this connection is subscribed to the topic")

    def _check_room(self, wanted: _Wanted) -> None:
        """Raise `TopicError` 105, 106 or 109 if this cannot be."""
        self._check_new(wanted)
        if wanted.by_token and not _has_token(wanted.session, wanted.key):
            raise TopicError(closes.EXPIRED.code, "the token for the topic has expired")
        if wanted.session.subscription_count >= self._max_topics:
            raise TopicError(
                closes.LIMIT_EXCEEDED.code, f"one connection subscribes to at most {self._max_topics} topics"
            )
        limit = wanted.namespace.max_subscribers
        heard = self._hub.topics.get(wanted.key) if limit else None
        if heard is not None and len(heard.audience) >= limit:
            raise TopicError(closes.LIMIT_EXCEEDED.code, "the topic has as many subscribers as it may")

    def _begin(self, wanted: _Wanted, tell: Callable[[_Begun], T]) -> Answer[T]:
        """Subscribe; the answer is what `tell` makes of it."""
        self._check_room(wanted)
        for _ in range(TRIES):
            topic = self._hub.topic(wanted.key, wanted.name, wanted.namespace)
            answer = self._ask(wanted, topic)
            if isinstance(answer, Awaitable):
                self._hub.watch.expect(topic)
                return self._begin_later(wanted, topic, answer, tell)
            begun = self._enter(wanted, topic, answer)
            if begun is not None:
                return tell(begun)
            self._hub.settle(topic)
        raise _misfit()

    async def _begin_later(
        self, wanted: _Wanted, topic: Topic, answer: Answer[Recovery | None], tell: Callable[[_Begun], T]
    ) -> T:
        """What is published until the engine has answered is told with its answer. `topic` expects the connection."""
        for tries_left in range(TRIES - 1, -1, -1):
            try:
                recovery = await answer if isinstance(answer, Awaitable) else answer
                self._check_room(wanted)  # others may have come meanwhile
                begun = self._enter(wanted, topic, recovery) if self._hub.topics.get(wanted.key) is topic else None
                if begun is not None:
                    return tell(begun)
            finally:
                self._hub.watch.expect_no_longer(topic)
                self._hub.settle(topic)
            if tries_left:
                topic = self._hub.topic(wanted.key, wanted.name, wanted.namespace)
                answer = self._ask(wanted, topic)
                self._hub.watch.expect(topic)
        raise _misfit()

    def _ask(self, wanted: _Wanted, topic: Topic) -> Answer[Recovery | None]:
        """Where the topic is, as soon as the engine hears it; None for one without history."""
        retention = wanted.namespace.retention
        if retention is None:
            # Others wait for the same: who gives up must not take it from them.
            return None if topic.joining is None else asyncio.shield(topic.joining)
        try:
            return self._engine.recover(wanted.key, retention, wanted.since)
        except BaseException:
            self._hub.settle(topic)
            raise

    def _enter(self, wanted: _Wanted, topic: Topic, recovery: Recovery | None) -> _Begun | None:
        """Let the connection hear the topic; None if the engine has to be asked again.

        The reply is queued before anything can be published: nothing happens in between.
        """
        if recovery is None:
            self._join(wanted, topic, 0)
            return _Begun(topic, None, recovered=False, publications=[])
        meeting = self._hub.watch.meet(topic, recovery)
        if meeting is None:
            return None
        self._join(wanted, topic, meeting.skip)
        publications = [*recovery.publications, *meeting.more] if recovery.recovered else []
        return _Begun(topic, meeting.position, recovery.recovered, publications)

    def _join(self, wanted: _Wanted, topic: Topic, skip: int) -> None:
        if self._hub.subscribe(wanted.conn, topic, skip=skip, watching=wanted.watching):
            wanted.session.note_subscribed(topic)
            if self._listener is not None:
                self._listener.subscribed(wanted.conn, topic.name)


def _has_token(session: Session, key: str) -> bool:
    """Whether it has shown a token for the topic that has not ended."""
    passes = session.passes
    return passes is not None and passes.of(key) is not None


def _misfit() -> EngineError:
    return EngineError("the engine's answers do not fit what is published")


def _result(begun: _Begun) -> Result:
    """Of the command `sub`."""
    result: Result = {"topic": begun.topic.name}
    if begun.position is not None:
        result["epoch"], result["offset"] = begun.position
    result["recovered"] = begun.recovered
    result["publications"] = begun.publications
    return result


def _told(conn: Connection, begun: _Begun) -> bool:
    """Tell a connection that it is subscribed; False if it has ended meanwhile."""
    if conn not in begun.topic.audience:
        return False
    content: dict[str, Any] = {"topic": begun.topic.name}
    if begun.position is not None:
        content["epoch"], content["offset"] = begun.position
    push(conn, "subscribed", content)
    return True


async def _unless_subscribed(answer: Awaitable[bool]) -> bool:
    try:
        return await answer
    except TopicError as error:
        if error.code == closes.ALREADY_SUBSCRIBED.code:
            return False  # it asked for it meanwhile
        raise
