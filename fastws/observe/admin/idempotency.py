"""`Idempotency-Key`: a call that is repeated has one effect and the same answer, for five minutes.

Only answers of success are remembered: a call that failed had no effect, and may be tried again with its key. What
comes while the first call is still under way waits for it and gets its answer; where it is another process that is at
it, the answer is 409, and the call may be repeated a little later.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from time import monotonic
from typing import Final, NamedTuple, Protocol

from fastws import closes
from fastws.errors import EngineError
from fastws.observe.admin.calls import Answer, error_answer

KEPT_S: Final = 300.0
"""Seconds for which an answer is remembered."""
MAX_KEY_BYTES: Final = 255
MAX_ANSWERS: Final = 500_000
"""As many as 1,600 calls a second leave in five minutes."""
MAX_BYTES: Final = 256 * 1024 * 1024
"""What remembered keys and answers take together, about."""

_OVERHEAD: Final = 430  # objects around one answer
_FORGOTTEN_AT_ONCE: Final = 500  # about half a millisecond

_REUSED: Final = error_answer(
    closes.MALFORMED, "this Idempotency-Key came with another method or body before; use a new one", 409
)
_FULL: Final = error_answer(
    closes.ENGINE_UNAVAILABLE, "too many Idempotency-Keys are remembered; try again later, or leave the header out"
)
_RUNNING: Final = error_answer(
    closes.RATE_EXCEEDED, "this call is under way at another process; repeat it in a moment", 409
)
_NOT_KEPT: Final = error_answer(
    closes.NOT_AVAILABLE, "this call was carried out by another process, and its answer was too large to be kept", 409
)
_WRONG_KEY: Final = error_answer(
    closes.MALFORMED, f"Idempotency-Key has 1 to {MAX_KEY_BYTES} visible characters of ASCII"
)


class Claims(Protocol):
    """What other processes know of calls; see `fastws.engine.claims`."""

    async def claim(self, key: str, fingerprint: bytes) -> tuple[str, bytes]:
        """`granted`, `running`, `done` with the answer, or `reused`. Raises `EngineError`."""
        ...

    async def settle(self, key: str, answer: bytes | None) -> None:
        """What was granted is over."""
        ...


class _Remembered(NamedTuple):
    fingerprint: bytes
    answer: Answer
    until_s: float
    size: int


class Idempotency:
    """The answers that were given to calls with a key."""

    def __init__(
        self,
        claims: Claims | None = None,
        *,
        max_answers: int = MAX_ANSWERS,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`claims`: asked before a call is carried out, unless this process knows the answer; None: nobody else is."""
        self._claims = claims
        self.bytes = 0
        """Taken by what is remembered, about."""
        self._max_answers = max_answers
        self._max_bytes = max_bytes
        self._clock = clock
        self._done: OrderedDict[str, _Remembered] = OrderedDict()
        self._running: dict[str, tuple[bytes, asyncio.Future[Answer]]] = {}

    def __len__(self) -> int:
        return len(self._done)

    async def once(self, key: str, name: str, body: bytes, run: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `run`, which must not raise, or the one that the same call had before.

        409 if the key came with another method or body, or another process is at it; 503, and nothing is run, if there
        is no room to remember it, or others that may have carried it out cannot be asked.
        """
        if not 0 < len(key) <= MAX_KEY_BYTES or not (key.isascii() and key.isprintable()):
            return _WRONG_KEY
        fingerprint = blake2b(name.encode() + b"\0" + body, digest_size=32).digest()
        self.forget()
        before = self._done.get(key)
        if before is not None and before.until_s > self._clock():
            return before.answer if before.fingerprint == fingerprint else _REUSED
        running = self._running.get(key)
        if running is not None:
            # Shielded: a caller that goes away must not take the answer from the others.
            return await asyncio.shield(running[1]) if running[0] == fingerprint else _REUSED
        if len(self._done) + len(self._running) >= self._max_answers or self.bytes >= self._max_bytes:
            return _FULL
        task = asyncio.ensure_future(self._carry_out(key, fingerprint, run))
        self._running[key] = fingerprint, task
        task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    async def _carry_out(self, key: str, fingerprint: bytes, run: Callable[[], Awaitable[Answer]]) -> Answer:
        if self._claims is not None:
            before = await self._claimed(self._claims, key, fingerprint)
            if before is not None:
                return before
        answer = await run()
        if answer.status == 200:
            self._remember(key, fingerprint, answer)
        if self._claims is not None:
            await self._claims.settle(key, answer.body if answer.status == 200 else None)
        return answer

    @staticmethod
    async def _claimed(claims: Claims, key: str, fingerprint: bytes) -> Answer | None:
        """None: this process is to carry it out. Else the answer."""
        try:
            state, answer = await claims.claim(key, fingerprint)
        except EngineError as error:
            return error_answer(closes.ENGINE_UNAVAILABLE, f"nothing was done: {error}")
        match state:
            case "granted":
                return None
            case "done":
                return Answer(200, answer) if answer else _NOT_KEPT
            case "running":
                return _RUNNING
        return _REUSED

    def _ended(self, key: str, done: asyncio.Future[Answer]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # the caller has it, if there still is one

    def _remember(self, key: str, fingerprint: bytes, answer: Answer) -> None:
        self._drop(key)
        size = len(key) + len(answer.body) + _OVERHEAD
        self._done[key] = _Remembered(fingerprint, answer, self._clock() + KEPT_S, size)
        self.bytes += size

    def forget(self) -> None:
        """Forget some of what is old enough; `once` does it, and whoever is called anyway may: nothing else does."""
        now = self._clock()
        for _ in range(min(_FORGOTTEN_AT_ONCE, len(self._done))):
            key, oldest = next(iter(self._done.items()))
            if oldest.until_s > now:
                return
            self._drop(key)

    def _drop(self, key: str) -> None:
        dropped = self._done.pop(key, None)
        if dropped is not None:
            self.bytes -= dropped.size
