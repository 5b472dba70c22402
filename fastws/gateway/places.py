"""How many connections one user may have at once, over all processes, and which of them go for a newer one.

Connections of raw endpoints with `auth` are counted, found and told about like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastws import closes
from fastws.config import Settings
from fastws.core.topics import scoped
from fastws.engine.contract import Answer, Cap, Engine
from fastws.gateway.auth.identity import Identity
from fastws.hub.hub import Hub
from fastws.net.connection import OPEN
from fastws.types import DEFAULT_DEVICE, CloseInfo, ConnectionInfo

REPLACE: Final = "replace"
"""The policy under which older connections go for newer ones."""


class Places:
    """Asks the engine. Where nothing is limited it costs nothing: ask `are_limited_for` first."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._cap = Cap(settings.max_connections_per_user, settings.user_limit_policy == REPLACE)

    def are_limited_for(self, identity: Identity) -> bool:
        """Whether a connection of this user has to ask for a place."""
        return bool(identity.user) and (self._cap.limit > 0 or self._is_alone_on_its_device(identity))

    def have_to_be_taken_again(self, former: Identity, identity: Identity) -> bool:
        """Whether a connection that has a place is to ask because its device is another one now."""
        return former.device != identity.device and self._is_alone_on_its_device(identity)

    def _is_alone_on_its_device(self, identity: Identity) -> bool:
        return self._cap.replaces and bool(identity.user) and identity.device not in ("", DEFAULT_DEVICE)

    async def take(self, conn: Any, identity: Identity) -> bool:
        """Take one; False if there is none. The connections that go for it have been told."""
        answer = self._engine.admit(scoped(identity.tenant, identity.user), conn.id, identity.device, self._cap)
        return (await answer if isinstance(answer, Awaitable) else answer).admitted

    def give_back(self, conn: Any, identity: Identity) -> None:
        """The connection that took one has ended before the hub knew it."""
        self._engine.detach(scoped(identity.tenant, identity.user), conn.id, is_last=False)


class RawConnections:
    """What raw endpoints with `auth` tell of their connections; see `fastws.net.raw.Registry`, which this is."""

    def __init__(
        self, hub: Hub, places: Places, say: Callable[[ConnectionInfo, CloseInfo, Answer[bool]], None]
    ) -> None:
        """`say` is called for each end that the disconnect hooks have to be told of; see `Farewells`."""
        self._hub = hub
        self._places = places
        self._say = say

    def enter(self, conn: Any, session: Any) -> Answer[bool]:
        """It is here, if there is a place."""
        if self._places.are_limited_for(session.identity):
            return self._take_place(conn, session.identity)
        self._hub.enter(conn, is_raw=True)
        return True

    async def _take_place(self, conn: Any, identity: Identity) -> bool:
        if not await self._places.take(conn, identity):
            conn.close(*closes.CONNECTION_LIMIT)
            return False
        if conn.phase != OPEN:
            self._places.give_back(conn, identity)
            return False
        self._hub.enter(conn, is_raw=True)
        return True

    def leave(self, conn: Any, info: ConnectionInfo | None, close: CloseInfo) -> None:
        """It is gone."""
        was_reported = self._hub.has_been_reported(conn)
        is_mine = self._hub.leave(conn, ())
        if info is not None and not was_reported:
            self._say(info, close, is_mine)
