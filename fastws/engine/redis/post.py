# ruff: noqa: ARG002
"""Orders and announcements: what one process says to others, and what comes back."""

from __future__ import annotations

from fastws.engine.contract import Answer, Order, Outcome
from fastws.engine.redis.common import Common
from fastws.engine.redis.sessions import Sessions
from fastws.errors import EngineError


class Post:
    """Every node has a mailbox, a stream in Redis, so that nothing is lost while its link is down."""

    def __init__(self, common: Common, sessions: Sessions) -> None:
        self._common = common
        self._sessions = sessions

    async def start(self) -> None:
        """Hear announcements, and what is put into the mailbox of this node from now on."""
        raise EngineError("not there yet")

    async def catch_up(self) -> None:
        """Read what was put into it while nothing could be heard. Also after the node has got a new id."""
        raise EngineError("not there yet")

    def announce(self, data: bytes) -> Answer[None]:
        """Tell every connection of every process."""
        raise EngineError("not there yet")

    def order(self, order: Order) -> Answer[Outcome]:
        """Have it carried out."""
        raise EngineError("not there yet")
