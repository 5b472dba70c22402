"""The life of an application, without a server around it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar

import anyio
import pytest

from fastws.errors import StartError
from fastws.server import lifespan
from fastws.server.lifespan import Lifespan

pytestmark = pytest.mark.asyncio


async def waits_for_what_is_cancelled() -> None:
    task = asyncio.ensure_future(asyncio.sleep(10))
    task.cancel()
    await task


class Hooks:
    """Hooks of both kinds, and which of them were called."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.began = asyncio.Event()
        self.was_cancelled = False

    def sync(self) -> None:
        self.notes.append("sync")

    async def coroutine(self) -> None:
        await asyncio.sleep(0)
        self.notes.append("async")

    async def stuck(self) -> None:
        self.notes.append("stuck")
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_cancelled = True

    def fails(self) -> None:
        raise OSError("no disk")


async def test_hooks_of_both_kinds_in_their_order() -> None:
    hooks = Hooks()
    life = Lifespan([hooks.sync, hooks.coroutine], [hooks.coroutine, hooks.sync])
    assert await life.start()
    assert hooks.notes == ["sync", "async"]
    await life.end()
    await life.end()
    assert hooks.notes == ["sync", "async", "async", "sync"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_without_hooks() -> None:
    life = Lifespan([], [])
    assert await life.start()
    await life.end()


@pytest.mark.parametrize("kind", ["fails", "cancelled"])
async def test_a_hook_that_fails(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks()
    bad: Callable[[], object] = hooks.fails if kind == "fails" else waits_for_what_is_cancelled
    message = "OSError: no disk" if kind == "fails" else "CancelledError"
    life = Lifespan([hooks.sync, bad, hooks.coroutine], [hooks.sync])
    with pytest.raises(StartError, match=rf"on_startup failed in .*{bad.__name__}: {message}$"):
        await life.start()
    await life.end()
    assert hooks.notes == ["sync"]
    life = Lifespan([], [bad, hooks.sync])
    await life.start()
    await life.end()
    assert hooks.notes == ["sync", "sync"]
    assert "on_shutdown failed" in caplog.text


async def test_what_is_no_exception_is_not_taken_for_a_failure() -> None:
    """As `sys.exit()` and `pytest.fail()` raise."""

    async def leave() -> None:
        await asyncio.sleep(0)
        pytest.fail("on purpose")

    def leave_at_once() -> None:
        raise SystemExit(7)

    with pytest.raises(SystemExit) as left:
        await Lifespan([leave_at_once], []).start()
    assert left.value.code == 7
    with pytest.raises(pytest.fail.Exception, match="on purpose"):
        await Lifespan([leave], []).start()
    life = Lifespan([], [leave])
    await life.start()
    with pytest.raises(pytest.fail.Exception, match="on purpose"):
        await life.end()


async def test_a_hook_that_cancels_its_task() -> None:
    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    with pytest.raises(StartError, match="cancelled the task"):
        await Lifespan([cancels], []).start()


async def test_one_task_and_one_context_for_both() -> None:
    stack = AsyncExitStack()
    variable: ContextVar[str] = ContextVar("variable")
    seen: list[str] = []

    async def start() -> None:
        group = await stack.enter_async_context(anyio.create_task_group())
        group.start_soon(asyncio.sleep, 0)
        variable.set("of the start")

    async def stop() -> None:
        await stack.aclose()
        seen.append(variable.get())

    life = Lifespan([start], [stop])
    assert await life.start()
    await life.end()
    assert seen == ["of the start"]


async def test_a_task_group_that_fails_is_not_the_servers_end(caplog: pytest.LogCaptureFixture) -> None:
    group = asyncio.TaskGroup()
    hooks = Hooks()

    async def fail() -> None:
        raise OSError("no disk")

    async def start() -> None:
        await group.__aenter__()
        group.create_task(fail())

    life = Lifespan([start], [hooks.sync])
    assert await life.start()
    for _ in range(5):
        await asyncio.sleep(0)
    await life.end()
    assert hooks.notes == ["sync"]


async def test_an_interrupted_start() -> None:
    hooks = Hooks()
    life = Lifespan([hooks.stuck, hooks.sync], [hooks.coroutine])
    starting = asyncio.ensure_future(life.start())
    await hooks.began.wait()
    life.interrupt()
    assert not await starting
    await life.end()
    assert hooks.notes == ["stuck"]
    assert hooks.was_cancelled
    life = Lifespan([hooks.sync], [])
    life.interrupt()
    assert not await life.start()
    assert hooks.notes == ["stuck"]


async def test_a_start_that_is_cancelled_waits_for_its_hook() -> None:
    hooks = Hooks()
    starting = asyncio.ensure_future(Lifespan([hooks.stuck], []).start())
    await hooks.began.wait()
    starting.cancel()
    await asyncio.wait((starting,))
    assert starting.cancelled()
    assert hooks.was_cancelled


async def test_an_end_that_nobody_wants_to_wait_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifespan, "HASTE_S", 0.01)
    hooks = Hooks()
    life = Lifespan([], [hooks.sync, hooks.stuck, hooks.coroutine])
    await life.start()
    ending = asyncio.ensure_future(life.end())
    await hooks.began.wait()
    life.hurry()
    life.hurry()
    await ending
    assert hooks.notes == ["sync", "stuck"]
    assert [record.message for record in caplog.records] == [f"on_shutdown was cut short in {Hooks.stuck.__qualname__}"]


async def test_an_end_that_takes_long_is_named_and_then_cut_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifespan, "WARN_S", 0.01)
    hooks = Hooks()
    life = Lifespan([], [hooks.sync, hooks.stuck, hooks.coroutine])
    await life.start()
    await life.end(0.1)
    assert hooks.was_cancelled
    assert hooks.notes == ["sync", "stuck"]
    name = Hooks.stuck.__qualname__
    assert [record.message for record in caplog.records] == [
        f"the end waits for on_shutdown in {name}, which is cut short 0 s from now",
        f"on_shutdown was cut short in {name}",
    ]


