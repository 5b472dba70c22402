# ruff: noqa: ARG002
"""The lease of this process, and the processes that have died.

A process that is not heard of for as long as its lease lasts is dead, whatever it thinks: one of those that are alive
takes its sessions and its presence away, and says once of each connection that it is lost. If it was not dead after
all, it is fenced: its next sign of life is refused, and it comes back with another id and everybody who is there.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastws.engine.contract import Answer, EngineEvents, NodeFigures
from fastws.engine.redis.common import Common
from fastws.engine.redis.post import Post
from fastws.engine.redis.presence import RemotePresence
from fastws.engine.redis.sessions import Sessions
from fastws.errors import EngineError


class Nodes:
    """Keeps the lease, and looks for those whose lease has ended."""

    def __init__(
        self,
        common: Common,
        name: str,
        lease_s: float,
        sessions: Sessions,
        presence: RemotePresence,
        post: Post,
    ) -> None:
        self._common = common
        self._name = name
        self._lease_s = lease_s
        self._sessions = sessions
        self._presence = presence
        self._post = post

    async def register(self, events: EngineEvents) -> None:
        """Get an id that nobody had before, and a lease. `EngineError` if that cannot be."""
        raise EngineError("not there yet")

    def start(self) -> None:
        """Keep the lease from now on, and look for dead nodes."""
        raise EngineError("not there yet")

    async def renew(self) -> None:
        """After an outage: keep the lease if it still is one; else, or if Redis has forgotten it, register again, with
        all sessions and presence.
        """
        raise EngineError("not there yet")

    async def stop(self) -> None:
        """Give the lease back, with everything that belongs to it."""
        raise EngineError("not there yet")

    def nodes(self) -> Answer[Sequence[NodeFigures]]:
        """Those that are alive."""
        raise EngineError("not there yet")
