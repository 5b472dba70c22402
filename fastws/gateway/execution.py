"""The commands of one connection, in order: decoding, execution, replies, what waits meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Mapping
from functools import partial
from time import monotonic, time
from typing import Any, Final

from fastws import closes
from fastws.core.codecs import CODECS, Codec
from fastws.core.codecs.commands import NAMES, Aside, Auth, Broken, Fault, Lines, Ping, Said
from fastws.errors import EngineError, TopicError
from fastws.gateway.commands.common import ANSWERED, FatalError, Followed, Handler, Result
from fastws.gateway.middleware import Onion
from fastws.gateway.session import CONNECTING, ENDED, MAX_WAITING, MAX_WAITING_SIZE, READY, Session
from fastws.net.connection import OPEN, Connection
from fastws.net.stepping import as_coroutine, is_cancelled, step
from fastws_ext.frames import encode_frame

_log: Final = logging.getLogger("fastws.gateway")

LINES_PER_TURN: Final = 128
"""Lines of one message that run before other connections have their turn."""

TURN_S: Final = 0.001
"""Seconds of the loop after which the rest of what a connection has said waits until others had their turn."""

# What is answered before authentication.
_FOR_STRANGERS: Final = frozenset({Auth, Ping, Aside, Broken, Lines})
# Whoever says these wrongly is told what is wrong; without a name it is no command that could be refused.
_NAMES_FOR_STRANGERS: Final = frozenset({NAMES[Auth], NAMES[Ping], ""})


class Execution:
    """Executes what connections say. `tasks` is where coroutines under way are kept."""

    def __init__(
        self,
        handlers: Mapping[type, Handler],
        loop: asyncio.AbstractEventLoop,
        tasks: set[asyncio.Task[Any]],
        onion: Onion | None = None,
    ) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        """Commands so far by (name, error code)."""
        self.turn_s = TURN_S
        self._handlers = handlers if onion is None else onion.around_commands(handlers, self._succeed)
        self._loop = loop
        self._tasks = tasks
        self._forms: dict[type, Any] = {
            Fault: self._answer_fault,
            Lines: self._run_lines,
            Aside: self._answer_aside,
            Broken: self._close_broken,
        }

    def on_message(self, conn: Connection, message: str | bytes) -> None:
        """A message has arrived."""
        codec = CODECS[conn.codec_index]
        if type(message) is not codec.message_type:
            conn.close(*closes.UNSUPPORTED)
            return
        session: Session = conn.session
        said = codec.decode(message)
        if session.work is None:
            self._run(conn, session, said)
        else:
            self._receive(conn, session, said, message)

    def _receive(self, conn: Connection, session: Session, said: Said, message: str | bytes) -> None:
        """Run what was said, or keep it for later, or refuse it because there is too much of it."""
        work = session.need_work()
        if work.meter is not None and type(said) is not Lines:
            size = len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
            now_s = self._loop.time()
            if not work.meter.take(size, now_s):
                self._refuse(conn, said)
                if work.meter.refuse(now_s):
                    conn.close(*closes.TOO_MANY_REQUESTS)
                return
        if work.task is None or (type(said) is Aside and session.phase != CONNECTING):
            self._run(conn, session, said)
            return
        work.waiting.append(said)
        work.waiting_size += len(message)
        if len(work.waiting) >= MAX_WAITING or work.waiting_size > MAX_WAITING_SIZE:
            conn.pause_reading()

    def _refuse(self, conn: Connection, said: Any) -> None:
        if type(said) is Broken:
            conn.close(*closes.BAD_REQUEST)
            return
        name = said.cmd if type(said) is Fault else NAMES.get(type(said), "")
        error = TopicError(closes.RATE_EXCEEDED.code, "more than this connection may send per second")
        self._fail(conn, name, getattr(said, "id", None), error)

    def _run(self, conn: Connection, session: Session, said: Any) -> None:
        """Execute what was said, now."""
        kind = type(said)
        if session.phase != READY and kind not in _FOR_STRANGERS:
            self._refuse_stranger(conn, session, said)
            return
        handler = self._handlers.get(kind)
        if handler is None:
            self._forms[kind](conn, session, said)
            return
        try:
            result = handler(conn, session, said)
        except (Exception, asyncio.CancelledError) as error:
            self._fail_with(conn, said, error)
            return
        if isinstance(result, dict):
            self._succeed(conn, said, result)
            if type(result) is Followed and (more := result.then()) is not None:
                self._wait(conn, session, more)
        else:
            self._wait(conn, session, self._finish(conn, said, result))

    def _refuse_stranger(self, conn: Connection, session: Session, said: Any) -> None:
        if session.phase >= ENDED:
            return
        if type(said) is Fault and said.error is closes.MALFORMED and said.cmd in _NAMES_FOR_STRANGERS:
            self._answer_fault(conn, session, said)
            return
        name = said.cmd if type(said) is Fault else NAMES[type(said)]
        self._fail(conn, name, said.id, TopicError(closes.UNAUTHORIZED.code, "authenticate first"))

    def _wait(self, conn: Connection, session: Session, awaitable: Awaitable[None]) -> None:
        try:
            _, task = step(as_coroutine(awaitable), self._loop)
        except asyncio.CancelledError:
            return
        if task is not None:
            self._keep(conn, session, task)

    def _keep(self, conn: Connection, session: Session, task: asyncio.Task[None]) -> None:
        """Nothing else that the connection says is executed before this task has ended."""
        session.need_work().task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(partial(self._finished, conn, session))

    def _give_way(self, conn: Connection, session: Session) -> None:
        """Go on when others had their turn."""
        self._keep(conn, session, self._loop.create_task(asyncio.sleep(0)))

    async def _finish(self, conn: Connection, said: Any, result: Awaitable[Result]) -> None:
        try:
            answer = await result
            if answer is not ANSWERED:
                self._succeed(conn, said, answer)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            self._fail_with(conn, said, error)
            return
        if type(answer) is Followed and (more := answer.then()) is not None:
            await more

    def _finished(self, conn: Connection, session: Session, _task: asyncio.Task[None]) -> None:
        self.go_on(conn, session)

    def go_on(self, conn: Connection, session: Session) -> None:
        """What was under way is done: execute what waits behind it."""
        work = session.need_work()
        work.task = None
        ends_s = monotonic() + self.turn_s
        while work.waiting and not session.is_busy and conn.phase == OPEN:
            if monotonic() > ends_s:
                self._give_way(conn, session)
                break
            self._run(conn, session, work.waiting.popleft())
            if not work.waiting:
                work.waiting_size = 0
            if conn.paused and len(work.waiting) <= MAX_WAITING // 2 and work.waiting_size <= MAX_WAITING_SIZE:
                conn.resume_reading()
        if conn.phase != OPEN:
            work.waiting.clear()
        if work.meter is None and not session.is_busy:
            session.work = None

    # Answers.

    def _succeed(self, conn: Connection, command: Any, result: Result) -> None:
        if command.id is not None:
            codec = CODECS[conn.codec_index]
            self._send(conn, codec, codec.reply(command, result))
        self.counts[NAMES[type(command)], 0] += 1

    def _fail_with(self, conn: Connection, command: Any, error: BaseException) -> None:
        """Answer what a handler raised; what it should not have raised is logged and answers 100."""
        name = NAMES[type(command)]
        if isinstance(error, TopicError):
            self._fail(conn, name, command.id, error)
            if isinstance(error, FatalError):
                conn.close(*error.close)
        elif isinstance(error, EngineError):
            away = TopicError(closes.ENGINE_UNAVAILABLE.code, error.told_to_clients)
            self._fail(conn, name, command.id, away)
        else:
            _log.error("the command %s failed", name, exc_info=error, extra={"conn": conn.id})
            self._fail(conn, name, command.id, TopicError(closes.INTERNAL_ERROR.code, "the server failed"))

    def _fail(self, conn: Connection, name: str, reply_id: str | int | None, error: TopicError) -> None:
        """Send an error: as the reply if there is an id, else as a push."""
        self.counts[name if name in _COUNTED else "", error.code] += 1
        codec = CODECS[conn.codec_index]
        self._send(conn, codec, codec.failure(name, reply_id, error))

    def _send(self, conn: Connection, codec: Codec, payload: bytes) -> None:
        if payload:
            conn.send_frame(encode_frame(codec.opcode, payload))

    # What is no command.

    def _answer_fault(self, conn: Connection, _session: Session, fault: Fault) -> None:
        self._fail(conn, fault.cmd, fault.id, TopicError(fault.error.code, fault.message))

    def _run_lines(self, conn: Connection, session: Session, lines: Lines) -> None:
        """Run lines until one has to wait; then the rest comes first when that is done."""
        texts = lines.texts
        end = lines.done + LINES_PER_TURN
        ends_s = monotonic() + self.turn_s
        while lines.done < len(texts) and conn.phase == OPEN:
            if (lines.done == end or monotonic() > ends_s) and not session.is_busy:
                self._give_way(conn, session)
            work = session.work
            if work is not None and work.task is not None:
                work.waiting.appendleft(lines)
                return
            text = texts[lines.done]
            lines.done += 1
            said = lines.decode(text)
            if work is None:
                self._run(conn, session, said)
            else:
                self._receive(conn, session, said, text)

    def _answer_aside(self, conn: Connection, session: Session, said: Aside) -> None:
        answer = said.answer(int(time() * 1000))
        if isinstance(answer, Fault):
            self._answer_fault(conn, session, answer)
        else:
            self._send(conn, CODECS[conn.codec_index], answer)

    def _close_broken(self, conn: Connection, _session: Session, _said: Broken) -> None:
        conn.close(*closes.BAD_REQUEST)


_COUNTED: Final = frozenset(NAMES.values())
