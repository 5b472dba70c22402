"""One connection to a Redis server: commands go out in order, answers come back in order, pushes come in between.

What is given in one pass of the loop goes out in one piece. The link watches itself: it pings when it is idle, and ends
when the server says nothing though an answer is due. A link that has ended stays so.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from hiredis import HiredisError, PushNotification, Reader, pack_command

from fastws.engine.redis.resp.errors import NO_MASTER, AwayError, BusyError, ReplyError, reply_error, safe_text
from fastws.engine.redis.resp.resetting import take_back
from fastws_ext.replies import ReplyGuard

_log: Final = logging.getLogger("fastws.engine")

Word: TypeAlias = bytes | str | int | float
"""Of a command; text is sent in UTF-8."""

DEADLINE_S: Final = 5.0
"""Seconds within which every command has its answer, or has failed."""

_MESSAGES_AT_ONCE: Final = 64  # between two looks at the clock
_PARSED_AT_ONCE: Final = 16384  # bytes; hiredis moves the rest of them to the front after every few messages
_TURN_S: Final = 0.002  # what a link may take of one pass of the loop
_LOST_AT_ONCE: Final = 2000  # some 3 ms
_CLOSE_S: Final = 1.0
_NOTHING: Final = object()
_PUSHES: Final = frozenset({b"message", b"subscribe", b"unsubscribe", b"smessage", b"ssubscribe", b"sunsubscribe"})


class Tuning(NamedTuple):
    """When a link is given up, and when what was written is safe."""

    connect_s: float = 2.0
    """Seconds for a connection to stand, with all that has to be said before the first command."""
    idle_s: float = 1.0
    """Seconds without a byte after which the server is asked whether it lives."""
    silence_s: float = 2.0
    """Seconds without a byte, while an answer is due, after which it is taken for dead."""
    answer_s: float = DEADLINE_S
    """Seconds within which an answer has come even from a server that says other things meanwhile."""
    most_unsent: int = 64 << 20
    """Bytes of commands that wait for the network."""
    most_unanswered: int = 50_000
    """Commands."""
    largest_answer: int = 256 << 20
    """Bytes of one answer or push; each element of a list counts 80 more."""
    min_replicas: int = 0
    """Replicas that have what is stored before that is answered; 0: the master is enough."""
    replicas_s: float = 1.0
    """Seconds that these have; less than `silence_s`, as the server says nothing meanwhile."""


DEFAULT_TUNING: Final = Tuning()


class Taker(Protocol):
    """Who wants an answer and is no future."""

    def take(self, answer: object) -> None:
        """The answer: bytes, an integer, a list, None and so on, or a `ReplyError`. Must not raise."""

    def lose(self, error: AwayError) -> None:
        """There will be none. Must not raise."""


class LinkOwner(Protocol):
    """Called on the loop; must neither raise nor wait."""

    def on_message(self, channel: bytes, payload: bytes) -> None:
        """Something was said in a channel."""

    def on_push(self, kind: bytes, push: list[Any]) -> None:
        """Something else was pushed; `push[0]` is `kind`, and nothing else of it is checked."""

    def on_lost(self, link: Link, reason: str) -> None:
        """The link has ended, and not because `close` was called. Called once; after it, what is unanswered fails."""


Receiver: TypeAlias = asyncio.Future[Any] | Taker | None


def pack(*words: Word) -> bytes:
    """One command as it is sent."""
    return pack_command(words)  # type: ignore[arg-type, no-any-return]


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Let a future fail that may have been given up, and that nobody has to look at."""
    if not future.done():
        future.set_exception(error)
        future.exception()  # else the loop complains where nobody asked


