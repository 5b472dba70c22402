"""Finds what is left of nodes that are in no list.

A failover may lose what was written last: that a node has come, while another server still has its connections; or that
they were taken away. Nobody would ever look for them. So every partition has a set of the nodes that have something in
it, written before that, and one process at a time compares them, now and then, with the lists of those that live and
those that are being buried.

A node that lives is in a list at each of its beats: one that has lost its place there is told so, and becomes another
one. So what is in no list twice, with more than a lease between the two looks in which Redis was never away, is dead;
or it stands still, and is fenced when it comes back, like any other that was taken for dead.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from typing import Final

from fastws.engine.redis.common import Common
from fastws.engine.redis.fleet.answers import items, number, text
from fastws.engine.redis.names import ALIVE, BURIALS, DEAD, HERE, HOME, NODE_TOPICS, NODE_USERS, PARTITIONS, SWEEPER
from fastws.engine.redis.scripts import script
from fastws.errors import EngineError

ADOPT: Final = script("adopt")

EVERY_S: Final = 600.0
"""Seconds from one look to the next, of all processes together."""
LEAST_S: Final = 60.0
"""Seconds between the two looks that find a node dead, at least; else two leases."""

_TOGETHER: Final = 16  # partitions that are asked at once
_PAUSE_S: Final = 0.02  # between those
_STEP_S: Final = 1.0  # of waiting, after which it is seen whether everything is in order


class Sweeper:
    """Looks, if no other process does."""

    def __init__(self, common: Common, lease_s: float) -> None:
        self._common = common
        self._pause_s = max(LEAST_S, 2 * lease_s)
        self._is_disturbed = False
        self.own: Collection[str] = ()
        """What this process was called before, and itself clears up behind."""

    def disturb(self) -> None:
        """Redis was away, or this process stood still: who lives may be in no list for a moment. A look that is under
        way finds nobody.
        """
        self._is_disturbed = True

    async def keep(self, adopt: Callable[[str], object], may_look: Callable[[], bool]) -> None:
        """Look now and then, until this is cancelled. `adopt` is called with a dead node once this process has to bury
        it; `may_look` says whether this process knows that others take it to be alive.
        """
        while True:
            await asyncio.sleep(EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311 - so that not all come at once
            try:
                if may_look() and await self._is_mine():
                    for node in await self.find(may_look):
                        if await self._adopt(node):
                            adopt(node)
            except EngineError:
                pass  # another time

    async def _is_mine(self) -> bool:
        """Of all processes one looks, until it may have died."""
        call, key = self._common.backbone.call, self._key(SWEEPER)
        held_s = max(1, int(EVERY_S + self._pause_s))
        return await call(HOME, b"SET", key, self._common.node, b"NX", b"EX", held_s) in (b"OK", "OK")

    async def find(self, may_look: Callable[[], bool]) -> Sequence[str]:
        """Nodes that are dead and in no list. What has nothing left is forgotten on the way."""
        self._is_disturbed = False
        suspects = await self._unlisted(await self._everywhere())
        if not suspects:
            return []
        waited_s = 0.0
        while waited_s < self._pause_s:
            step_s = min(_STEP_S, self._pause_s - waited_s)
            await asyncio.sleep(step_s)
            waited_s += step_s
            if self._is_disturbed or not may_look():
                return []
        dead = await self._unlisted(suspects)
        found = [node for node, partitions in dead.items() if await self._has_left(node, partitions)]
        return [] if self._is_disturbed else found

    async def _everywhere(self) -> dict[str, list[int]]:
        """Node -> partitions in which it may have something."""
        found: dict[str, list[int]] = {}
        for begin in range(0, PARTITIONS, _TOGETHER):
            together = range(begin, min(begin + _TOGETHER, PARTITIONS))
            asked = [
                self._common.backbone.call(partition, b"SMEMBERS", self._common.names.key(HERE, partition))
                for partition in together
            ]
            await asyncio.gather(*asked, return_exceptions=True)
            for partition, answer in zip(together, asked, strict=True):
                for word in _members(answer.result()):
                    found.setdefault(text(word), []).append(partition)
            await asyncio.sleep(_PAUSE_S)
        return found

    async def _unlisted(self, nodes: dict[str, list[int]]) -> dict[str, list[int]]:
        """Those that neither live nor are being buried."""
        call = self._common.backbone.call
        lists = [call(HOME, b"HKEYS", self._key(kind)) for kind in (ALIVE, BURIALS)]
        await asyncio.gather(*lists, return_exceptions=True)
        listed = {text(word) for answer in lists for word in items(answer.result())}
        return {node: partitions for node, partitions in nodes.items() if node not in listed and node not in self.own}

    async def _has_left(self, node: str, partitions: Collection[int]) -> bool:
        """Whether something of it is left there; where nothing is, it is no longer among those that have something."""
        call, names = self._common.backbone.call, self._common.names
        is_left = False
        for partition in partitions:
            keys = [names.node_key(kind, partition, node) for kind in (NODE_USERS, NODE_TOPICS)]
            if number(await call(partition, b"EXISTS", *keys)):
                is_left = True
            else:
                await call(partition, b"SREM", names.key(HERE, partition), node)
        return is_left

    async def _adopt(self, node: str) -> bool:
        keys = [self._key(kind) for kind in (ALIVE, BURIALS, DEAD)]
        words = (node, f"{self._common.node} 0")
        return number(await self._common.backbone.run(ADOPT, HOME, keys, words)) == 1

    def _key(self, kind: bytes) -> bytes:
        return self._common.names.key(kind, HOME)


def _members(answer: object) -> Collection[bytes]:
    """A set is one of its own kind in RESP3."""
    return [word for word in answer if isinstance(word, bytes)] if isinstance(answer, set | list | tuple) else []
