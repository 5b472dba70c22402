"""Orders and announcements: what one process says to others, and what comes back.

Every node has a mailbox, a stream in Redis, and a channel that is its bell. One script puts a letter into the mailbox
under the next number and says it with its number on the bell. Who hears a number that is not the next one has missed
something, and reads the mailbox instead: so nothing is lost while a link is down, and where the mailbox no longer has
everything, that is seen too.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from struct import Struct
from typing import Any, Final

from fastws.closes import REPLACED
from fastws.engine.contract import COUNT, DISCONNECT, PUSH, Answer, Order, Outcome
from fastws.engine.redis.common import Common, now_ms
from fastws.engine.redis.envelope import ANNOUNCEMENT, pack, unpack
from fastws.engine.redis.fleet.answers import items, number, text
from fastws.engine.redis.fleet.letters import OrderLetter, OutcomeLetter, letter_of, read, reply_of
from fastws.engine.redis.names import ALIVE, ANNOUNCEMENTS, BELL, HOME, MAILBOX, partition_of
from fastws.engine.redis.scripts import script
from fastws.engine.redis.sessions import Sessions
from fastws.errors import EngineError

_log: Final = logging.getLogger("fastws.engine")

MAIL: Final = script("mail")

KEPT: Final = 10_000
"""Letters in a mailbox, about: what comes while a link is down."""
ANSWER_S: Final = 1.0
"""Seconds for which others are waited for; what they have answered until then counts."""
LATE_MS: Final = 2000
"""Milliseconds after which an order that is read concerns only connections that were there when it was given."""

_READ_AT_ONCE: Final = 200
_READ_AGAIN: Final = 100  # letters before the last one: a master that lacks the newest of them gives its numbers again
_REMEMBERED: Final = 20_000  # orders that were carried out
_TRIM_EVERY: Final = 64
_NO_NUMBER: Final = b"0 "
_TS: Final = Struct(">Q")


class _Asked:
    """An order that others carry out."""

    __slots__ = ("nodes", "quiet", "ready", "sum")

    def __init__(self) -> None:
        self.nodes: set[str] = set()
        """Those that have not answered."""
        self.quiet: set[str] = set()
        """Those of them that may be dead: nobody waits for them."""
        self.ready = asyncio.get_running_loop().create_future()
        self.sum = Outcome()

    @property
    def is_complete(self) -> bool:
        """Whether all have answered that are waited for."""
        return self.nodes <= self.quiet


class Post:
    """Every node has a mailbox, a stream in Redis, so that nothing is lost while its link is down."""

    def __init__(self, common: Common, sessions: Sessions) -> None:
        self.on_trimmed: Callable[[], None] = _ignore
        """Called where letters were lost: what this node has in Redis may not be what it should be."""
        self.gaps = 0
        """How often that was."""
        self._common = common
        self._sessions = sessions
        sessions.dismiss = self.dismiss
        self._node = ""
        """Whose mailbox is open."""
        self._last = 0
        """The number of the letter that was read last."""
        self._reading: asyncio.Task[None] | None = None
        self._one_reads = asyncio.Lock()
        self._asked: dict[int, _Asked] = {}
        self._number = int.from_bytes(os.urandom(6), "big")
        self._done: dict[tuple[bytes, int], None] = {}
        """Orders that were carried out, by sender and number; the newest last."""
        self._done_before: dict[tuple[bytes, int], None] = {}

    async def start(self) -> None:
        """Hear announcements, and what is put into the mailbox of this node from now on."""
        channel = self._common.names.key(ANNOUNCEMENTS, HOME)
        self._common.listeners[channel] = self._hear_announcement
        await _done(self._common.backbone.subscribe(HOME, channel))
        await self.catch_up()

    @property
    def is_open(self) -> bool:
        """Whether the mailbox is that of the id which this node has now."""
        return self._node == self._common.node

    async def catch_up(self) -> None:
        """Read what was put into it while nothing could be heard. Also after the node has got a new id."""
        if not self.is_open:
            await self._open()
        await self._read_on()

    async def _open(self) -> None:
        """Open the mailbox of this node, after a last look into the one that it had."""
        before, node = self._node, self._common.node
        if before:
            try:
                await self._read_on()
            except EngineError:
                pass  # who took this node for dead has thrown it away
            old = self._bell(before)
            self._common.listeners.pop(old, None)
            self._common.backbone.unsubscribe(partition_of(before), old)
        partition = partition_of(node)
        mailbox = self._common.names.key(MAILBOX, partition, node)
        # The first letter is none. Where there is one already, an answer was lost.
        if not await self._common.backbone.call(partition, b"EXISTS", mailbox):
            await self._common.backbone.call(partition, b"XADD", mailbox, b"1-0", b"0", b"")
        bell = self._bell(node)
        self._common.listeners[bell] = self._hear
        await _done(self._common.backbone.subscribe(partition, bell))
        self._node, self._last = node, 1

    def _bell(self, node: str) -> bytes:
        return self._common.names.of(BELL, node)

    # What arrives.

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
            self._carry_out(letter, late_ms=0)
            self._tidy()
        elif self._reading is None or self._reading.done():
            self._reading = self._common.later(self._read_on())

    async def _read_on(self) -> None:
        """Read the mailbox to its end."""
        async with self._one_reads:
            await self._read_mailbox()

    async def _read_mailbox(self) -> None:
        node, last = self._node, self._last
        partition = partition_of(node)
        mailbox = self._common.names.key(MAILBOX, partition, node)
        after = max(1, last - _READ_AGAIN)
        newest = 0
        while True:
            call = self._common.backbone.call
            time = call(partition, b"TIME")
            answer = call(partition, b"XRANGE", mailbox, b"%d-1" % (after - 1), b"+", b"COUNT", _READ_AT_ONCE)
            await asyncio.gather(time, answer, return_exceptions=True)
            read_ms = _ms(items(time.result()))
            letters = [_letter_in(entry) for entry in items(answer.result())]
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
            self._carry_out(letter, age_ms)

    def _miss(self, count: int) -> None:
        self.gaps += 1
        _log.warning("%d letters to this process were thrown away before it could read them", count)
        self.on_trimmed()

    def _tidy(self) -> None:
        """Throw away letters that were read, but for the last ones."""
        if self._last % _TRIM_EVERY or self._last <= _READ_AGAIN:
            return
        partition = partition_of(self._node)
        mailbox = self._common.names.key(MAILBOX, partition, self._node)
        try:
            self._common.backbone.call(partition, b"XTRIM", mailbox, b"MINID", b"~", self._last - _READ_AGAIN)
        except EngineError:
            pass  # the mailbox is bounded without it

    def _carry_out(self, letter: OrderLetter, late_ms: int) -> None:
        """Do it, once."""
        key = (letter.sender, letter.number)
        if key in self._done or key in self._done_before or not self._common.is_running:
            return
        self._done[key] = None
        if len(self._done) >= _REMEMBERED // 2:
            self._done_before, self._done = self._done, {}
        order = letter.order()
        if late_ms > LATE_MS:
            if order.action == COUNT:
                return
            order = order._replace(until_ms=now_ms() - late_ms)
        try:
            outcome = self._common.events.on_order(order)
        except Exception as error:
            # Another process says what is in it, and may be wrong.
            _log.error("an order of another process cannot be carried out", exc_info=error)
            return
        if letter.sender and late_ms <= LATE_MS:
            self._common.later(self._answer(letter.sender.decode(), letter.number, outcome))

    async def _answer(self, node: str, count: int, outcome: Answer[Outcome]) -> None:
        try:
            reply = reply_of(count, self._common.node, await _got(outcome))
        except Exception as error:
            _log.error("an order of another process failed", exc_info=error)
            return
        await self._common.backbone.say(partition_of(node), self._bell(node), _NO_NUMBER + reply)

    def _take_answer(self, letter: OutcomeLetter) -> None:
        asked = self._asked.get(letter.number)
        node = letter.sender.decode()
        if asked is None or node not in asked.nodes:
            return
        asked.nodes.discard(node)
        asked.sum += letter.outcome()
        if asked.is_complete and not asked.ready.done():
            asked.ready.set_result(None)

    # What is sent.

    def order(self, order: Order) -> Answer[Outcome]:
        """Have it carried out."""
        here = self._common.events.on_order(order)
        user = _only_where(order)
        if not self._common.backbone.is_up(HOME if user is None else partition_of(user)):
            return here
        if order.user is None and order.conn is not None and isinstance(here, Outcome) and here != Outcome():
            return here  # nobody else has it
        return self._order(order, here)

    async def _order(self, order: Order, here: Answer[Outcome]) -> Outcome:
        try:
            user = _only_where(order)
            nodes = await (self._others() if user is None else self._sessions.nodes_of(user))
        except EngineError as error:
            _log.warning("an order is carried out in this process alone: %s", error)
            nodes = ()
        if not nodes:
            return await _got(here)
        self._number += 1
        count, asked = self._number, _Asked()
        self._asked[count] = asked
        try:
            asked.nodes.update(nodes)
            asked.quiet.update(filter(self._sessions.living.is_quiet, nodes))
            await self._send(nodes, letter_of(order, count, self._common.node), asked)
            outcome = await _got(here)
            if not asked.is_complete:
                await asyncio.wait((asked.ready,), timeout=ANSWER_S)
            return outcome + asked.sum
        finally:
            del self._asked[count]

    async def _others(self) -> Sequence[str]:
        """All other nodes that live, those too that came after this one has looked last."""
        nodes = map(text, items(await self._common.backbone.call(HOME, b"HKEYS", self._common.names.key(ALIVE, HOME))))
        return [node for node in nodes if node != self._common.node and self._sessions.living.is_living(node)]

    async def _send(self, nodes: Iterable[str], letter: bytes, asked: _Asked) -> None:
        """Put it into the mailboxes; those that did not get it are not waited for."""
        sent = [(node, self._mail(node, letter)) for node in nodes]
        answers = await asyncio.gather(*(answer for _, answer in sent if answer is not None), return_exceptions=True)
        got = iter(answers)
        for node, answer in sent:
            result = next(got) if answer is not None else 0
            if isinstance(result, BaseException) or not result:
                asked.nodes.discard(node)

    def _mail(self, node: str, letter: bytes) -> asyncio.Future[object] | None:
        backbone, partition = self._common.backbone, partition_of(node)
        keys = (self._common.names.key(MAILBOX, partition, node),)
        words = (backbone.publish_command, self._bell(node), letter, KEPT)
        try:
            return backbone.run(MAIL, partition, keys, words)
        except EngineError:
            return None

    def dismiss(self, node: str, conn: str) -> None:
        """Close a connection, wherever it is, because a newer one has its place. Nobody waits for that."""
        order = Order(DISCONNECT, conn=conn, code=REPLACED.code, reason=REPLACED.reason)
        if node == self._common.node:
            self._common.events.on_order(order)
            return
        self._number += 1
        self._mail(node, letter_of(order, self._number, ""))

    # Announcements.

    def announce(self, data: bytes) -> Answer[None]:
        """Tell every connection of every process."""
        ts_ms = now_ms()
        if not self._common.is_home_up:
            self._common.events.on_announcement(data, ts_ms)
            return None
        return self._announce(pack(ANNOUNCEMENT, _TS.pack(ts_ms) + data))

    async def _announce(self, envelope: bytes) -> None:
        await self._common.backbone.say(HOME, self._common.names.key(ANNOUNCEMENTS, HOME), envelope)

    def _hear_announcement(self, envelope: bytes) -> None:
        unpacked = unpack(envelope)
        if unpacked is None or unpacked[0] != ANNOUNCEMENT or len(unpacked[1]) <= _TS.size:
            self._common.skip("announcement")
            return
        body = unpacked[1]
        try:
            self._common.events.on_announcement(body[_TS.size :], _TS.unpack_from(body)[0])
        except ValueError:
            self._common.skip("announcement")  # it is no JSON


def _ignore() -> None:
    pass


def _only_where(order: Order) -> str | None:
    """The user to whose processes an order goes; None: to all. Where users are is written behind, and not at all by a
    process that is cut off. So a push may miss a newcomer, but whoever is to be disconnected, or to lose a topic, is
    met also if it came just now: by a process that is cut off when it reads its mailbox.
    """
    return order.user if order.action == PUSH else None


async def _got(answer: Answer[Outcome]) -> Outcome:
    return answer if isinstance(answer, Outcome) else await answer


async def _done(answer: Answer[None]) -> None:
    if isinstance(answer, Awaitable):
        await answer


def _ms(time: Sequence[Any]) -> int:
    """What `TIME` answers, in milliseconds."""
    if len(time) != 2:
        raise EngineError("Redis answered a strange time")
    return number(time[0]) * 1000 + number(time[1]) // 1000


def _letter_in(entry: Any) -> tuple[int, int, bytes]:
    """Number, time and envelope of what is in a mailbox."""
    parts = items(entry)
    fields = items(parts[1]) if len(parts) == 2 else ()
    if len(fields) < 2 or not isinstance(fields[1], bytes):
        raise EngineError("something in a mailbox is no letter")
    return number(text(parts[0]).partition("-")[0].encode()), number(fields[0]), fields[1]