class Link(asyncio.Protocol):
    """One connection. `fastws.engine.redis.resp.opening` makes it."""

    def __init__(self, tuning: Tuning, *, hears: bool) -> None:
        """`hears`: it is there for what is subscribed to, and then lists of RESP2 may be pushes."""
        self._tuning: Final = tuning
        self._hears: Final = hears
        self._loop: Final = asyncio.get_running_loop()
        self._reader: Final = Reader(replyError=reply_error, notEnoughData=_NOTHING)
        self._owner: LinkOwner | None = None
        self._transport: asyncio.Transport | None = None
        self._closed: Final[asyncio.Future[None]] = self._loop.create_future()
        self._reason = ""
        self._is_open = False
        # What goes out.
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._is_full = False
        self._receivers: deque[Receiver] = deque()
        self._given = 0
        # What comes in.
        self._guard: Final = ReplyGuard(tuning.largest_answer)
        self._unread: Final[deque[bytes]] = deque()
        """What was received and is not parsed yet."""
        self._read = 0
        """Bytes of the first of it that are."""
        self._is_held = False
        """Reading rests until what was read is handed over."""
        # How it watches itself: it counts ticks, not seconds, as this process may have been the one that was stopped.
        self._tick_s: Final = min(tuning.idle_s, tuning.silence_s, tuning.answer_s) / 4
        self._ticker: asyncio.TimerHandle | None = None
        self._heard = False
        self._ticks_idle = 0
        self._ticks_due = 0
        self._given_by_tick: Final[deque[int]] = deque()

    def __repr__(self) -> str:
        return f"<Link {'open' if self._is_open else self._reason or 'new'}, {len(self._receivers)} unanswered>"

    # What others may ask of it.

    @property
    def is_open(self) -> bool:
        """Whether commands are taken."""
        return self._is_open

    @property
    def reason(self) -> str:
        """Why it ended; empty while it has not."""
        return self._reason

    @property
    def answer_s(self) -> float:
        """Seconds within which every command is answered, or has failed."""
        return self._tuning.answer_s

    @property
    def unanswered(self) -> int:
        """Commands whose answer has not come yet."""
        return len(self._receivers)

    def own(self, owner: LinkOwner) -> None:
        """Say who is told from now on. Raises `AwayError` if the link has ended."""
        if not self._is_open:
            raise self._away()
        self._owner = owner

    def send(self, receiver: Receiver, *words: Word) -> None:
        """Give one command; `receiver` gets the answer later. Raises `AwayError` or `BusyError` at once.

        A command must not wait at the server for something to happen: it would be taken for dead.
        """
        self.send_packed(receiver, pack(*words))

    def send_packed(self, receiver: Receiver, packed: bytes) -> None:
        """The same for a command that is packed already. In front of it may stand one without an answer, such as
        SUBSCRIBE: if that is refused, the receiver gets the refusal first; see `put_back`.
        """
        if not self._is_open:
            raise self._away()
        size = self._unsent_size + len(packed)
        if len(self._receivers) >= self._tuning.most_unanswered or (
            (self._is_full or size > self._tuning.most_unsent) and self._unsent_with(size) > self._tuning.most_unsent
        ):
            raise BusyError("Redis does not keep up with what it is asked")
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)
        self._unsent_size = size
        self._receivers.append(receiver)
        self._given += 1

    def put_back(self, receiver: Receiver) -> None:
        """Inside `Taker.take`: what came was no answer to what this one has asked, which is still due."""
        self._receivers.appendleft(receiver)

    def ask(self, *words: Word) -> asyncio.Future[Any]:
        """The same as `send`, with a future for the answer; it need not be awaited."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.send(future, *words)
        return future

    async def close(self, wait_s: float = 0.0) -> None:
        """Send what was given, wait for its answers for at most `wait_s`, and end. The owner is told nothing more."""
        self._owner = None
        self._flush()
        try:
            if self._is_open and self._receivers and wait_s > 0:
                await asyncio.wait([self.ask(b"PING")], timeout=wait_s)
        except BusyError:
            pass
        finally:
            self._end("it was closed")
            while self._receivers:
                self._lose_some()
        if self._transport is not None:
            await asyncio.wait([self._closed], timeout=_CLOSE_S)

    def abort(self, reason: str) -> None:
        """End at once; the owner is told."""
        self._end(reason)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's are not derived from asyncio's
        if self._reason and self._transport is not None:  # it was given up meanwhile
            self._transport.abort()
            return
        self._is_open = True
        self._ticker = self._loop.call_later(self._tick_s, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        self._end(f"the connection broke: {safe_text(str(exc))}" if exc else "the server closed the connection")
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The network does not keep up."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It does again."""
        self._is_full = False

    def data_received(self, data: bytes) -> None:
        """Hand over what is complete."""
        if not self._is_open:
            return
        self._heard = True
        size = self._guard.check(data)
        if self._is_held or size > _PARSED_AT_ONCE:
            self._unread.append(data if size == len(data) else data[:size])
        else:
            self._reader.feed(data, 0, size)
        if not self._is_held:
            self._hand_over()

    # What comes in.

    def _hand_over(self) -> None:
        """Hand over what is there, for a turn; then everybody else has theirs."""
        deadline = monotonic() + _TURN_S
        while True:
            if self._take(_MESSAGES_AT_ONCE):
                if not self._unread:
                    break
                self._parse_more()
            if monotonic() >= deadline:
                self._hold(True)
                self._loop.call_soon(self._go_on)
                return
        if self._is_held:
            self._hold(False)
        if self._guard.problem:
            self._end(self._guard.problem)

    def _parse_more(self) -> None:
        """Give the parser the next part of what was received."""
        data, begin = self._unread[0], self._read
        end = self._read = min(begin + _PARSED_AT_ONCE, len(data))
        self._reader.feed(data, begin, end - begin)
        if end == len(data):
            self._unread.popleft()
            self._read = 0

    def _go_on(self) -> None:
        if self._is_open:
            self._hand_over()

    def _hold(self, is_held: bool) -> None:
        if self._is_open and self._is_held is not is_held and self._transport is not None:
            self._is_held = is_held
            try:
                if is_held:
                    self._transport.pause_reading()
                else:
                    self._transport.resume_reading()
            except RuntimeError:
                pass  # uvloop's, of a transport that has just ended: we are told in a moment

    def _take(self, most: int) -> bool:
        """Hand over at most so many answers and pushes; whether there is nothing more to do."""
        gets = self._reader.gets
        owner = self._owner
        for _ in range(most):
            try:
                answer = gets()
            except (HiredisError, TypeError, ValueError, MemoryError, RecursionError) as error:
                self._end(f"it does not speak the protocol of Redis: {safe_text(str(error) or repr(error))}")
                return True
            if answer is _NOTHING:
                return True
            kind = answer.__class__
            if kind is PushNotification or (kind is list and self._hears and _is_push(answer)):
                if owner is not None:
                    self._push(owner, answer)
            else:
                self._answer(answer)
            if not self._is_open:
                return True
        return False

    def _push(self, owner: LinkOwner, push: list[Any]) -> None:
        kind = push[0] if push else None
        try:
            if kind == b"message" or kind == b"smessage":  # noqa: PLR1714 - quicker
                if len(push) == 3 and push[1].__class__ is bytes and push[2].__class__ is bytes:
                    owner.on_message(push[1], push[2])
                    return
            elif isinstance(kind, bytes):
                owner.on_push(kind, push)
                return
        except Exception:
            _log.exception("what Redis said could not be taken")
            return
        self._end("it pushed what cannot be")

    def _answer(self, answer: Any) -> None:
        if not self._receivers:
            # A server that takes no more connections says so before it is asked anything.
            self._end(str(answer) if isinstance(answer, ReplyError) else "it answers what nobody asked")
            return
        receiver = self._receivers.popleft()
        is_refused = isinstance(answer, ReplyError)
        if receiver is None:
            pass
        elif not isinstance(receiver, asyncio.Future):
            try:
                receiver.take(answer)
            except Exception:
                _log.exception("an answer of Redis could not be taken")
        elif is_refused:
            fail(receiver, answer)
        elif not receiver.done():
            receiver.set_result(answer)
        if is_refused and answer.code in NO_MASTER:
            self._end(f"it is no master that takes commands: {answer.text}")

    # What goes out.

    def _flush(self) -> None:
        if not self._unsent or self._transport is None or not self._is_open:
            return
        packed = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_size = 0
        try:
            self._transport.write(packed)
        except (OSError, RuntimeError) as error:  # uvloop's, of a transport that has just ended
            self._end(f"the connection broke: {safe_text(str(error))}")

    def _unsent_with(self, size: int) -> int:
        return size + (self._transport.get_write_buffer_size() if self._transport is not None else 0)

    # How it ends.

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(self._tick_s, self._tick)
        tuning, tick_s = self._tuning, self._tick_s
        if self._heard or self._is_held:
            self._heard = False
            self._ticks_idle = self._ticks_due = 0
        else:
            self._ticks_idle += 1
            self._ticks_due = self._ticks_due + 1 if self._receivers else 0
        self._given_by_tick.append(self._given)
        if self._ticks_due * tick_s >= tuning.silence_s:
            self._end(f"it has said nothing for {tuning.silence_s:g} s")
        elif (
            len(self._given_by_tick) * tick_s > tuning.answer_s
            and self._given - len(self._receivers) < self._given_by_tick.popleft()
        ):
            self._end(f"it has not answered for {tuning.answer_s:g} s")
        elif not self._receivers and self._ticks_idle * tick_s >= tuning.idle_s:
            self.send(None, b"PING")

    def _away(self) -> AwayError:
        return AwayError(f"Redis is away: {self._reason}" if self._reason else "Redis is away")

    def _end(self, reason: str) -> None:
        if self._reason:
            return
        self._reason = reason
        self._is_open = False
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self._transport is not None:
            if self._owner is not None and self._receivers and not self._transport.is_closing():
                take_back(self._transport)
            self._transport.abort()
        self._unsent.clear()
        self._unread.clear()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.on_lost(self, reason)
        self._lose_some()

    def _lose_some(self) -> None:
        """Let fail what is unanswered, a part in each pass of the loop: there may be many who are woken up by it."""
        for _ in range(min(len(self._receivers), _LOST_AT_ONCE)):
            receiver = self._receivers.popleft()
            if receiver is None:
                continue
            if isinstance(receiver, asyncio.Future):
                fail(receiver, self._away())
            else:
                receiver.lose(self._away())
        if self._receivers:
            self._loop.call_soon(self._lose_some)


def _is_push(answer: list[Any]) -> bool:
    """Whether a list on a connection in RESP2 that hears channels is no answer."""
    return bool(answer) and answer[0].__class__ is bytes and answer[0] in _PUSHES
