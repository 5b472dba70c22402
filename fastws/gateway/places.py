"""How many connections one user may have at once, over all processes, and which of them go for a newer one."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from fastws.config import Settings
from fastws.core.topics import scoped
from fastws.engine.contract import Cap, Engine
from fastws.gateway.auth.identity import Identity
from fastws.types import DEFAULT_DEVICE

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
