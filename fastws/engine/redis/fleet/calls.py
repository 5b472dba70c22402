"""Which process carries out a call, and what was answered: kept in Redis for all of them.

A claim ends by itself a while after its process has died, and is prolonged until then. What cannot be said because
Redis is away is said when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from hashlib import blake2b
from secrets import token_hex
from typing import Final

from fastws.engine.claims import DONE, GRANTED, KEPT_S, LARGEST_ANSWER, REUSED, RUNNING, RUNNING_S, Claim
from fastws.engine.redis.common import Common
from fastws.engine.redis.names import CALL, partition_of
from fastws.engine.redis.scripts import script
from fastws.errors import EngineError

_log: Final = logging.getLogger("fastws.engine")

CLAIM: Final = script("claim_call")
SETTLE: Final = script("settle_call")

MOST_UNSAID: Final = 10_000
"""Calls whose end Redis could not be told."""

_STATES: Final = {state.encode(): state for state in (GRANTED, RUNNING, DONE, REUSED)}
_KEPT_MS: Final = int(KEPT_S * 1000)
_SAID: Final = "kept"
_FREE: Final = "free"


class _Call:
    """One that was claimed by this process."""

    __slots__ = ("fingerprint", "key", "name", "owner", "partition", "said", "until_s")

    def __init__(self, name: str, key: bytes, partition: int, fingerprint: bytes) -> None:
        self.name = name
        self.key = key
        self.partition = partition
        self.fingerprint = fingerprint
        self.owner = token_hex(12)
        self.said: tuple[str, bytes] | None = None
        """What Redis is to be told of its end; None while it goes on."""
        self.until_s = 0.0
        """When that is of no use any more."""


class Calls:
    """See `fastws.engine.claims.Claims`, which this is."""

    def __init__(self, common: Common, running_s: float = RUNNING_S) -> None:
        """`running_s`: how long a claim lives that nobody prolongs."""
        self._common = common
        self._running_ms = int(running_s * 1000)
        self._pause_s = running_s / 4
        self._mine: dict[str, _Call] = {}
        """Those that this process carries out."""
        self._unsaid: dict[str, _Call] = {}
        """Those that are over, of which Redis does not know that; by their owners."""
        self.twice = 0
        """Calls that another process has claimed as well: this one was cut off for too long."""
        self._minding: asyncio.Task[None] | None = None

    async def claim(self, key: str, fingerprint: bytes) -> Claim:
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
        partition = partition_of(digest)
        self._common.require(partition)
        call = _Call(key, self._common.names.key(CALL, partition, digest), partition, fingerprint)
        words = (call.fingerprint, call.owner, self._running_ms)
        try:
            answer = await self._common.backbone.run(CLAIM, partition, [call.key], words)
        except EngineError:
            self._end(call, _FREE)  # the claim may be there
            raise
        match answer:
            case [bytes() as word] if (state := _STATES.get(word)) is not None and state != DONE:
                if state == GRANTED:
                    self._mine[key] = call
                    self._mind()
                return Claim(state)
            case [b"done", bytes() as before]:
                return Claim(DONE, before)
        raise EngineError("Redis does not say whose call it is")

    async def settle(self, key: str, answer: bytes | None) -> None:
        call = self._mine.pop(key, None)
        if call is None:
            return
        if answer is None:
            self._end(call, _FREE)
        else:
            self._end(call, _SAID, answer if len(answer) <= LARGEST_ANSWER else b"")
        await self._say(call)

    def _end(self, call: _Call, said: str, answer: bytes = b"") -> None:
        """From now on Redis is told of its end until it knows."""
        while len(self._unsaid) >= MOST_UNSAID:
            del self._unsaid[next(iter(self._unsaid))]
        call.said = said, answer
        call.until_s = asyncio.get_running_loop().time() + (KEPT_S if said == _SAID else self._running_ms / 1000)
        self._unsaid[call.owner] = call
        self._mind()

    async def _say(self, call: _Call) -> None:
        """Tell Redis what has become of it, if that is possible."""
        end = call.said
        said, answer = end or (RUNNING, b"")
        kept_ms = _KEPT_MS if said == _SAID else self._running_ms
        words = (call.fingerprint, call.owner, said, kept_ms, answer)
        try:
            is_mine = await self._common.backbone.run(SETTLE, call.partition, [call.key], words)
        except EngineError as error:
            _log.debug("a claim of a call is as Redis knows it: %s", error)
            return
        if call.said is end:  # else it has ended meanwhile, and Redis may not know that yet
            self._unsaid.pop(call.owner, None)
        if not is_mine and said != _FREE:
            if self._mine.get(call.name) is call:
                del self._mine[call.name]
            self.twice += 1
            _log.warning("a call of the control API was carried out here and by another process: this one was cut off")

    def _mind(self) -> None:
        if not self._common.is_running:
            return  # the engine has stopped, and nobody would end what begins now; claims end by themselves
        if self._minding is None or self._minding.done():
            self._minding = self._common.later(self._mind_them())

    async def _mind_them(self) -> None:
        """As long as there are some: prolong what goes on, and say again what could not be said."""
        while self._mine or self._unsaid:
            await asyncio.sleep(self._pause_s)
            now_s = asyncio.get_running_loop().time()
            for owner, call in list(self._unsaid.items()):
                if call.until_s < now_s:
                    del self._unsaid[owner]
            calls = [*self._mine.values(), *self._unsaid.values()]
            await asyncio.gather(*map(self._say, calls), return_exceptions=True)
