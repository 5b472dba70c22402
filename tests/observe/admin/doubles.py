"""Services that answer what they were told to, and remember what they were asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastws.errors import EngineError, TopicError
from fastws.observe.admin import results
from fastws.observe.admin.floor import Floor
from fastws.observe.admin.methods import Context
from fastws.types import (
    Author,
    HistoryEntry,
    HistoryPage,
    Member,
    Presence,
    PresenceStats,
    Published,
    SessionInfo,
    TopicInfo,
    UserStatus,
)

NODE = results.Node(id="n1", version="1.0", connections=2, workers=1, uptime=3.5, engine="memory", draining=False)


async def only_node() -> list[results.Node]:
    """What the method `nodes` answers."""
    return [NODE]


class CannedServices:
    """`calls` has what was asked, in order. Topics of the namespace `none` are unknown, `away` has no engine."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def _note(self, name: str, **arguments: Any) -> None:
        self.calls.append((name, arguments))

    async def publish(
        self, topic: str, data: Any, *, key: str | None = None, exclude: Any = None, tenant: str = ""
    ) -> Published:
        self._note("publish", topic=topic, data=data, key=key, exclude=exclude, tenant=tenant)
        match topic.partition(":")[0]:
            case "none":
                raise TopicError(102, "there is no namespace none")
            case "away":
                raise EngineError("the engine is away")
            case "broken":
                raise RuntimeError("something that nobody foresaw")
            case "past":
                return Published(7, "e1", key is not None)
        return Published(None, None, False)

    async def broadcast(self, data: Any, *, tenant: str | None = None) -> None:
        self._note("broadcast", data=data, tenant=tenant)

    async def push(self, data: Any, *, user: str | None = None, conn: Any = None, tenant: str = "") -> int:
        self._note("push", data=data, user=user, conn=conn, tenant=tenant)
        return 2

    async def disconnect(
        self,
        *,
        user: str | None = None,
        conn: Any = None,
        tenant: str | None = None,
        code: int = 4503,
        reason: str = "",
    ) -> int:
        self._note("disconnect", user=user, conn=conn, tenant=tenant, code=code, reason=reason)
        return 1

    async def subscribe(self, user: str, topic: str, *, tenant: str = "") -> int:
        self._note("subscribe", user=user, topic=topic, tenant=tenant)
        return 1

    async def unsubscribe(self, user: str, topic: str, *, tenant: str = "") -> int:
        self._note("unsubscribe", user=user, topic=topic, tenant=tenant)
        return 1

    async def presence(self, topic: str, *, tenant: str = "") -> Presence:
        self._note("presence", topic=topic, tenant=tenant)
        members = {"c1": Member("42", "web", {"name": "Ann"}), "c2": Member("", "default", None)}
        return Presence(members, 2, 1, topic == "chat:full")

    async def presence_stats(self, topic: str, *, tenant: str = "") -> PresenceStats:
        self._note("presence_stats", topic=topic, tenant=tenant)
        return PresenceStats(2, 1)

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
        self._note("history", topic=topic, since=since, limit=limit, reverse=reverse, tenant=tenant)
        assert raw
        entries = [HistoryEntry(b'{"a":1}', 1, 1000, Author("42", "c1")), HistoryEntry(b"null", 2, 1001, None)]
        return HistoryPage(entries, "e1", 2)

    async def status(self, users: Sequence[str], *, tenant: str = "") -> Mapping[str, UserStatus]:
        self._note("status", users=users, tenant=tenant)
        return {user: UserStatus(user == "42", ("web",) if user == "42" else (), None) for user in users}

    async def sessions(self, user: str, *, limit: int = 1000, tenant: str = "") -> Sequence[SessionInfo]:
        self._note("sessions", user=user, limit=limit, tenant=tenant)
        return [SessionInfo(conn, user, tenant, "web", "n1", 1000) for conn in ("c1", "c2")][:limit]

    async def online(self, attribute: str, value: Any, *, tenant: str | None = None) -> int:
        self._note("online", attribute=attribute, value=value, tenant=tenant)
        return 5

    async def topics(self, pattern: str = "*", *, tenant: str = "") -> Sequence[TopicInfo]:
        self._note("topics", pattern=pattern, tenant=tenant)
        return [TopicInfo("a", 1), TopicInfo("b", 2)]


def canned() -> tuple[CannedServices, Context]:
    """The services, and the context in which methods use them."""
    services = CannedServices()
    return services, Context(services, only_node, Floor())
