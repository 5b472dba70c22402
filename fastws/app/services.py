"""The services of a running server, as applications call them: `await app.publish(...)`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastws.errors import UsageError
from fastws.services import Services
from fastws.types import HistoryPage, Presence, PresenceStats, Published, SessionInfo, TopicInfo, UserStatus

_CONNECTION_ID: Final = re.compile(r"[0-9a-f]{10}-[1-9a-f][0-9a-f]{0,15}", re.ASCII)
"""The form of `Connection.id`."""


class ServiceCalls(ABC):
    """What `FastWS` and `Tenant` have in common.

    Every call awaits what was asked for. It raises `UsageError` without a running server and for names that are no
    text, `TopicError` for what is wrong with its arguments (107 for names and data that cannot be, 102 for an
    undeclared namespace, 110 for too much data), and `EngineError` when what carries messages between processes is
    away. Permissions do not apply.
    """

    @abstractmethod
    def _running(self, service: str) -> Services:
        """The services of the server, or `UsageError`."""

    @property
    @abstractmethod
    def _tenant(self) -> str:
        """Whose users and topics are meant; empty where there are no tenants."""

    @property
    def _scope(self) -> str | None:
        """The tenant for what would otherwise be about everybody."""
        return self._tenant or None

    async def publish(self, topic: str, data: Any, *, key: str | None = None, exclude: Any = None) -> Published:
        """Publish to a topic: everyone who is subscribed hears it.

        :param data: anything that JSON can hold, or an instance of a msgspec or pydantic type.
        :param key: idempotency: within 5 minutes a topic takes one publication with this key.
        :param exclude: a connection, or its id, that shall not hear it.
        :returns: offset and epoch where the topic has history, and whether `key` was known.
        """
        services = self._running("publish")
        _check_texts("publish", topic=topic)
        if key is not None:
            _check_texts("publish", key=key)
        return await services.publish(topic, data, key=key, exclude=exclude, tenant=self._tenant)

    async def broadcast(self, data: Any) -> None:
        """Send `{"event": "message", "data", "ts"}` to every connection of the client protocol."""
        await self._running("broadcast").broadcast(data, tenant=self._scope)

    async def push(self, user_or_conn: Any, data: Any) -> int:
        """Send `{"event": "message", "data", "ts"}` to one connection, or to all of a user; nothing is stored.

        :param user_or_conn: a `Connection`, the id of one (ten hexadecimal digits, a dash and more of them), or else
            the name of a user.
        :returns: to how many connections; 0 for one of a raw endpoint, which has no pushes but `conn.send`.
        """
        services = self._running("push")
        if isinstance(user_or_conn, str) and not _CONNECTION_ID.fullmatch(user_or_conn):
            return await services.push(data, user=user_or_conn, tenant=self._tenant)
        if not isinstance(user_or_conn, str) and not isinstance(getattr(user_or_conn, "id", None), str):
            raise UsageError(
                f"app.push() got {user_or_conn!r}, which is neither a user nor a connection",
                'write app.push("42", data) with the name of a user, or give a Connection or its id',
            )
        return await services.push(data, conn=user_or_conn, tenant=self._tenant)

    async def disconnect(
        self,
        *,
        user: str | None = None,
        conn: Any = None,
        tenant: str | None = None,
        code: int = 4503,
        reason: str = "",
    ) -> int:
        """Close one connection, all of a user, or all of a tenant.

        Name one of `user`, `conn` (a `Connection` or its id) and `tenant`; with `user`, `tenant` says whose user.

        :param code: 1000 to 4999; 4000-4499 ask the client to connect again, 4500-4999 not to.
        :param reason: at most 123 bytes of UTF-8; by default the word that belongs to the code.
        :returns: how many connections were closed.
        :raises UsageError: none of them is named, or too many, or the code cannot be sent.
        """
        services = self._running("disconnect")
        whose = self._whose(tenant)
        if (user is None) == (conn is None) and (user is not None or tenant is None):
            raise UsageError(
                "app.disconnect() needs to know whom to disconnect",
                'name one of them: user="42", conn=connection, or tenant="acme"',
            )
        if user is not None:
            _check_texts("disconnect", user=user)
            whose = whose or ""
        return await services.disconnect(user=user, conn=conn, tenant=whose, code=code, reason=reason)

    async def subscribe(self, user: str, topic: str) -> int:
        """Subscribe every connection of a user to a topic; they are told by the push `subscribed`.

        :returns: how many connections were not subscribed yet.
        """
        services = self._running("subscribe")
        _check_texts("subscribe", user=user, topic=topic)
        return await services.subscribe(user, topic, tenant=self._tenant)

    async def unsubscribe(self, user: str, topic: str) -> int:
        """The opposite; the push `unsubscribed` has code 2000.

        :returns: how many connections were subscribed.
        """
        services = self._running("unsubscribe")
        _check_texts("unsubscribe", user=user, topic=topic)
        return await services.unsubscribe(user, topic, tenant=self._tenant)

    async def presence(self, topic: str) -> Presence:
        """Who is present in a topic: at most 1,000 connections of them by id; `TopicError` 108 where that is off."""
        services = self._running("presence")
        _check_texts("presence", topic=topic)
        return await services.presence(topic, tenant=self._tenant)

    async def presence_stats(self, topic: str) -> PresenceStats:
        """How many connections and users are present in a topic; `TopicError` 108 where that is off."""
        services = self._running("presence_stats")
        _check_texts("presence_stats", topic=topic)
        return await services.presence_stats(topic, tenant=self._tenant)

    async def history(
        self, topic: str, *, since: tuple[str, int] | None = None, limit: int = 100, reverse: bool = False
    ) -> HistoryPage:
        """A part of a topic's history, and where the topic is now.

        :param since: (epoch, offset), exclusive: what comes after it, or with `reverse` before it.
        :param limit: publications, at most 1,000; 0 asks for the position alone.
        :param reverse: the newest first.
        :raises TopicError: 108 where there is no history, 112 for another epoch, 106 for too many.
        """
        services = self._running("history")
        _check_texts("history", topic=topic)
        return await services.history(topic, since=since, limit=limit, reverse=reverse, tenant=self._tenant)

    async def status(self, users: Iterable[str]) -> Mapping[str, UserStatus]:
        """Whether users are here, on which devices, and if not when they were; by their names."""
        if isinstance(users, str):
            raise UsageError(f"app.status({users!r}) wants several users", f"write app.status([{users!r}])")
        services = self._running("status")
        names = list(users)
        for name in names:
            _check_texts("status", user=name)
        return await services.status(names, tenant=self._tenant)

    async def sessions(self, user: str, *, limit: int = 1000) -> Sequence[SessionInfo]:
        """The connections of a user, on all nodes, the oldest first.

        :param limit: how many are listed at most; of more than that any.
        """
        services = self._running("sessions")
        _check_texts("sessions", user=user)
        return await services.sessions(user, limit=limit, tenant=self._tenant)

    async def online(self, attribute: str, value: Any) -> int:
        """How many connections there are with this value.

        :param attribute: `user`, `device`, `tenant`, `codec`, `role`, or a key of `info`.
        """
        return await self._running("online").online(attribute, value, tenant=self._scope)

    async def topics(self, pattern: str = "*") -> Sequence[TopicInfo]:
        """The topics that somebody is subscribed to, with their numbers of subscribers.

        :param pattern: the name of a topic, or the beginning of names and one `*`.
        """
        services = self._running("topics")
        _check_texts("topics", pattern=pattern)
        return await services.topics(pattern, tenant=self._tenant)

    def _whose(self, tenant: str | None) -> str | None:
        """The tenant that a call names, or that it is inside of."""
        own = self._scope
        if own is not None and tenant not in (None, own):
            raise UsageError(
                f"this is the tenant {own!r}, not {tenant!r}", "ask app.tenant(...) of the other, or app itself"
            )
        return tenant if own is None else own


def _check_texts(service: str, **names: Any) -> None:
    """Raise `UsageError` for a name that is no text, such as the number that a database knows a user by."""
    for what, name in names.items():
        if not isinstance(name, str):
            raise UsageError(
                f"app.{service}() got {name!r} as {what}, which is no text",
                'users, topics and keys are named by text: write "42", not 42',
            )


class Tenant(ServiceCalls):
    """The services inside one tenant: `app.tenant("acme")`. Users and topics are those of the tenant."""

    __slots__ = ("_app", "_name")

    def __init__(self, app: ServiceCalls, name: str) -> None:
        self._app = app
        self._name = name

    def __repr__(self) -> str:
        return f"<tenant {self._name!r}>"

    @property
    def name(self) -> str:
        """What the tenant is called."""
        return self._name

    @property
    def _tenant(self) -> str:
        return self._name

    def _running(self, service: str) -> Services:
        return self._app._running(service)


class NotBuilt:
    """Stands for a part of the API that this version does not have: whatever is asked of it raises `UsageError`."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise not_built(f"{self._name}.{name}")


def not_built(name: str) -> UsageError:
    """The error of what belongs to messages between users."""
    return UsageError(
        f"{name} belongs to direct messages, which this version of fastws does not have",
        "app.push sends to a user who is connected, app.publish to a topic with history that clients recover from",
    )