@pytest.mark.parametrize("kind", ["start", "end"])
async def test_a_hook_that_does_not_care_about_being_cancelled(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifespan, "CANCELLED_S", 0.01)
    began, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def deaf() -> None:
        began.set()
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()
        ended.set()

    life = Lifespan([deaf], []) if kind == "start" else Lifespan([], [deaf])
    running = asyncio.ensure_future(life.start())
    if kind == "start":
        await began.wait()
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
    else:
        await running
        await life.end(0.01)
    assert not ended.is_set()
    assert "deaf goes on 0.01 s after it was cancelled" in caplog.text
    may_end.set()
    await ended.wait()


@pytest.mark.parametrize("cancelled", ["all", "own"])
async def test_the_loop_ends(cancelled: str, caplog: pytest.LogCaptureFixture) -> None:
    """Every task is cancelled, also the one that sees to it that the application ends."""
    hooks = Hooks()
    ready = asyncio.Event()
    life = Lifespan([], [waits_for_what_is_cancelled, hooks.coroutine])

    async def serve() -> None:
        await life.start()
        ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            await life.end()

    serving = asyncio.ensure_future(serve())
    await ready.wait()
    others: set[asyncio.Task[None]] = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others if cancelled == "all" else {serving}:
        task.cancel()
    waiting: list[Awaitable[object]] = list(others)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert hooks.notes == ["async"]
    assert "on_shutdown failed" in caplog.text
    assert logging.WARNING not in [record.levelno for record in caplog.records if record.name == "fastws.server"]


async def test_an_end_that_is_cancelled() -> None:
    hooks = Hooks()
    life = Lifespan([], [hooks.stuck, hooks.sync])
    await life.start()
    ending = asyncio.ensure_future(life.end())
    await hooks.began.wait()
    ending.cancel()
    await asyncio.wait((ending,))
    assert hooks.was_cancelled
    assert hooks.notes == ["stuck"]
