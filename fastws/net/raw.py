"""Raw endpoints: the handlers of `@app.raw`, called, stepped or run as a stream, and what happens when they fail.

A handler is `handler(conn, message)`, plain or coroutine, or a coroutine `handler(conn)` that receives by itself. A
plain one is given to the wire as it is, with nothing of ours around it. Messages of one connection are handled in
their order: while a coroutine waits, the coroutines of later messages wait for it, not yet started.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import Any, Final, Protocol

from fastws import closes
from fastws.core.rates import Meter
from fastws.net.connection import CLOSED, Connection
from fastws.net.hooks import Around, Hooks
from fastws.net.inbox import CAPACITY, ConnectionEnded, Inbox
from fastws.net.session import Session
from fastws.net.stepping import as_coroutine, failure_of, step
from fastws.types import CloseInfo, ConnectionInfo

_log: Final = logging.getLogger("fastws.raw")


class Registry(Protocol):
    """Where connections are known by who they are, over all processes: the layer above."""

    def enter(self, conn: Connection, session: RawSession) -> bool | Awaitable[bool]:
        """It is here. False: it has no place, and is closing, or it has ended meanwhile."""

    def leave(self, conn: Connection, info: ConnectionInfo | None, close: CloseInfo) -> None:
        """It is gone. `info`: the disconnect hooks are to be told, by whoever finds out that they have not been."""


class RawSession(Session):
    """Of a raw connection with a coroutine under way, or with hooks to tell about its end."""

    __slots__ = ("connected", "entered", "identity", "inbox", "meter", "task", "waiting")

    def __init__(self, session: Session | None) -> None:
        super().__init__(session.details if session is not None else None)
        self.task: asyncio.Task[Any] | None = None
        """The coroutine that waits for something; later ones wait for it."""
        self.waiting: deque[Coroutine[Any, Any, Any]] = deque()
        self.inbox: Inbox | None = None
        self.meter: Meter | None = None
        self.connected = False
        """Its connect hooks have all succeeded, so the disconnect hooks will be called."""
        self.entered = False
        """It is known by who it is."""
        self.identity: Any = None
        """Who it is, where that was asked."""

    @property
    def user(self) -> str:  # type: ignore[override]
        return getattr(self.identity, "user", "")

    @property
    def tenant(self) -> str:  # type: ignore[override]
        return getattr(self.identity, "tenant", "")

    @property
    def device(self) -> str:  # type: ignore[override]
        return getattr(self.identity, "device", "default")

    @property
    def info(self) -> Any:
        return getattr(self.identity, "info", None)

    @property
    def claims(self) -> dict[str, Any]:
        return self.claims_offered() or getattr(self.identity, "claims", None) or {}

    @property
    def is_busy(self) -> bool:
        return self.task is not None

    def discard_waiting(self) -> None:
        """Give up the coroutines that were never started."""
        while self.waiting:
            self.waiting.popleft().close()


class RawRunner(ABC):
    """The callbacks of one raw endpoint.

    `judge` gives the session its identity and the connection its deadline, and returns how to close a client that may
    not be here; it, `registry`, the hooks and what is around the connect hooks are given for endpoints with auth only.
    `messages_per_s` and `bytes_per_s` (inbound payload) are what one connection may send, 0 = unlimited; more closes
    4005.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Callable[..., Any],
        *,
        judge: Callable[[Connection, RawSession], closes.Close | None] | None = None,
        connect_hooks: Sequence[Callable[[Connection], Any]] = (),
        around_connect: Around | None = None,
        disconnect_hooks: Sequence[Callable[[ConnectionInfo, CloseInfo], Any]] = (),
        registry: Registry | None = None,
        keep_headers: Collection[bytes] = (),
        messages_per_s: int = 0,
        bytes_per_s: int = 0,
        node: str = "",
    ) -> None:
        self.errors = 0
        """Exceptions of handlers and hooks so far."""
        self.tasks: set[asyncio.Task[Any]] = set()
        """Coroutines under way; cancel them when the worker stops."""
        self._loop = loop
        self._handler = handler
        self._judge = judge
        self._registry = registry
        self._rates = (messages_per_s, bytes_per_s)
        self._hooks = Hooks(connect_hooks, disconnect_hooks, node, around_connect)
        self._keep_headers = keep_headers

    @property
    def wants_session(self) -> bool:
        """Whether connections need a session from the first moment."""
        return self.is_watched

    @property
    def is_watched(self) -> bool:
        """Whether anyone is to be told that a connection is here."""
        return self._registry is not None or self._hooks.watch_connect or self._hooks.watch_disconnect

    @property
    def has_rates(self) -> bool:
        """Whether what a connection sends is counted."""
        return any(self._rates)

    def begin(self, conn: Connection) -> RawSession | None:
        """Make the session of a connection that was opened; None: it may not be here, and is closing."""
        session = RawSession(conn.session)
        conn.session = session
        if self.has_rates:
            session.meter = Meter(*self._rates, self._loop.time())
        refusal = self._judge(conn, session) if self._judge is not None else None
        if refusal is not None:
            conn.close(*refusal)
            return None
        return session

    def meter(self, conn: Connection, message: str | bytes) -> bool:
        """Count a message. False: it is one too many, and the connection is closing."""
        size = len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
        meter = conn.session.meter
        if meter is None or meter.take(size, self._loop.time()):
            return True
        conn.close(*closes.TOO_MANY_REQUESTS)
        return False

    @abstractmethod
    def callbacks(self) -> dict[str, Callable[..., Any]]:
        """What its `Endpoint` calls, by the names of its parameters."""

    def on_error(self, conn: Connection, error: BaseException, where: str) -> None:
        """A callback raised; the wire closes 1011 after this."""
        self.errors += 1
        extra = {"conn": conn.id, "path": conn.path}
        _log.error("a handler failed (%s)", where, exc_info=error, extra=extra)
        if isinstance(conn.session, RawSession):
            conn.session.discard_waiting()

    def on_deadline(self, conn: Connection) -> None:
        """The token of the client has ended."""
        conn.close(*closes.TOKEN_EXPIRED)

    def on_drain(self, conn: Connection) -> None:
        """The outbox has room again."""
        details = getattr(conn.session, "details", None)
        if details is not None:
            details.wake_drain_waiters()

    def on_close(self, conn: Connection, code: int, reason: str) -> Awaitable[None] | None:
        """The connection has ended: wake who waits for it, tell the hooks."""
        session = conn.session
        if session is None:
            return None
        self.on_drain(conn)
        if not isinstance(session, RawSession):
            return None
        if session.inbox is not None:
            session.inbox.end()
        info = self._hooks.info(conn) if session.connected and self._hooks.watch_disconnect else None
        if session.entered and self._registry is not None:
            session.entered = False
            self._registry.leave(conn, info, CloseInfo(code, reason))
        elif info is not None:
            self._run(conn, session, self._hooks.disconnect(info, CloseInfo(code, reason)))
        return None

    async def connect(self, conn: Connection, session: RawSession) -> bool:
        """Run the connect hooks, then have it known. False: it may not be here, and is closing."""
        session.connected = await self._hooks.connect(conn)
        if not session.connected or self._registry is None:
            return session.connected
        entered = self._registry.enter(conn, session)
        session.entered = entered if isinstance(entered, bool) else await entered
        return session.entered

    def forget_request(self, session: RawSession) -> None:
        """The connection is established: its headers are dropped, but for those to keep."""
        if session.details is not None and not session.details.forget_request(self._keep_headers):
            session.details = None

    def _run(self, conn: Connection, session: RawSession | None, awaitable: Awaitable[Any]) -> asyncio.Task[Any] | None:
        """Step a coroutine outside the order of messages; its errors are reported. Returns the task if it waits."""
        try:
            _, task = step(as_coroutine(awaitable), self._loop)
        except (Exception, asyncio.CancelledError) as error:
            self.failed(conn, error)
            return None
        if task is not None:
            self.tasks.add(task)
            task.add_done_callback(partial(self._ended, conn, session))
        return task

    def _ended(self, conn: Connection, session: RawSession | None, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if session is not None and session.task is task:
            session.task = None
        error = failure_of(task)
        if error is not None:
            self.failed(conn, error)
        elif task.cancelled():
            conn.close(*closes.GOING_AWAY)
        elif session is not None:
            self.after(conn, session)
        if session is not None and (error is not None or task.cancelled()):
            session.discard_waiting()
        if session is not None and conn.phase == CLOSED and not session.is_busy:
            conn.session = None

    def failed(self, conn: Connection, error: BaseException) -> None:
        """A coroutine raised: report it, close 1011."""
        self.on_error(conn, error, "coroutine")
        conn.close(*closes.INTERNAL)

    def after(self, conn: Connection, session: RawSession) -> None:
        """A coroutine that had waited has ended well."""


class MessageRunner(RawRunner):
    """For `handler(conn, message)`."""

    def callbacks(self) -> dict[str, Callable[..., Any]]:
        return {
            "on_open": self.on_open if self.wants_session or self.has_rates or self._judge else _nothing,
            "on_message": self.on_metered_message if self.has_rates else self._handler,
            "on_result": self.on_result,
            "on_close": self.on_close,
            "on_error": self.on_error,
            "on_deadline": self.on_deadline,
            "on_drain": self.on_drain,
        }

    def on_open(self, conn: Connection) -> None:
        """Run the connect hooks; no message is read before they are done."""
        session = self.begin(conn)
        if session is None:
            return
        if not self.wants_session:
            self.forget_request(session)
            return
        conn.pause_reading()
        session.task = self._run(conn, session, self._connect(conn, session))

    def on_metered_message(self, conn: Connection, message: str | bytes) -> Any:
        """Call the handler, unless it is one message too many."""
        return self._handler(conn, message) if self.meter(conn, message) else None

    async def _connect(self, conn: Connection, session: RawSession) -> None:
        if await self.connect(conn, session):
            self.forget_request(session)
            conn.resume_reading()

    def on_result(self, conn: Connection, result: object) -> None:
        """What the handler returned; coroutines run here."""
        if not isawaitable(result):
            return
        session = conn.session
        if isinstance(session, RawSession) and session.task is not None:
            session.waiting.append(as_coroutine(result))
            if len(session.waiting) == CAPACITY:
                conn.pause_reading()
            return
        self._next(conn, session, result)

    def _next(self, conn: Connection, session: Session | None, result: Awaitable[Any]) -> None:
        try:
            _, task = step(as_coroutine(result), self._loop)
        except (Exception, asyncio.CancelledError) as error:
            self.failed(conn, error)
            return
        if task is None:
            return
        busy = session if isinstance(session, RawSession) else RawSession(session)
        conn.session = busy
        busy.task = task
        self.tasks.add(task)
        task.add_done_callback(partial(self._ended, conn, busy))

    def after(self, conn: Connection, session: RawSession) -> None:
        """Handle the messages that came meanwhile, until one has to wait again."""
        while session.waiting and session.task is None:
            if len(session.waiting) == CAPACITY // 2:
                conn.resume_reading()
            self._next(conn, session, session.waiting.popleft())


class StreamRunner(RawRunner):
    """For `async handler(conn)`, which receives by itself and whose return closes the connection."""

    @property
    def wants_session(self) -> bool:
        """A handler of this kind may ask for headers and the query when it begins."""
        return True

    def callbacks(self) -> dict[str, Callable[..., Any]]:
        return {
            "on_open": self.on_open,
            "on_message": self.on_message,
            "on_close": self.on_close,
            "on_error": self.on_error,
            "on_deadline": self.on_deadline,
            "on_drain": self.on_drain,
        }

    def on_open(self, conn: Connection) -> None:
        """Start the handler."""
        session = self.begin(conn)
        if session is None:
            return
        session.inbox = Inbox(conn)
        session.task = self._run(conn, session, self._serve(conn, session))

    def on_message(self, conn: Connection, message: str | bytes) -> None:
        """Hand a message to whoever receives."""
        session = conn.session
        if self.has_rates and not self.meter(conn, message):
            return
        if isinstance(session, RawSession) and session.inbox is not None:
            session.inbox.put(message)

    async def _serve(self, conn: Connection, session: RawSession) -> None:
        if self.is_watched and not await self.connect(conn, session):
            return
        # The handler's first step still sees the headers.
        self._loop.call_soon(self.forget_request, session)
        with suppress(ConnectionEnded):
            await self._handler(conn)
        conn.close(*closes.NORMAL)


def _nothing(conn: Connection) -> None:
    """Nobody is interested."""
