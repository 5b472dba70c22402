"""What a running server does for its application and for its operators, as an interface.

The gateway implements it; `FastWS` (in Python) and the control API (over HTTP) are its two faces. Permissions do not
apply here; namespaces, sizes and schemas do. Every method raises `TopicError` for what is wrong with its arguments (107
for names and data that cannot be, 102 for an undeclared namespace, 110 for too much data) and `EngineError` when what
carries messages is away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fastws.types import HistoryPage, Presence, PresenceStats, Published, SessionInfo, TopicInfo, UserStatus


class Services(Protocol):
    """All of it. `tenant` is whose users and topics are meant, empty where there are no tenants."""

    async def publish(
        self, topic: str, data: Any, *, key: str | None = None, exclude: Any = None, tenant: str = ""
    ) -> Published:
        """Publish to a topic. `exclude`: a connection, or its id, that shall not hear it."""
        ...

    async def broadcast(self, data: Any, *, tenant: str | None = None) -> None:
        """Send a `message` push to every connection of the client protocol, or to those of one tenant."""
        ...

    async def push(self, data: Any, *, user: str | None = None, conn: Any = None, tenant: str = "") -> int:
        """Send a `message` push to one connection (of `tenant`, if that is not empty), or to all of a user; returns to
        how many.
        """
        ...

    async def disconnect(
        self,
        *,
        user: str | None = None,
        conn: Any = None,
        tenant: str | None = None,
        code: int = 4503,
        reason: str = "",
    ) -> int:
        """Close one connection or all of a user (of `tenant`, if that is said), or all of a tenant: how many."""
        ...

    async def subscribe(self, user: str, topic: str, *, tenant: str = "") -> int:
        """Subscribe every connection of a user, which are told by a push; returns how many were not yet."""
        ...

    async def unsubscribe(self, user: str, topic: str, *, tenant: str = "") -> int:
        """The opposite; returns how many were."""
        ...

    async def presence(self, topic: str, *, tenant: str = "") -> Presence:
        """Who is present in a topic; `TopicError` 108 where the namespace has that off."""
        ...

    async def presence_stats(self, topic: str, *, tenant: str = "") -> PresenceStats:
        """How many are; the same."""
        ...

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
        """A part of a topic's history; `TopicError` 108 where there is none, 112 for a `since` of another epoch.

        `raw`: the data of publications are bytes of JSON, for those who only pass them on.
        """
        ...

    async def status(self, users: Sequence[str], *, tenant: str = "") -> Mapping[str, UserStatus]:
        """Whether users are here, by their names."""
        ...

    async def sessions(self, user: str, *, limit: int = 1000, tenant: str = "") -> Sequence[SessionInfo]:
        """The connections of a user, the oldest first; if there are more than `limit`, so many of them."""
        ...

    async def online(self, attribute: str, value: Any, *, tenant: str | None = None) -> int:
        """How many connections have this value: `user`, `device`, `tenant`, `codec`, a role, or a key of `info`."""
        ...

    async def topics(self, pattern: str = "*", *, tenant: str = "") -> Sequence[TopicInfo]:
        """The topics that somebody is subscribed to; `pattern` is exact or ends in one `*`."""
        ...
