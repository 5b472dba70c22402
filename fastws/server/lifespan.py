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
WARN_S: Final = 5.0
"""If `on_shutdown` takes longer, the log names the hook that it is in, and how long it is waited for."""
CANCELLED_S: Final = 3.0
"""Whoever is cancelled may clean up for so long; then he is left to himself."""

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
        self._hook = ""
        """The name of the hook that was called last."""
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
                await self._cancel(task)
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

    async def end(self, within_s: float | None = None) -> None:
        """Run the hooks of `on_shutdown`, unless it has not started; an `Exception` is logged. Who has not ended
        `within_s` seconds from now (None: each takes its time) is cancelled.
        """
        task = self._task
        if task is None or not self._started.done() or self._ending.is_set():
            return
        self._ending.set()
        try:
            await self._wait_for_end(task, within_s)
        finally:
            await self._cancel(task)
        if task.done() and not task.cancelled():
            task.result()
        if not self._is_at_shutdown:
            # The task did not live to see this: the loop ends, which cancels them all, or a task group cancelled it.
            await self._run_shutdown_hooks()

    async def _wait_for_end(self, task: asyncio.Task[None], within_s: float | None) -> None:
        quiet_s = WARN_S if within_s is None else min(WARN_S, within_s)
        done, _ = await asyncio.wait((task, self._hurried), timeout=quiet_s, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            left_s = None if within_s is None else within_s - quiet_s
            more = "" if left_s is None else f", which is cut short {left_s:.0f} s from now"
            _log.warning("the end waits for on_shutdown in %s%s", self._hook, more)
            await asyncio.wait((task, self._hurried), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if self._hurried.done():
            await asyncio.wait((task,), timeout=HASTE_S)

    def hurry(self) -> None:
        """Let the hooks of `on_shutdown` have no more than `HASTE_S` seconds."""
        if not self._hurried.done():
            self._hurried.set_result(None)

    async def _live(self) -> None:
        for hook in self._startup_hooks:
            self._hook = _name_of(hook)
            self.on_startup(self._hook)
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
            self._hook = _name_of(hook)
            try:
                await _call(hook)
            except (Exception, asyncio.CancelledError) as error:
                if task.cancelling() == cancelled_before:
                    _log.error("on_shutdown failed: %s", _name_of(hook), exc_info=error)
            if task.cancelling() > cancelled_before:
                _log.warning("on_shutdown was cut short in %s", _name_of(hook))
                return

    async def _cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel, and wait until it has ended, or shows that it does not care."""
        if not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=CANCELLED_S)
        if not task.done():
            _log.error("%s goes on %g s after it was cancelled: nobody waits for it", self._hook, CANCELLED_S)


async def _call(hook: Hook) -> None:
    result = hook()
    if isawaitable(result):
        await result


def _failed(hook: Hook, error: BaseException) -> StartError:
    _log.error("on_startup failed: %s", _name_of(hook), exc_info=error)
    failure = StartError(f"on_startup failed in {_name_of(hook)}: {type(error).__name__}: {error}".rstrip(": "))
    failure.__cause__ = error
    return failure


def _nobody_asks(name: str) -> None:
    del name


def _name_of(hook: Hook) -> str:
    return str(getattr(hook, "__qualname__", None) or repr(hook))
