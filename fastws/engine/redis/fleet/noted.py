"""What Redis has noted as a node's: its connections, in a hash of each partition."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from fastws.engine.redis.backbone.contract import Word
from fastws.engine.redis.common import Common
from fastws.engine.redis.fleet.answers import items, number, page_in, pairs
from fastws.engine.redis.fleet.entries import Entry, entry_in, is_named
from fastws.engine.redis.names import LAST_SEEN, NODE_USERS, PARTITIONS, REPORTED, SESSIONS
from fastws.engine.redis.resp.errors import ReplyError
from fastws.engine.redis.scripts import script

_log: Final = logging.getLogger("fastws.engine")

DETACH: Final = script("detach")

LAST_SEEN_S: Final = 604_800
"""Seconds for which it is remembered when a user was here last: a week."""
AT_ONCE: Final = 200
"""Connections that one script notes or forgets: less than a millisecond of Redis."""
TAKEN_AT_ONCE: Final = 100
"""Connections of a dead node that are read, forgotten and reported in one step: a millisecond of the loop."""
SLICE_S: Final = 0.002
"""Seconds of the loop that registering and weeding take before others have their turn."""

_ASKED_TOGETHER: Final = 64  # partitions


class Noted:
    """Reads it, and takes it away."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._damaged = 0

    async def sizes(self, node: str) -> list[tuple[int, int]]:
        """(partition, connections) of the partitions in which something is noted as a node's."""
        found: list[tuple[int, int]] = []
        for begin in range(0, PARTITIONS, _ASKED_TOGETHER):
            partitions = range(begin, min(begin + _ASKED_TOGETHER, PARTITIONS))
            counts = await self._of_each(node, dict.fromkeys(partitions, (b"HLEN",)))
            found += ((partition, count) for partition, answer in counts.items() if (count := number(answer)))
        return found

    async def lost(self, node: str, partition: int) -> Sequence[Entry]:
        """Some of what is noted as a dead node's in a partition; none if nothing is left there."""
        ask: tuple[Word, ...] = (b"HRANDFIELD", TAKEN_AT_ONCE, b"WITHVALUES")
        answers = await self._of_each(node, {partition: ask})
        return [entry_in(pair) for answer in answers.values() for pair in pairs(answer)]

    async def forget(self, node: str, partition: int, entries: Sequence[Entry], kept_s: int = 0) -> Sequence[Entry]:
        """Take away what `lost` has answered, or a part of it; those of which nobody else has done it before. For
        `kept_s` it is remembered that they were reported.
        """
        names = self._common.names
        ordered = sorted(entries, key=lambda entry: not is_named(entry.user))
        keys = [names.node_key(NODE_USERS, partition, node)]
        for entry in ordered:
            if is_named(entry.user):
                keys += (names.key(kind, partition, entry.user) for kind in (SESSIONS, LAST_SEEN))
        if kept_s:
            keys.append(names.node_key(REPORTED, partition, node))
        words: list[Word] = [
            node,
            LAST_SEEN_S,
            kept_s,
            *(entry.conn.encode("utf-8", "surrogateescape") for entry in ordered),
        ]
        done = items(await self._common.backbone.run(DETACH, partition, keys, words))
        return [entry for entry, flag in zip(ordered, done, strict=False) if flag == 1]

    async def weed(self, node: str, is_here: Callable[[Entry], bool]) -> None:
        """Forget connections that are noted as this node's and are not here: they ended while Redis was away, or it
        has lost their ends. Where it is away still, that is done when it is back.
        """
        away = self._common.away()
        for begin in range(0, PARTITIONS, _ASKED_TOGETHER):
            together = range(begin, min(begin + _ASKED_TOGETHER, PARTITIONS))
            cursors = {partition: b"0" for partition in together if partition not in away}
            while cursors:
                cursors = await self._weed_pages(node, cursors, is_here)

    async def _weed_pages(
        self, node: str, cursors: dict[int, bytes], is_here: Callable[[Entry], bool]
    ) -> dict[int, bytes]:
        """One page of each of these partitions; where those go on that have more."""
        asks = {partition: (b"HSCAN", cursor, b"COUNT", AT_ONCE) for partition, cursor in cursors.items()}
        rest: dict[int, bytes] = {}
        ends_s = monotonic() + SLICE_S
        for partition, answer in (await self._of_each(node, asks)).items():
            cursor, page = page_in(answer)
            gone = [entry for entry in map(entry_in, page) if not is_here(entry)]
            for at in range(0, len(gone), AT_ONCE):
                await self.forget(node, partition, gone[at : at + AT_ONCE])
            if cursor != b"0":
                rest[partition] = cursor
            if monotonic() > ends_s:
                await asyncio.sleep(0)
                ends_s = monotonic() + SLICE_S
        return rest

    async def _of_each(self, node: str, asks: Mapping[int, tuple[Word, ...]]) -> dict[int, Any]:
        """What each of these partitions answers to a command about the node's hash there, all of them asked together.
        Where it is no hash, it is thrown away, or it would be in the way for ever.
        """
        call, key_of = self._common.backbone.call, self._common.names.node_key
        asked = {
            partition: call(partition, command, key_of(NODE_USERS, partition, node), *words)
            for partition, (command, *words) in asks.items()
        }
        await asyncio.gather(*asked.values(), return_exceptions=True)
        answers: dict[int, Any] = {}
        for partition, answer in asked.items():
            error = answer.exception()
            if error is None:
                answers[partition] = answer.result()
            elif isinstance(error, ReplyError) and error.code == "WRONGTYPE":
                self._damaged += 1
                if not self._damaged & (self._damaged - 1):
                    _log.warning(
                        "what Redis had of connections was damaged, and is thrown away (%d times)", self._damaged
                    )
                await call(partition, b"UNLINK", key_of(NODE_USERS, partition, node))
            else:
                raise error
        return answers
