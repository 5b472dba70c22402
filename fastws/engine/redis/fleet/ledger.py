"""What was ordered of all processes, kept in Redis for those that could not hear it.

Who lives is told of an order by letter. A process that others take for dead, because it stood still or was cut off,
gets no letters, and may come back: then it reads here what it has missed, before it says again who is connected. An
entry is an envelope, so whatever all processes have to know can be written here; its place in the stream is the time
of Redis, so a process only has to know until when it has heard everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastws.engine.redis.common import Common
from fastws.engine.redis.fleet.answers import items, number, text
from fastws.engine.redis.names import ALIVE, HOME, ORDERS
from fastws.engine.redis.resp.errors import ReplyError
from fastws.engine.redis.scripts import script
from fastws.errors import EngineError

_log: Final = logging.getLogger("fastws.engine")

NOTE: Final = script("note_order")
READ: Final = script("read_orders")

KEPT: Final = 10_000
"""Orders in the log, at most."""
KEPT_S: Final = 86_400
"""Seconds for which an order is kept, at least, if there are not too many. Its last one goes with the log."""
AGAIN_MS: Final = 60_000
"""Milliseconds before the time until which a process has heard everything, from where on it reads: a letter may have
been on its way then, and another master may have another time. What was carried out is not done again.
"""

_READ_AT_ONCE: Final = 200

Take = Callable[[bytes, int], None]
"""Called with an envelope, and with how many milliseconds ago it was written."""


class Ledger:
    """The log, and how far this process has heard."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._heard_ms = 0
        """Until when this process has heard everything, by the time of Redis; 0 before it has begun."""
        self._unkept = 0

    async def note(self, envelope: bytes) -> Sequence[str]:
        """Write something down; the nodes that live, as far as Redis knows. Who is none of them reads it later."""
        keys = (self._key(ORDERS), self._key(ALIVE))
        words = (envelope, KEPT, KEPT_S * 1000)
        answer = items(await self._common.backbone.run(NOTE, HOME, keys, words))
        if not answer or number(answer[0]) != 1:
            self._unkept += 1
            if not self._unkept & (self._unkept - 1):
                _log.warning("%d orders could not be kept for processes that cannot be reached now", self._unkept)
        return list(map(text, answer[1:]))

    def heard(self, until_ms: int) -> None:
        """Nothing that was ordered before that, by the time of Redis, is missing here."""
        self._heard_ms = until_ms  # which is less than before if that clock was set back, as then orders have less too

    async def read(self, take: Take) -> bool:
        """Take everything that may have been missed, oldest first. False if not everything is there any more. Raises
        `EngineError` if Redis is away; what was taken then will be taken again.
        """
        heard_ms = self._heard_ms
        behind = b"%d" % max(0, heard_ms - AGAIN_MS)
        is_complete = True
        is_first = True
        while True:
            try:
                answer = items(
                    await self._common.backbone.run(READ, HOME, (self._key(ORDERS),), (behind, _READ_AT_ONCE))
                )
            except ReplyError as error:
                if error.code != "WRONGTYPE":
                    raise
                return False  # it is no log; whoever writes next begins a new one
            if len(answer) != 4:
                raise EngineError("Redis answered about orders with something else")
            now_ms, count, first_ms, entries = number(answer[0]), number(answer[1]), number(answer[2]), items(answer[3])
            if is_first and now_ms < heard_ms - AGAIN_MS // 2:  # the clock was set back: where to begin is not known
                heard_ms, behind = now_ms, b"0"
                continue
            if is_first and now_ms - heard_ms >= KEPT_S * 1000 and (not count or first_ms > heard_ms):
                is_complete = False
            if count >= KEPT and first_ms > max(heard_ms, number(behind.partition(b"-")[0])):
                is_complete = False
            is_first = False
            for entry in entries:
                behind = self._take(entry, now_ms, take)
            if len(entries) < _READ_AT_ONCE:
                break
        self.heard(now_ms)
        return is_complete

    def _take(self, entry: Any, now_ms: int, take: Take) -> bytes:
        """Hand it on; its place."""
        parts = items(entry)
        if len(parts) != 2 or not isinstance(parts[0], bytes):
            raise EngineError("something in the log of orders is no entry")
        fields = items(parts[1])
        if len(fields) < 2 or not isinstance(fields[1], bytes):
            self._common.skip("order")
        else:
            take(fields[1], max(0, now_ms - number(parts[0].partition(b"-")[0])))
        return parts[0]

    def _key(self, kind: bytes) -> bytes:
        return self._common.names.key(kind, HOME)
