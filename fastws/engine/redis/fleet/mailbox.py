"""What other processes write to this one.

Every node has a mailbox, a stream in Redis, and a channel that is its bell. One script puts a letter into the mailbox
under the next number and says it with its number on the bell. Who hears a number that is not the next one has missed
something, and reads the mailbox instead: so nothing is lost while a link is down, and where the mailbox no longer has
everything, that is seen too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final

from fastws.engine.contract import Answer
from fastws.engine.redis.common import Common
from fastws.engine.redis.fleet.answers import items, number, text
from fastws.engine.redis.fleet.letters import OrderLetter, OutcomeLetter, read
from fastws.engine.redis.names import BELL, MAILBOX, partition_of
from fastws.engine.redis.scripts import script
from fastws.errors import EngineError

_log: Final = logging.getLogger("fastws.engine")

MAIL: Final = script("mail")

KEPT: Final = 10_000
"""Letters in a mailbox, about: what comes while a link is down."""
KEPT_BYTES: Final = 16 * 1024 * 1024
"""Memory of Redis for the mailbox of a process that does not read it, about: then the older half is thrown away."""

_READ_AT_ONCE: Final = 200
_READ_AGAIN: Final = 100  # letters before the last one: a master that lacks the newest of them gives its numbers again
_TRIM_EVERY: Final = 64


def mail(common: Common, node: str, letter: bytes) -> asyncio.Future[object] | None:
    """Put a letter into the mailbox of a node; the answer is its number, 0 if there is no such mailbox. None if that
    cannot be done now.
    """
    backbone, partition = common.backbone, partition_of(node)
    keys = (common.names.key(MAILBOX, partition, node),)
    words = (backbone.publish_command, common.names.of(BELL, node), letter, KEPT, KEPT_BYTES)
    try:
        return backbone.run(MAIL, partition, keys, words)
    except EngineError:
        return None


class Mailbox:
    """That of this process, under the id which it has."""

    def __init__(
        self,
        common: Common,
        take_order: Callable[[OrderLetter, int], None],
        take_answer: Callable[[OutcomeLetter], None],
        on_gap: Callable[[], None],
    ) -> None:
        """`take_order` gets an order, some perhaps again, and its age in milliseconds; `on_gap` is called where letters
        were lost.
        """
        self.gaps = 0
        """How often that was."""
        self._common = common
        self._take_order = take_order
        self._take_answer = take_answer
        self._on_gap = on_gap
        self._node = ""
        """Whose mailbox is open."""
        self._last = 0
        """The number of the letter that was read last."""
        self._has_missed = False
        """The bell has said a number that was not the next one, and the mailbox was not read since then."""
        self._reading: asyncio.Task[None] | None = None
        self._one_reads = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the mailbox is that of the id which this node has now."""
        return self._node == self._common.node

    @property
    def is_heard(self) -> bool:
        """Whether all letters arrive, as far as is known."""
        return self.is_open and not self._has_missed and self._common.backbone.is_up(partition_of(self._node))

    async def catch_up(self) -> None:
        """Read what was put into it while nothing could be heard. Also after the node has got a new id."""
        if not self.is_open:
            await self._open()
        await self._read_on()

    def return_in_part(self, partitions: Collection[int]) -> None:
        """These are back, and others are not: `look_after` reads what came meanwhile, if it is in one of them."""
        if partition_of(self._node) in partitions:
            self._has_missed = True

    async def look_after(self) -> None:
        """See that it is still there: who writes to a node without a mailbox is told that there is no such node. Redis
        may have lost it in a failover, or thrown it away for want of memory.
        """
        partition = partition_of(self._node)
        if not self.is_open or not self._common.backbone.is_up(partition):
            return
        if await self._common.backbone.call(partition, b"TYPE", self._key(self._node)) == b"stream":
            if self._has_missed:
                await self._read_on()
            return
        async with self._one_reads:
            await self._common.backbone.call(partition, b"DEL", self._key(self._node))
            await self._begin(self._node)
            self._last = 1
        self.gaps += 1
        _log.warning("Redis has lost the mailbox of this process: it begins another one")
        self._on_gap()

    async def _open(self) -> None:
        """Open the mailbox of this node, after a last look into the one that it had."""
        before, node = self._node, self._common.node
        if before:
            try:
                await self._read_on()
            except EngineError:
                pass  # what was an order of all is in the log as well
            old = self._bell(before)
            self._common.listeners.pop(old, None)
            self._common.backbone.unsubscribe(partition_of(before), old)
        await self._begin(node)
        bell = self._bell(node)
        self._common.listeners[bell] = self._hear
        await _done(self._common.backbone.subscribe(partition_of(node), bell))
        self._node, self._last = node, 1

    async def _begin(self, node: str) -> None:
        """The first letter is none. Where there is one already, an answer was lost."""
        partition, key = partition_of(node), self._key(node)
        if not await self._common.backbone.call(partition, b"EXISTS", key):
            await self._common.backbone.call(partition, b"XADD", key, b"1-0", b"0", b"")

    def _bell(self, node: str) -> bytes:
        return self._common.names.of(BELL, node)

    def _key(self, node: str) -> bytes:
        return self._common.names.of(MAILBOX, node)

    def _hear(self, payload: bytes) -> None:
        """The bell."""
        word, _, envelope = payload.partition(b" ")
        try:
            letter, count = read(envelope), number(word)
        except EngineError:
            self._common.skip("letter")
            count = int(word) if word.isdigit() and len(word) < 19 else 0
            if count == self._last + 1:
                self._last = count
            return
        if isinstance(letter, OutcomeLetter):
            self._take_answer(letter)
        elif count <= self._last + 1:
            self._last = max(count, self._last)
            self._take_order(letter, 0)
            self._tidy()
        else:
            self._has_missed = True
            if self._reading is None or self._reading.done():
                self._reading = self._common.later(self._read_missed())

    async def _read_missed(self) -> None:
        """Read on until nothing is missed: what is heard while the mailbox is read may not be in what was read."""
        while self._has_missed:
            await self._read_on()

    async def _read_on(self) -> None:
        """Read the mailbox to its end."""
        async with self._one_reads:
            self._has_missed = False
            try:
                await self._read_mailbox()
            except BaseException:
                self._has_missed = True
                raise

    async def _read_mailbox(self) -> None:
        node, last = self._node, self._last
        partition = partition_of(node)
        mailbox = self._key(node)
        after = max(1, last - _READ_AGAIN)
        newest = 0
        while True:
            call = self._common.backbone.call
            time = call(partition, b"TIME")
            answer = call(partition, b"XRANGE", mailbox, b"%d-1" % (after - 1), b"+", b"COUNT", _READ_AT_ONCE)
            await asyncio.gather(time, answer, return_exceptions=True)
            read_ms = _ms(items(time.result()))
            letters = [self._letter_in(entry) for entry in items(answer.result())]
            for count, given_ms, envelope in letters:
                if count > last + 1 and count > newest + 1:
                    self._miss(count - max(last, newest) - 1)
                newest = max(newest, count)
                self._read(envelope, max(0, read_ms - given_ms))
            if len(letters) < _READ_AT_ONCE:
                break
            after = letters[-1][0] + 1
            await asyncio.sleep(0)
        if newest:
            self._last = newest

    def _read(self, envelope: bytes, age_ms: int) -> None:
        if not envelope:
            return
        try:
            letter = read(envelope)
        except EngineError:
            self._common.skip("letter")
            return
        if isinstance(letter, OrderLetter):
            self._take_order(letter, age_ms)

    def _letter_in(self, entry: Any) -> tuple[int, int, bytes]:
        """Number, time and envelope of what is in a mailbox; an empty one for what is no letter."""
        parts = items(entry)
        if len(parts) != 2:
            raise EngineError("something in a mailbox has no number")
        count = number(text(parts[0]).partition("-")[0].encode())
        try:
            given, envelope = items(parts[1])[:2]
            if isinstance(envelope, bytes):
                return count, number(given), envelope
        except (EngineError, ValueError):
            pass
        self._common.skip("letter")
        return count, 0, b""

    def _miss(self, count: int) -> None:
        self.gaps += 1
        _log.warning("%d letters to this process were thrown away before it could read them", count)
        self._on_gap()

    def _tidy(self) -> None:
        """Throw away letters that were read, but for the last ones."""
        if self._last % _TRIM_EVERY or self._last <= _READ_AGAIN:
            return
        try:
            self._common.backbone.call(
                partition_of(self._node), b"XTRIM", self._key(self._node), b"MINID", b"~", self._last - _READ_AGAIN
            )
        except EngineError:
            pass  # the mailbox is bounded without it


async def _done(answer: Answer[None]) -> None:
    if isinstance(answer, Awaitable):
        await answer


def _ms(time: Sequence[Any]) -> int:
    """What `TIME` answers, in milliseconds."""
    if len(time) != 2:
        raise EngineError("Redis answered a strange time")
    return number(time[0]) * 1000 + number(time[1]) // 1000
