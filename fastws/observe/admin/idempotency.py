"""`Idempotency-Key`: a call that is repeated has one effect and the same answer, for five minutes.

Only answers of success are remembered: a call that failed had no effect, and may be tried again with its key. What
comes while the first call is still under way waits for it and gets its answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from time import monotonic
from typing import Final, NamedTuple

from fastws import closes
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
_WRONG_KEY: Final = error_answer(
    closes.MALFORMED, f"Idempotency-Key has 1 to {MAX_KEY_BYTES} visible characters of ASCII"
)


class _Remembered(NamedTuple):
    fingerprint: bytes
    answer: Answer
    until_s: float
    size: int


class Idempotency:
    """The answers that were given to calls with a key."""

    def __init__(
        self, *, max_answers: int = MAX_ANSWERS, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = monotonic
    ) -> None:
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

        409 if the key came with another method or body; 503, and nothing is run, if there is no room to remember it.
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
        task = asyncio.ensure_future(run())
        self._running[key] = fingerprint, task
        task.add_done_callback(lambda done: self._ended(key, fingerprint, done))
        return await asyncio.shield(task)

    def _ended(self, key: str, fingerprint: bytes, done: asyncio.Future[Answer]) -> None:
        del self._running[key]
        if done.cancelled() or done.exception() is not None:
            return
        answer = done.result()
        if answer.status != 200:
            return
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
