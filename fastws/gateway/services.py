"""What applications and operators ask of the running server: `await app.publish(...)` and its like end here."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from time import time
from typing import Any, Final, TypeVar

import orjson

from fastws import closes
from fastws.core.publication import Position, Publication
from fastws.core.topics import Namespace, scoped
from fastws.engine.contract import (
    COUNT,
    DISCONNECT,
    PUSH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Answer,
    Engine,
    EpochError,
    Order,
    Outcome,
    Outgoing,
)
from fastws.errors import EngineError, TopicError, UsageError
from fastws.gateway.auth.access import Access
from fastws.gateway.commands.looking import MAX_MEMBERS, require_presence
from fastws.gateway.commands.publishing import MAX_PAGE
from fastws.gateway.data import pack
from fastws.hub.hub import Hub
from fastws.net.connection import Connection
from fastws.types import (
    Author,
    HistoryEntry,
    HistoryPage,
    Presence,
    PresenceStats,
    Published,
    SessionInfo,
    TopicInfo,
    UserStatus,
)

T = TypeVar("T")

MAX_REASON_BYTES: Final = 123
"""Of a close frame, in UTF-8 (RFC 6455 5.5)."""

_SCOPE: Final = "\0"  # what tenants are separated with, never a part of a name


class GatewayServices:
    """See `fastws.services.Services`, which this is."""

    def __init__(self, hub: Hub, engine: Engine, access: Access, *, max_data_size: int) -> None:
        """`max_data_size`: bytes of JSON, 0 = unlimited."""
        self._hub = hub
        self._engine = engine
        self._access = access
        self._max_data_size = max_data_size

    # Topics.

    async def publish(
        self, topic: str, data: Any, *, key: str | None = None, exclude: Any = None, tenant: str = ""
    ) -> Published:
        namespace = self._access.namespace(topic)
        outgoing = Outgoing(
            topic=_name(tenant, topic),
            data=self._packed(data, namespace),
            retention=namespace.retention,
            key=key,
            exclude=_id_of(exclude) if exclude is not None else "",
        )
        return await _got(self._engine.publish(outgoing))

    async def history(
        self,
        topic: str,
        *,
        since: tuple[str, int] | None = None,
        limit: int = 100,
        reverse: bool = False,
        tenant: str = "",
        raw: bool = False,
    ) -> HistoryPage:
        retention = self._access.namespace(topic).retention
        if retention is None:
            raise TopicError(closes.NOT_AVAILABLE.code, "the topic has no history")
        if limit < 0:
            raise TopicError(closes.MALFORMED.code, "limit is a number of publications")
        if limit > MAX_PAGE:
            raise TopicError(closes.LIMIT_EXCEEDED.code, f"limit is at most {MAX_PAGE}")
        position = Position(*since) if since is not None else None
        try:
            page = await _got(
                self._engine.history(_name(tenant, topic), retention, position, limit, reverse=bool(reverse))
            )
        except EpochError:
            raise TopicError(closes.UNRECOVERABLE_POSITION.code, "the topic's epoch is another one") from None
        return HistoryPage([_entry(publication, raw) for publication in page.publications], *page.position)

    async def presence(self, topic: str, *, tenant: str = "") -> Presence:
        require_presence(self._access.namespace(topic))
        return await _got(self._engine.presence(_name(tenant, topic), MAX_MEMBERS))

    async def presence_stats(self, topic: str, *, tenant: str = "") -> PresenceStats:
        require_presence(self._access.namespace(topic))
        return await _got(self._engine.presence_stats(_name(tenant, topic)))

    async def topics(self, pattern: str = "*", *, tenant: str = "") -> Sequence[TopicInfo]:
        if "*" in pattern[:-1]:
            raise TopicError(closes.MALFORMED.code, "a pattern is the name of a topic, or its beginning and one *")
        _name(tenant, pattern)
        return await _got(self._engine.topics(tenant, pattern))

    # Connections.

    async def broadcast(self, data: Any, *, tenant: str | None = None) -> None:
        packed = self._packed(data, None)
        if tenant is None:
            self._require_others(None)
            await _got(self._engine.announce(packed))
        else:
            await self._order(Order(PUSH, tenant=_tenant(tenant), data=packed, ts_ms=int(time() * 1000)))

    async def push(self, data: Any, *, user: str | None = None, conn: Any = None, tenant: str = "") -> int:
        if (user is None) == (conn is None):
            raise UsageError("push() needs to know to whom", "name either user or conn")
        order = Order(PUSH, data=self._packed(data, None), ts_ms=int(time() * 1000))
        if user is not None:
            return await self._order(order._replace(user=_name(tenant, user)))
        return await self._order(order._replace(conn=_id_of(conn), tenant=tenant or None))

    async def disconnect(
        self,
        *,
        user: str | None = None,
        conn: Any = None,
        tenant: str | None = None,
        code: int = 4503,
        reason: str = "",
    ) -> int:
        if not 1000 <= code <= 4999 or code in closes.UNSENDABLE:
            raise UsageError(f"{code} cannot be sent as a close code", "use one of 1000 to 4999, such as 4503")
        if len(reason.encode("utf-8", "surrogatepass")) > MAX_REASON_BYTES:
            raise UsageError("the reason is too long", f"at most {MAX_REASON_BYTES} bytes of UTF-8")
        order = Order(DISCONNECT, code=code, reason=reason or closes.reason_of(code))
        if user is not None and conn is None:
            return await self._order(order._replace(user=_name(tenant or "", user)))
        if conn is not None and user is None:
            try:
                found = await self._order(order._replace(conn=_id_of(conn), tenant=tenant or None))
            except EngineError:
                if _close_elsewhere(conn, order, tenant):
                    return 1
                raise
            return found or _close_elsewhere(conn, order, tenant)
        if tenant is not None and user is None:
            return await self._order(order._replace(tenant=_tenant(tenant)))
        raise UsageError("disconnect() needs to know whom", "name one of user, conn and tenant")

    async def subscribe(self, user: str, topic: str, *, tenant: str = "") -> int:
        self._access.namespace(topic)
        return await self._order(Order(SUBSCRIBE, user=_name(tenant, user), topic=topic))

    async def unsubscribe(self, user: str, topic: str, *, tenant: str = "") -> int:
        self._access.namespace(topic)
        return await self._order(Order(UNSUBSCRIBE, user=_name(tenant, user), topic=topic))

    async def online(self, attribute: str, value: Any, *, tenant: str | None = None) -> int:
        order = Order(COUNT, attribute=attribute, data=self._packed(value, None), tenant=tenant)
        return await self._order(order)

    # Users.

    async def status(self, users: Sequence[str], *, tenant: str = "") -> Mapping[str, UserStatus]:
        answer = await _got(self._engine.status([_name(tenant, user) for user in users]))
        return dict(zip(users, answer, strict=True))

    async def sessions(self, user: str, *, limit: int = 1000, tenant: str = "") -> Sequence[SessionInfo]:
        if limit < 1:
            raise TopicError(closes.MALFORMED.code, "limit is a number of connections, at least 1")
        return await _got(self._engine.sessions(_name(tenant, user), limit))

    async def _order(self, order: Order) -> int:
        """For how many connections it made a difference; if for none, `TopicError` with why they refused it.

        While the engine is away nothing is done that would have to be repeated, as it would be done twice here then;
        but whoever shall go goes at once where he can be reached.
        """
        if order.conn is None and order.action != DISCONNECT:
            self._require_others(order)
        outcome = await _got(self._engine.order(order))
        if order.conn is None or outcome == Outcome():
            self._require_others(order)
        if outcome.is_partial and (order.conn is None or not outcome.connections):
            raise EngineError("not all servers could be told: some connections may not have been reached")
        if outcome.refused and not outcome.connections:
            raise TopicError(outcome.refused, "no connection could do that")
        return outcome.connections

    def _require_others(self, order: Order | None) -> None:
        """Raise `EngineError` where an answer would be one of this process alone."""
        if self._hub.is_degraded or not self._engine.can_order(order):
            raise EngineError("what connects the servers is away: the others cannot be reached")

    def _packed(self, data: Any, namespace: Namespace | None) -> bytes:
        packed = pack(data, namespace, of_client=False)
        if self._max_data_size and len(packed) > self._max_data_size:
            raise TopicError(closes.PAYLOAD_TOO_LARGE.code, f"data has at most {self._max_data_size} bytes of JSON")
        return packed


async def _got(answer: Answer[T]) -> T:
    return await answer if isinstance(answer, Awaitable) else answer


def _name(tenant: str, name: str) -> str:
    """How a topic or user of a tenant is called inside the server."""
    if _SCOPE in tenant or _SCOPE in name:
        raise TopicError(closes.MALFORMED.code, "no name has a character 0 in it")
    return scoped(tenant, name)


def _tenant(tenant: str) -> str:
    _name(tenant, "")
    return tenant


def _close_elsewhere(conn: Any, order: Order, tenant: str | None) -> int:
    """Close a connection of a raw endpoint that asks for no token, and that nobody knows by its id."""
    if not isinstance(conn, Connection) or conn.close_code or (tenant and conn.tenant != tenant):
        return 0
    conn.close(order.code, order.reason)
    return 1


def _entry(publication: Publication, raw: bool) -> HistoryEntry:
    author = None if publication.user is None else Author(publication.user, publication.conn)
    data = publication.data if raw else orjson.loads(publication.data)
    return HistoryEntry(data, publication.offset, publication.ts_ms, author)


def _id_of(conn: Any) -> str:
    """The id of a connection, given itself or its id."""
    conn_id = conn if isinstance(conn, str) else getattr(conn, "id", None)
    if not isinstance(conn_id, str):
        raise UsageError(f"{conn!r} is no connection", "give a Connection or its id")
    return conn_id
