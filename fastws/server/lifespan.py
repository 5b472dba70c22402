"""The life of an application: its hooks of `on_startup`, and those of `on_shutdown` in the same task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from inspect import isawaitable
from typing import Any, Final

from fastws.errors import StartError
from fastws.net.stepping import is_cancelled

_log: Final = logging.getLogger("fastws.server")

HASTE_S: Final = 1.0
"""What `on_shutdown` has left once nobody wants to wait any longer."""

Hook = Callable[[], Any]


class Lifespan:
    """From `start` to `end`, once, in a task of its own.

    It is one task because a task group or a timeout that one hook enters can be left in no other; and it is its own,
    so that what cancels it, such as a child of that group that fails, does not take the server with it.
    """

    def __init__(self, startup_hooks: Sequence[Hook], shutdown_hooks: Sequence[Hook]) -> None:
        loop = asyncio.get_running_loop()
        self.on_startup: Callable[[str], None] = _nobody_asks
        """Told the name of each hook of `on_startup` before it is called."""
        self._startup_hooks = startup_hooks
        self._shutdown_hooks = shutdown_hooks
        self._started: asyncio.Future[None] = loop.create_future()
        self._ending = asyncio.Event()
        self._hurried: asyncio.Future[None] = loop.create_future()
        self._is_interrupted = False
        self._is_at_shutdown = False
        self._failure: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> bool:
        """Run the hooks of `on_startup`. False: `interrupt` has cut them short, and there is nothing to end.

        Raises `StartError` if one fails; those after it are not called.
        """
        if self._is_interrupted:
            return False
        self._task = task = asyncio.create_task(self._live())
        try:
            await asyncio.wait((task, self._started), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not self._started.done():
                await _cancel(task)
        if self._failure is not None:
            raise self._failure
        if not (self._started.done() or self._is_interrupted):
            raise StartError("on_startup failed: a hook has cancelled the task that it runs in")
        return self._started.done()

    def interrupt(self) -> None:
        """Cancel the hooks of `on_startup`, if they run, or are still to run."""
        self._is_interrupted = True
        if self._task is not None and not self._started.done():
            self._task.cancel()

    async def end(self) -> None:
        """Run the hooks of `on_shutdown`, unless it has not started. Each takes its time; an `Exception` is logged."""
        task = self._task
        if task is None or not self._started.done() or self._ending.is_set():
            return
        self._ending.set()
        try:
            await asyncio.wait((task, self._hurried), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((task,), timeout=HASTE_S)
        finally:
            await _cancel(task)
        if not task.cancelled():
            task.result()
        if not self._is_at_shutdown:
            # The task did not live to see this: the loop ends, which cancels them all, or a task group cancelled it.
            await self._run_shutdown_hooks()

    def hurry(self) -> None:
        """Let the hooks of `on_shutdown` have no more than `HASTE_S` seconds."""
        if not self._hurried.done():
            self._hurried.set_result(None)

    async def _live(self) -> None:
        for hook in self._startup_hooks:
            self.on_startup(_name_of(hook))
            try:
                await _call(hook)
            except (Exception, asyncio.CancelledError) as error:
                if not is_cancelled():
                    self._failure = _failed(hook, error)
                return
            except BaseException as error:  # `start` raises it: sys.exit(), pytest.fail()
                self._failure = error
                return
            if is_cancelled():
                return
        self._started.set_result(None)
        await self._ending.wait()
        await self._run_shutdown_hooks()

    async def _run_shutdown_hooks(self) -> None:
        self._is_at_shutdown = True
        task = asyncio.current_task()
        assert task is not None
        cancelled_before = task.cancelling()
        for hook in self._shutdown_hooks:
            try:
                await _call(hook)
            except (Exception, asyncio.CancelledError) as error:
                if task.cancelling() == cancelled_before:
                    _log.error("on_shutdown failed: %s", _name_of(hook), exc_info=error)
            if task.cancelling() > cancelled_before:
                _log.warning("on_shutdown was cut short in %s", _name_of(hook))
                return


async def _call(hook: Hook) -> None:
    result = hook()
    if isawaitable(result):
        await result


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel, and wait until it has ended."""
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))


def _failed(hook: Hook, error: BaseException) -> StartError:
    _log.error("on_startup failed: %s", _name_of(hook), exc_info=error)
    failure = StartError(f"on_startup failed in {_name_of(hook)}: {type(error).__name__}: {error}".rstrip(": "))
    failure.__cause__ = error
    return failure


def _nobody_asks(name: str) -> None:
    del name


def _name_of(hook: Hook) -> str:
    return str(getattr(hook, "__qualname__", None) or repr(hook))
