"""`pub` and `history`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from typing import Any, Final

from fastws import closes
from fastws.core.codecs.commands import History, Pub
from fastws.core.patterns import PatternTable
from fastws.core.topics import Namespace, scoped
from fastws.engine.contract import Answer, Engine, EpochError, Outgoing, Page
from fastws.errors import TopicError, UsageError
from fastws.gateway.auth.access import PUBLISH, SUBSCRIBE, Access
from fastws.gateway.commands.common import Result, after, position_of
from fastws.gateway.data import pack
from fastws.gateway.session import Session
from fastws.net.connection import Connection
from fastws.types import Published

MAX_PAGE: Final = 1000
"""Publications that one `history` may ask for."""
DEFAULT_PAGE: Final = 100


class Publishing:
    """What topics are told, and what they were told."""

    def __init__(self, engine: Engine, access: Access, hooks: PatternTable[Callable[..., Any]] | None = None) -> None:
        """`hooks`: what the application says about the data of a topic, `hook(conn, data, **parameters)`."""
        self._engine = engine
        self._access = access
        self._hooks = hooks or None

    def pub(self, conn: Connection, session: Session, command: Pub) -> Answer[Result]:
        namespace = self._access.namespace(command.topic)
        waiting = self._access.check(conn, session, PUBLISH, command.topic, namespace)
        if waiting is None:
            return self._judge(conn, session, command, namespace)
        return after(waiting, partial(self._judge, conn, session, command, namespace))

    def _judge(self, conn: Connection, session: Session, command: Pub, namespace: Namespace) -> Answer[Result]:
        """Ask the application about the data, if it wants to be asked."""
        hooked = self._hooks.match(command.topic) if self._hooks is not None else None
        if hooked is None:
            return self._publish(conn, session, command, namespace, pack(command.data, namespace, of_client=True))
        hook, parameters = hooked
        pack(command.data, None, of_client=True)  # a hook sees nothing that JSON cannot hold
        data = hook(conn, command.data, **parameters)
        if isawaitable(data):
            return self._publish_later(conn, session, command, namespace, data)
        return self._publish(conn, session, command, namespace, _judged(command, namespace, data))

    async def _publish_later(
        self, conn: Connection, session: Session, command: Pub, namespace: Namespace, data: Awaitable[Any]
    ) -> Result:
        packed = _judged(command, namespace, await data)
        answer = self._publish(conn, session, command, namespace, packed)
        return answer if isinstance(answer, dict) else await answer

    def _publish(
        self, conn: Connection, session: Session, command: Pub, namespace: Namespace, packed: bytes
    ) -> Answer[Result]:
        echo = namespace.echo if command.echo is None else command.echo
        conn_id = conn.id
        outgoing = Outgoing(
            scoped(session.tenant, command.topic),
            packed,
            namespace.retention,
            session.user,
            conn_id,
            command.key,
            "" if echo else conn_id,
        )
        answer = self._engine.publish(outgoing)
        return _published(answer) if isinstance(answer, Published) else _published_later(answer)

    def history(self, conn: Connection, session: Session, command: History) -> Answer[Result]:
        namespace = self._access.namespace(command.topic)
        waiting = self._access.check(conn, session, SUBSCRIBE, command.topic, namespace)
        if waiting is None:
            return self._look(session, command, namespace)
        return after(waiting, partial(self._look, session, command, namespace))

    def _look(self, session: Session, command: History, namespace: Namespace) -> Answer[Result]:
        retention = namespace.retention
        if retention is None:
            raise TopicError(closes.NOT_AVAILABLE.code, "the topic has no history")
        limit = DEFAULT_PAGE if command.limit is None else command.limit
        if limit > MAX_PAGE:
            raise TopicError(closes.LIMIT_EXCEEDED.code, f"limit is at most {MAX_PAGE}")
        key = scoped(session.identity.tenant, command.topic)
        since = position_of(command.since)
        try:
            answer = self._engine.history(key, retention, since, limit, reverse=bool(command.reverse))
        except EpochError:
            raise _another_epoch() from None
        return _page(answer) if isinstance(answer, Page) else _page_later(answer)


def _judged(command: Pub, namespace: Namespace, data: Any) -> bytes:
    """What a hook made of the data, as JSON."""
    if data is None and command.data is not None:
        raise UsageError(
            "the hook of @app.on_publish returned None for data that was something",
            "return the data, as it is or changed; raise TopicError(107) to refuse it",
        )
    return pack(data, namespace, of_client=False)


def _another_epoch() -> TopicError:
    return TopicError(closes.UNRECOVERABLE_POSITION.code, "the topic's epoch is another one")


def _published(published: Published) -> Result:
    if published.offset is not None:
        return {"offset": published.offset, "epoch": published.epoch, "duplicate": published.duplicate}
    if published.degraded:
        return {"duplicate": published.duplicate, "degraded": True}
    return {"duplicate": published.duplicate}


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
