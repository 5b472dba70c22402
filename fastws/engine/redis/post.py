"""Orders and announcements: what one process says to others, and what comes back.

An order goes to other processes by letter (`fleet.mailbox`). One that is for all processes and matters later too is
noted as well (`fleet.ledger`), for those that no letter reaches.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from struct import Struct
from typing import Final

from fastws.closes import FORCE_RECONNECT, REPLACED
from fastws.engine.contract import COUNT, DISCONNECT, PUSH, SUBSCRIBE, UNSUBSCRIBE, Answer, Order, Outcome
from fastws.engine.redis.common import Common, now_ms
from fastws.engine.redis.envelope import ANNOUNCEMENT, pack, unpack
from fastws.engine.redis.fleet.answers import items, text
from fastws.engine.redis.fleet.ledger import Ledger
from fastws.engine.redis.fleet.letters import OrderLetter, OutcomeLetter, letter_of, read, reply_of
from fastws.engine.redis.fleet.mailbox import Mailbox, mail
from fastws.engine.redis.names import ALIVE, ANNOUNCEMENTS, BELL, HOME, partition_of
from fastws.engine.redis.sessions import Sessions
from fastws.errors import EngineError

_log: Final = logging.getLogger("fastws.engine")

ANSWER_S: Final = 1.0
"""Seconds for which others are waited for; what they have answered until then counts."""
LATE_MS: Final = 2000
"""Milliseconds after which an order that is read concerns only connections that were there when it was given."""

_LASTING: Final = frozenset((DISCONNECT, SUBSCRIBE, UNSUBSCRIBE))
"""Orders that matter also to a process that is told of them much later."""
_REMEMBERED: Final = 20_000  # orders that were carried out; of the lasting ones, more than the log has
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


class _Remembered:
    """Orders that were carried out, by sender and number."""

    __slots__ = ("_before", "_newest")

    def __init__(self) -> None:
        self._newest: dict[tuple[bytes, int], None] = {}
        self._before: dict[tuple[bytes, int], None] = {}

    def is_first(self, sender: bytes, count: int) -> bool:
        """Whether an order was not carried out; from now on it was."""
        key = (sender, count)
        if key in self._newest or key in self._before:
            return False
        self._newest[key] = None
        if len(self._newest) >= _REMEMBERED // 2:
            self._before, self._newest = self._newest, {}
        return True


class Post:
    """Gives orders, and carries out those of others."""

    def __init__(self, common: Common, sessions: Sessions) -> None:
        self.on_trimmed: Callable[[], None] = _ignore
        """Called where letters were lost: what this node has in Redis may not be what it should be."""
        self.mailbox = Mailbox(common, self._carry_out, self._take_answer, self._lack)
        self._common = common
        self._sessions = sessions
        sessions.dismiss = self.dismiss
        self._ledger = Ledger(common)
        self.is_behind = False
        """There may be orders that no letter said to this process: at the next beat it reads the log."""
        self._asked: dict[int, _Asked] = {}
        self._number = int.from_bytes(os.urandom(6), "big")
        self._lasting = _Remembered()
        """What may be in the log; apart from the rest, of which there may be thousands in a second."""
        self._passing = _Remembered()

    async def start(self) -> None:
        """Hear announcements, and what is put into the mailbox of this node from now on."""
        channel = self._common.names.key(ANNOUNCEMENTS, HOME)
        self._common.listeners[channel] = self._hear_announcement
        await _done(self._common.backbone.subscribe(HOME, channel))
        await self.mailbox.catch_up()

    async def keep_up(self, now_ms: int) -> None:
        """After each beat, at which Redis had this time: have heard everything that was ordered until then. What this
        process may have missed it reads in the log; where that lacks something, nobody knows who may still be here,
        and everybody has to connect again. `EngineError` if the mailbox or the log cannot be read now.
        """
        if not self._common.is_running:
            self._ledger.heard(now_ms)
            return
        try:
            if not self.mailbox.is_open:
                self.is_behind = True
                await self.mailbox.catch_up()
            await self.mailbox.look_after()
        finally:
            await self._hear_missed(now_ms)

    def return_in_part(self, partitions: Collection[int]) -> None:
        """These are back, and others are not: where no letter came, or no order was noted, the log is read."""
        if not {HOME, partition_of(self._common.node)}.isdisjoint(partitions):
            self.is_behind = True
        self.mailbox.return_in_part(partitions)

    def _lack(self) -> None:
        self.is_behind = True
        self.on_trimmed()

    async def _hear_missed(self, now_ms: int) -> None:
        if self.is_behind:
            self.is_behind = False  # what is missed from now on may not be read
            try:
                is_complete = await self._ledger.read(self._take_missed)
            except BaseException:
                self.is_behind = True
                raise
            self.is_behind = self.is_behind or not self.mailbox.is_heard
            if not is_complete:
                self._part_from_all()
        elif self.mailbox.is_heard:
            self._ledger.heard(now_ms)

    def _take_missed(self, envelope: bytes, age_ms: int) -> None:
        """It was ordered of all processes; this one may have carried it out."""
        try:
            letter = read(envelope)
        except EngineError:
            self._common.skip("order")
            return
        if isinstance(letter, OrderLetter):
            self._carry_out(letter, age_ms, is_missed=True)

    def _part_from_all(self) -> None:
        _log.warning("too much was ordered while this process could not hear it: everybody here has to connect again")
        order = Order(DISCONNECT, code=FORCE_RECONNECT.code, reason=FORCE_RECONNECT.reason, until_ms=now_ms())
        self._common.later(_got(self._common.events.on_order(order)))

    def _carry_out(self, letter: OrderLetter, late_ms: int, *, is_missed: bool = False) -> None:
        """Do it, once."""
        remembered = self._lasting if letter.sender and letter.action in _LASTING else self._passing
        if not self._common.is_running or not remembered.is_first(letter.sender, letter.number):
            return
        order = letter.order()
        if late_ms > LATE_MS or is_missed:
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
        await self._common.backbone.say(partition_of(node), self._common.names.of(BELL, node), _NO_NUMBER + reply)

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

    def needs(self, order: Order | None) -> Collection[int]:
        """The partitions without which an order does not reach everybody whom it is for; None: an announcement. Whoever
        cannot be reached is told of a lasting one when it is back.
        """
        if order is None or order.action in _LASTING:
            return {HOME}
        user = _only_where(order)
        mailboxes = map(partition_of, (self._common.node, *self._sessions.living.others()))
        return {HOME if user is None else partition_of(user), *mailboxes}

    async def _order(self, order: Order, here: Answer[Outcome]) -> Outcome:
        self._number += 1
        count = self._number
        letter = letter_of(order, count, self._common.node)
        try:
            nodes = await self._nodes_for(order, letter, count)
        except EngineError as error:
            _log.warning("an order is carried out in this process alone: %s", error)
            return (await _got(here))._replace(is_partial=True)
        if not nodes:
            return await _got(here)
        asked = self._asked[count] = _Asked()
        try:
            asked.nodes.update(nodes)
            asked.quiet.update(filter(self._sessions.living.is_quiet, nodes))
            await self._send(nodes, letter, asked)
            outcome = await _got(here)
            if not asked.is_complete:
                await asyncio.wait((asked.ready,), timeout=ANSWER_S)
            return outcome + asked.sum
        finally:
            del self._asked[count]

    async def _nodes_for(self, order: Order, letter: bytes, count: int) -> Sequence[str]:
        """The other nodes that are told of an order. Those that live are asked for: some may have come just now. What
        they are told, and others should be told when they come back, is noted in the same moment.
        """
        user = _only_where(order)
        if user is not None:
            return await self._sessions.nodes_of(user)
        if order.action in _LASTING:
            self._lasting.is_first(self._common.node.encode(), count)
            nodes = await self._ledger.note(letter)
        else:
            alive = self._common.names.key(ALIVE, HOME)
            nodes = list(map(text, items(await self._common.backbone.call(HOME, b"HKEYS", alive))))
        dead = set(self._sessions.living.dead)  # who is in the list, and was not seen yet, has come again
        return [node for node in nodes if node != self._common.node and node not in dead]

    async def _send(self, nodes: Iterable[str], letter: bytes, asked: _Asked) -> None:
        """Put it into the mailboxes; those that did not get it are not waited for."""
        sent = [(node, mail(self._common, node, letter)) for node in nodes]
        answers = await asyncio.gather(*(answer for _, answer in sent if answer is not None), return_exceptions=True)
        got = iter(answers)
        for node, answer in sent:
            result = next(got) if answer is not None else None
            if result is None or isinstance(result, BaseException):
                asked.sum = asked.sum._replace(is_partial=True)
            if isinstance(result, BaseException) or not result:  # without a mailbox it has not come yet, or is gone
                asked.nodes.discard(node)

    def dismiss(self, node: str, conn: str) -> None:
        """Close a connection, wherever it is, because a newer one has its place. Nobody waits for that."""
        order = Order(DISCONNECT, conn=conn, code=REPLACED.code, reason=REPLACED.reason)
        if node == self._common.node:
            self._common.events.on_order(order)
            return
        self._number += 1
        mail(self._common, node, letter_of(order, self._number, ""))

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
