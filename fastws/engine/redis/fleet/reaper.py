"""What is done with a node that is dead: its sessions and its presence are taken away, and its connections reported.

Of all processes one does it; should that one die as well, another goes on where it was. A connection is reported by the
process whose script has taken it away, right after that: so once, unless that very process dies between the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from fastws.engine.redis.common import Common
from fastws.engine.redis.names import MAILBOX, PARTITIONS, partition_of
from fastws.engine.redis.sessions import Entry, Sessions
from fastws.errors import EngineError

T = TypeVar("T")

MEMBERS_AT_ONCE: Final = 500
"""Members of topics of a dead node that one step takes away."""

_SIDE_BY_SIDE: Final = 2  # partitions that are cleared at the same time: about 2 ms in one turn of the loop
_SIDE_BY_SIDE_IN_SILENCE: Final = 8  # where next to nothing is left, and somebody waits for it
_RETRY_S: Final = 0.2


class Presence(Protocol):
    """What knows who was present through a node."""

    async def forget(self, node: str, partition: int, most: int) -> bool: ...


class Reaper:
    """Clears up behind dead nodes."""

    def __init__(self, common: Common, sessions: Sessions, presence: Presence) -> None:
        self._common = common
        self._sessions = sessions
        self._presence = presence

    async def clear(self, node: str, *, report: bool) -> int:
        """Take away everything that is a node's, waiting for Redis where it is away; how many connections that were.
        With `report` the layers above are told of each.
        """
        partitions = iter(range(PARTITIONS))
        lanes = _SIDE_BY_SIDE if report else _SIDE_BY_SIDE_IN_SILENCE
        found = await asyncio.gather(*(self._clear_some(node, partitions, report) for _ in range(lanes)))
        mailbox = partition_of(node)
        key = self._common.names.key(MAILBOX, mailbox, node)
        await self.insist(lambda: self._common.backbone.call(mailbox, b"UNLINK", key))
        return sum(found)

    async def _clear_some(self, node: str, partitions: Iterator[int], report: bool) -> int:
        found = 0
        for partition in partitions:
            while page := await self._lost(node, partition):
                taken = await self._take(node, partition, page)
                found += len(taken)
                lost = [entry.info(node) for entry in taken if report and not entry.is_reported]
                if lost and self._common.is_running:
                    self._common.events.on_lost(lost)
                await asyncio.sleep(0)
            await self._forget_presence(node, partition)
        return found

    async def _lost(self, node: str, partition: int) -> Sequence[Entry]:
        return await self.insist(lambda: self._sessions.lost(node, partition))

    async def _forget_presence(self, node: str, partition: int) -> None:
        is_done = False
        while not is_done:
            is_done = await self.insist(lambda: self._presence.forget(node, partition, MEMBERS_AT_ONCE))
            await asyncio.sleep(0)

    async def _take(self, node: str, partition: int, page: Sequence[Entry]) -> Sequence[Entry]:
        """Those that this process has taken away. If the answer is lost it was this one too: nobody else is at it."""
        try:
            return await self._sessions.forget(node, partition, page)
        except EngineError:
            await self.insist(lambda: self._sessions.forget(node, partition, page))
            return page

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer: who buries a node does not leave half of it."""
        while True:
            try:
                return await ask()
            except EngineError:
                await asyncio.sleep(_RETRY_S)
