"""What is done with a node that is dead: its sessions and its presence are taken away, and its connections reported.

Of all processes one does it; should that one die as well, another goes on where it was. A connection is reported by the
process whose script has taken it away, right after that: so once, unless that very process dies between the two.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from fastws.engine.redis.common import Common
from fastws.engine.redis.fleet.entries import Entry
from fastws.engine.redis.fleet.noted import TAKEN_AT_ONCE
from fastws.engine.redis.names import HERE, MAILBOX, PARTITIONS, partition_of
from fastws.engine.redis.sessions import REPORTED_S, Sessions
from fastws.errors import EngineError

T = TypeVar("T")

_log: Final = logging.getLogger("fastws.engine")

MEMBERS_AT_ONCE: Final = 500
"""Members of topics of a dead node that one step takes away."""

MAILBOX_KEPT_S: Final = 3600
"""Seconds for which letters to a process are kept that others take for dead."""

_SIDE_BY_SIDE: Final = 32  # partitions whose members are asked about together: a distant server answers late
_RETRY_S: Final = 0.2
_COMPLAINED_FROM: Final = 64  # failures; an outage has a few, and says so itself


class Presence(Protocol):
    """What knows who was present through a node."""

    async def forget(self, node: str, partition: int, most: int) -> bool: ...


class Reaper:
    """Clears up behind dead nodes."""

    def __init__(self, common: Common, sessions: Sessions, presence: Presence) -> None:
        self._common = common
        self._noted = sessions.noted
        self._presence = presence
        self._failures = 0
        """Times that Redis did not do what was asked."""

    async def clear(self, node: str, *, report: bool) -> int:
        """Take away everything that is a node's, waiting for Redis where it is away; how many connections that were.
        With `report` the layers above are told of each.
        """
        found, _ = await asyncio.gather(self._clear_sessions(node, report), self.clear_presence(node))
        await self._unmark(node)
        partition, mailbox = partition_of(node), self._common.names.of(MAILBOX, node)
        call = self._common.backbone.call
        if report:  # it may only have stood still, and read what was written to it when it comes back
            await self.insist(lambda: call(partition, b"EXPIRE", mailbox, MAILBOX_KEPT_S))
        else:
            await self.insist(lambda: call(partition, b"UNLINK", mailbox))
        return found

    async def _clear_sessions(self, node: str, report: bool) -> int:
        """Step by step, each for as many partitions as have about a hundred connections together."""
        found = 0
        while sizes := await self.insist(lambda: self._noted.sizes(node)):
            while sizes:
                group, count = [], 0
                while sizes and count < TAKEN_AT_ONCE:
                    partition, size = sizes.pop()
                    group.append(partition)
                    count += size
                found += sum(await asyncio.gather(*(self._step(node, partition, report) for partition in group)))
                await asyncio.sleep(0)
        return found

    async def _step(self, node: str, partition: int, report: bool) -> int:
        page = await self.insist(lambda: self._noted.lost(node, partition))
        taken = await self._take(node, partition, page, REPORTED_S if report else 0) if page else ()
        lost = [entry.info(node) for entry in taken if report and not entry.is_reported]
        if lost and self._common.is_running:
            self._common.events.on_lost(lost)
        return len(taken)

    async def clear_presence(self, node: str, *, waits: bool = True) -> None:
        """Say of everybody who was present through a node that it has left; others may be at it as well. Unless this
        `waits`, a part of Redis that is away is left out.
        """
        for begin in range(0, PARTITIONS, _SIDE_BY_SIDE):
            together = range(begin, min(begin + _SIDE_BY_SIDE, PARTITIONS))
            asked = [partition for partition in together if waits or self._common.backbone.is_up(partition)]
            await asyncio.gather(*(self._forget_presence(node, partition) for partition in asked))

    async def _unmark(self, node: str) -> None:
        """It has nothing anywhere."""
        call, names = self._common.backbone.call, self._common.names

        async def unmark(partition: int) -> None:
            await self.insist(lambda: call(partition, b"SREM", names.key(HERE, partition), node))

        for begin in range(0, PARTITIONS, _SIDE_BY_SIDE):
            await asyncio.gather(*map(unmark, range(begin, min(begin + _SIDE_BY_SIDE, PARTITIONS))))

    async def _forget_presence(self, node: str, partition: int) -> None:
        is_done = False
        while not is_done:
            is_done = await self.insist(lambda: self._presence.forget(node, partition, MEMBERS_AT_ONCE))
            await asyncio.sleep(0)

    async def _take(self, node: str, partition: int, page: Sequence[Entry], kept_s: int) -> Sequence[Entry]:
        """Those that this process has taken away. If the answer is lost it was this one too: nobody else is at it."""
        try:
            return await self._noted.forget(node, partition, page, kept_s)
        except EngineError:
            await self.insist(lambda: self._noted.forget(node, partition, page, kept_s))
            return page

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer: who buries a node does not leave half of it."""
        while True:
            try:
                return await ask()
            except EngineError as error:
                self._failures += 1
                if self._failures >= _COMPLAINED_FROM and not self._failures & (self._failures - 1):
                    _log.warning("clearing up behind a process takes long (%d refusals): %s", self._failures, error)
                await asyncio.sleep(_RETRY_S)
