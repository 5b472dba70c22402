"""Coroutines that run at once, and become tasks only if they have to wait.

Most handlers never wait for anything, and a task costs more than such a handler does. Python 3.12 knows eager tasks.
On 3.11 the first step is made here: inside a task object that is not initialised yet, so that
`asyncio.current_task()` and what is built on it (`asyncio.timeout`, `TaskGroup`) work, and initialised with the rest
of the coroutine if it suspends.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import tasks
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import Context, copy_context
from types import TracebackType
from typing import Any, TypeVar, cast

T = TypeVar("T")


def as_coroutine(awaitable: Awaitable[T]) -> Coroutine[Any, Any, T]:
    """`awaitable` itself if it is a coroutine, else a coroutine that awaits it."""
    return awaitable if isinstance(awaitable, Coroutine) else _await(awaitable)


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


def is_cancelled() -> bool:
    """Whether the current task is to end, as all do when the server stops.

    To be asked where a `CancelledError` came: without this it is a failure like others, of a handler that waited for
    something which somebody cancelled.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def failure_of(task: asyncio.Task[Any]) -> BaseException | None:
    """How a task has failed that has ended; None if it did not, or was to end, as all are when the server stops."""
    try:
        return task.exception()
    except asyncio.CancelledError as error:
        return None if task.cancelling() else error


def step(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> tuple[T | None, asyncio.Task[T] | None]:
    """Run `coroutine` until it ends or has to wait: (result, None) if it ended, (None, task) if a task goes on with it.

    What the coroutine raises before it waits is raised here; later the task has it. Call it on the running loop's
    thread, inside a task or not. The coroutine has a copy of the caller's context, as in a task. The loop keeps only
    weak references to tasks: keep the one returned.
    """
    if sys.version_info >= (3, 12):
        task = asyncio.Task(coroutine, loop=loop, eager_start=True)
        return (task.result(), None) if task.done() else (None, task)
    return _first_step(coroutine, loop)


class _SteppedTask(asyncio.Task[Any]):
    """Allocated by `__new__` alone, initialised only if needed. The C implementation reads zeros as "pending, nobody
    waits".
    """


def _first_step(
    coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> tuple[T | None, asyncio.Task[T] | None]:
    task: asyncio.Task[T] = _SteppedTask.__new__(_SteppedTask)
    context = copy_context()
    outer = asyncio.current_task(loop)
    if outer is not None:
        tasks._leave_task(loop, outer)
    tasks._enter_task(loop, task)
    try:
        awaited = context.run(coroutine.send, None)
    except StopIteration as stop:
        return stop.value, None
    finally:
        tasks._leave_task(loop, task)
        if outer is not None:
            tasks._enter_task(loop, outer)
    return None, _go_on(task, coroutine, awaited, loop, context)


def _go_on(
    task: asyncio.Task[T],
    coroutine: Coroutine[Any, Any, T],
    awaited: asyncio.Future[Any] | None,
    loop: asyncio.AbstractEventLoop,
    context: Context,
) -> asyncio.Task[T]:
    cancels = task.cancelling()
    rest: Coroutine[Any, Any, T] = coroutine if awaited is None else _Rest(coroutine, awaited)
    cast("Any", task).__init__(rest, loop=loop, context=context)
    # A coroutine may have cancelled its own task before it waited; __init__ forgot that.
    for _ in range(cancels):
        task.cancel()
    return task


class _Rest(Coroutine[Any, Any, T]):
    """A coroutine that is waiting already: it yields what it waits for once more, to the task that takes over."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, T], awaited: asyncio.Future[Any]) -> None:
        self._coroutine = coroutine
        self._awaited: asyncio.Future[Any] | None = awaited

    def send(self, value: Any) -> Any:
        awaited, self._awaited = self._awaited, None
        return awaited if awaited is not None else self._coroutine.send(value)

    def throw(self, kind: Any, value: BaseException | object = None, _traceback: TracebackType | None = None, /) -> Any:
        awaited, self._awaited = self._awaited, None
        cancelled = kind is asyncio.CancelledError or isinstance(kind, asyncio.CancelledError)
        # A task that waits is cancelled by cancelling what it waits for, and so has the task to be that only begins
        # to wait.
        if awaited is not None and cancelled and awaited.cancel():
            return awaited
        return self._coroutine.throw(kind if isinstance(kind, BaseException) else kind(value))

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        """What asyncio's repr, stacks and debug messages ask of a coroutine: `cr_code`, `cr_frame`, `__qualname__`
        and the like.
        """
        return getattr(self._coroutine, name)
