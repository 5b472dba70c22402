"""`presence`, `presence_stats` and `status`: who is there."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, Final

from fastws import closes, types
from fastws.core.codecs.commands import Presence, PresenceStats, Status
from fastws.core.topics import Namespace, scoped
from fastws.engine.contract import Answer, Engine
from fastws.errors import TopicError
from fastws.gateway.auth.access import SUBSCRIBE, Access
from fastws.gateway.commands.common import Result, after
from fastws.gateway.session import Session
from fastws.net.connection import Connection

MAX_MEMBERS: Final = 1000
"""Members that one `presence` lists; if there are more, it says so."""

MAX_USERS: Final = 500
"""Users that one `status` may ask about."""

_NOBODY: Final = types.UserStatus(online=False, devices=(), last_seen=None)


class Looking:
    """Who is there."""

    def __init__(self, engine: Engine, access: Access) -> None:
        self._engine = engine
        self._access = access

    def presence(self, conn: Connection, session: Session, command: Presence) -> Answer[Result]:
        return self._look(conn, session, command.topic, self._list)

    def presence_stats(self, conn: Connection, session: Session, command: PresenceStats) -> Answer[Result]:
        return self._look(conn, session, command.topic, self._count)

    def _look(self, conn: Connection, session: Session, topic: str, ask: Any) -> Answer[Result]:
        """What `ask` answers, where this client may subscribe."""
        namespace = self._access.namespace(topic)
        waiting = self._access.check(conn, session, SUBSCRIBE, topic, namespace)
        key = scoped(session.identity.tenant, topic)
        if waiting is None:
            result: Answer[Result] = ask(key, namespace)
            return result
        return after(waiting, partial(ask, key, namespace))

    def _list(self, key: str, namespace: Namespace) -> Answer[Result]:
        require_presence(namespace)
        answer = self._engine.presence(key, MAX_MEMBERS)
        return _listed(answer) if isinstance(answer, types.Presence) else _listed_later(answer)

    def _count(self, key: str, namespace: Namespace) -> Answer[Result]:
        require_presence(namespace)
        answer = self._engine.presence_stats(key)
        return answer._asdict() if isinstance(answer, types.PresenceStats) else _counted_later(answer)

    def status(self, _conn: Connection, session: Session, command: Status) -> Answer[Result]:
        if len(command.users) > MAX_USERS:
            raise TopicError(closes.LIMIT_EXCEEDED.code, f"one status is about at most {MAX_USERS} users")
        # Nobody is called anything with the character that separates tenants, and nobody asks about another tenant.
        users = [user for user in dict.fromkeys(command.users) if "\0" not in user]
        answer = self._engine.status([scoped(session.identity.tenant, user) for user in users])
        if isinstance(answer, Awaitable):
            return _status_later(command.users, users, answer)
        return _status(command.users, users, answer)


def require_presence(namespace: Namespace) -> None:
    """Raise `TopicError` 108 where the namespace has presence off."""
    if not namespace.presence:
        raise TopicError(closes.NOT_AVAILABLE.code, "the topic has no presence")


def _listed(presence: types.Presence) -> Result:
    result: Result = {
        "members": {conn: _member(member) for conn, member in presence.members.items()},
        "connections": presence.connections,
        "users": presence.users,
    }
    if presence.truncated:
        result["truncated"] = True
    return result


def _member(member: types.Member) -> dict[str, Any]:
    shown: dict[str, Any] = {"user": member.user, "device": member.device}
    if member.info is not None:
        shown["info"] = member.info
    return shown


async def _listed_later(answer: Awaitable[types.Presence]) -> Result:
    return _listed(await answer)


async def _counted_later(answer: Awaitable[types.PresenceStats]) -> Result:
    return (await answer)._asdict()


def _status(asked: Sequence[str], users: Sequence[str], answer: Sequence[types.UserStatus]) -> Result:
    found = dict(zip(users, answer, strict=True))
    return {"users": {user: _shown(found.get(user, _NOBODY)) for user in asked}}


def _shown(status: types.UserStatus) -> dict[str, Any]:
    shown: dict[str, Any] = {"online": status.online, "devices": list(status.devices)}
    if status.last_seen is not None:
        shown["last_seen"] = status.last_seen
    return shown


async def _status_later(
    asked: Sequence[str], users: Sequence[str], answer: Awaitable[Sequence[types.UserStatus]]
) -> Result:
    return _status(asked, users, await answer)
