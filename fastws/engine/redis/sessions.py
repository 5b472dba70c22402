# ruff: noqa: ARG002
"""Which connections users have, over all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastws.engine.contract import Admission, Answer, Cap
from fastws.engine.redis.common import Common
from fastws.errors import EngineError
from fastws.types import SessionInfo, UserStatus


class Sessions:
    """See the contract for what its methods do."""

    def __init__(self, common: Common) -> None:
        self._common = common

    def admit(self, user: str, conn: str, device: str, cap: Cap) -> Answer[Admission]:
        """Ask for a place."""
        raise EngineError("not there yet")

    def attach(self, user: str, conn: str, device: str) -> None:
        """Note it."""
        raise EngineError("not there yet")

    def detach(self, user: str, conn: str, *, is_last: bool) -> None:
        """Forget it."""
        raise EngineError("not there yet")

    def sessions(self, user: str) -> Answer[Sequence[SessionInfo]]:
        """Those of one user."""
        raise EngineError("not there yet")

    def status(self, users: Sequence[str]) -> Answer[Sequence[UserStatus]]:
        """Whether they are here."""
        raise EngineError("not there yet")

    async def nodes_of(self, user: str) -> Sequence[str]:
        """The ids of the nodes that have connections of a user."""
        raise EngineError("not there yet")

    async def register(self, sessions: Iterable[SessionInfo]) -> None:
        """Note everybody who is here again, a part at a time, for a node that has got a new id."""
        raise EngineError("not there yet")

    async def forget(self, node: str, partition: int, most: int) -> Sequence[SessionInfo]:
        """Remove the sessions of at most `most` users of a dead node from a partition; which they were, none if nothing
        of it is left there.
        """
        raise EngineError("not there yet")
