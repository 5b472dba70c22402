"""What applications say about topics, beyond who may do what: hooks that are told of subscriptions."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from typing import Any, Final, Protocol

from fastws.core.patterns import PatternTable
from fastws.core.topics import Namespaces, namespace_of
from fastws.gateway.session import ENDED, PARTING, Session
from fastws.net.connection import CLOSED, OPEN, Connection
from fastws.net.stepping import as_coroutine, failure_of, step

_log: Final = logging.getLogger("fastws.gateway")

MAX_QUEUED: Final = 128
"""Hooks of one connection that may wait for the one before them; reading pauses while there are so many."""


class _Queue:
    """The hooks that one connection has under way; there is one only while there are some."""

    __slots__ = ("conn", "hooks", "paused", "session")

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.session: Session = conn.session
        """Kept, because the wire lets go of it when the connection ends, and hooks want to know who it was."""
        self.hooks: deque[Callable[[], Any]] = deque()
        self.paused = False


class TopicHooks:
    """Tells hooks of subscriptions that were made and ended, after the fact and in their order for each connection.

    Both methods return at once: hooks run when the command that caused them has been answered. `tasks` is where
    coroutines under way are kept.
    """

    def __init__(
        self,
        subscribe: PatternTable[Callable[..., Any]],
        unsubscribe: PatternTable[Callable[..., Any]],
        loop: asyncio.AbstractEventLoop,
        tasks: set[asyncio.Task[Any]],
    ) -> None:
        self.errors = 0
        """Exceptions of hooks so far."""
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._loop = loop
        self._tasks = tasks
        self._queues: dict[int, _Queue] = {}

    def subscribed(self, conn: Connection, topic: str) -> None:
        """A connection is subscribed to a topic."""
        self._tell(self._subscribe, conn, topic)

    def unsubscribed(self, conn: Connection, topic: str) -> None:
        """It is no longer, or has ended."""
        self._tell(self._unsubscribe, conn, topic)

    def ended(self, conn: Connection) -> None:
        """The connection has ended: it keeps its session until its hooks have."""
        queue = self._queues.get(conn.number)
        if queue is not None:
            queue.session.phase = PARTING

    def _tell(self, table: PatternTable[Callable[..., Any]], conn: Connection, topic: str) -> None:
        matching = table.match_all(topic)
        if not matching:
            return
        queue = self._queues.get(conn.number)
        if queue is None:
            queue = self._queues[conn.number] = _Queue(conn)
            self._loop.call_soon(self._run, queue)
        queue.hooks.extend(partial(hook, conn, **parameters) for hook, parameters in matching)
        if len(queue.hooks) >= MAX_QUEUED and not conn.paused and conn.phase == OPEN:
            queue.paused = True  # again, if the commands let it read meanwhile
            conn.pause_reading()

    def _run(self, queue: _Queue) -> None:
        """Call what waits, until one has to wait for something itself."""
        conn = queue.conn
        while queue.hooks:
            if conn.session is None:
                conn.session = queue.session
            hook = queue.hooks.popleft()
            try:
                result = hook()
                task = step(as_coroutine(result), self._loop)[1] if isawaitable(result) else None
            except (Exception, asyncio.CancelledError) as error:
                self._failed(conn, hook, error)
                continue
            if task is not None:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(partial(self._ended, queue, hook))
                return
            if queue.paused and len(queue.hooks) <= MAX_QUEUED // 2:
                self._resume(queue)
        self._resume(queue)
        del self._queues[conn.number]
        session = queue.session
        if session.phase == PARTING:
            session.phase = ENDED
            if conn.phase == CLOSED and not session.is_busy:
                conn.session = None

    def _ended(self, queue: _Queue, hook: Callable[[], Any], task: asyncio.Task[Any]) -> None:
        if task.cancelling():
            queue.hooks.clear()  # the server stops
        error = failure_of(task)
        if error is not None:
            self._failed(queue.conn, hook, error)
        self._run(queue)

    def _resume(self, queue: _Queue) -> None:
        if queue.paused:
            queue.paused = False
            if queue.conn.phase == OPEN:
                queue.conn.resume_reading()

    def _failed(self, conn: Connection, hook: Any, error: BaseException) -> None:
        self.errors += 1
        name = getattr(hook.func, "__qualname__", hook.func)
        _log.error("the hook %s failed", name, exc_info=error, extra={"conn": conn.id})


def topic_hooks(
    subscribe: PatternTable[Callable[..., Any]],
    unsubscribe: PatternTable[Callable[..., Any]],
    loop: asyncio.AbstractEventLoop,
    tasks: set[asyncio.Task[Any]],
) -> TopicHooks | None:
    """The hooks of an application, or None if it has none."""
    return TopicHooks(subscribe, unsubscribe, loop, tasks) if len(subscribe) or len(unsubscribe) else None


class Registered(Protocol):
    """What an application has registered for patterns of topics."""

    @property
    def subscribe_rules(self) -> PatternTable[Any]: ...

    @property
    def publish_rules(self) -> PatternTable[Any]: ...

    @property
    def publish_hooks(self) -> PatternTable[Any]: ...

    @property
    def subscribe_hooks(self) -> PatternTable[Any]: ...

    @property
    def unsubscribe_hooks(self) -> PatternTable[Any]: ...


def warn_of_unreachable(app: Registered, namespaces: Namespaces) -> None:
    """Log the patterns that no topic can match because their namespace is not declared."""
    rules = (app.subscribe_rules, app.publish_rules, app.publish_hooks, app.subscribe_hooks, app.unsubscribe_hooks)
    patterns = {pattern.text: pattern for table in rules for pattern in table.patterns()}
    for pattern in patterns.values():
        name = namespace_of(pattern.text)
        if "{" not in name and namespaces.of(pattern.text) is None:
            _log.warning(
                "no topic matches the pattern %r: the namespace %r is not declared, add [namespaces.%s] to the"
                " configuration or to FastWS(namespaces=...)",
                pattern.text,
                name,
                name,
            )
