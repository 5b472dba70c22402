"""Coroutines stepped at once behave as in a task, whether they wait or not."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from fastws.net.stepping import as_coroutine, failure_of, is_cancelled, step

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


@pytest.fixture(params=[True, False], ids=["in a task", "in a callback"])
def from_task(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def stepped_from_callback(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """Call `step` where no task runs; the future has what it returned or raised."""
    outcome: asyncio.Future[Any] = loop.create_future()

    def callback() -> None:
        assert asyncio.current_task() is None
        try:
            outcome.set_result(step(coroutine, loop))
        except BaseException as error:
            outcome.set_exception(error)
        assert asyncio.current_task() is None

    loop.call_soon(callback)
    return outcome


async def stepped(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], from_task: bool) -> Any:
    if not from_task:
        return await stepped_from_callback(loop, coroutine)
    before = asyncio.current_task()
    try:
        return step(coroutine, loop)
    finally:
        assert asyncio.current_task() is before


def check(from_task: bool, test: Callable[..., Awaitable[None]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await test(lambda coroutine: stepped(loop, coroutine, from_task))

    asyncio.run(main())


def test_a_coroutine_that_does_not_wait_is_done_at_once(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work() -> int:
            assert asyncio.current_task() is not None
            return 7

        before = asyncio.all_tasks()
        assert await stepping(work()) == (7, None)
        assert asyncio.all_tasks() == before

    check(from_task, body)


def test_an_exception_before_the_first_wait_is_raised(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work() -> None:
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await stepping(work())

    check(from_task, body)


def test_a_future_that_is_done_already_needs_no_task(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work() -> str:
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            future.set_result("there")
            return await future

        assert await stepping(work()) == ("there", None)

    check(from_task, body)


@pytest.mark.parametrize("sleeps", [0, 0.001])
def test_the_task_goes_on_where_the_coroutine_waits(from_task: bool, sleeps: float) -> None:
    async def body(stepping: Any) -> None:
        seen: list[asyncio.Task[Any] | None] = []

        async def work() -> str:
            seen.append(asyncio.current_task())
            for _ in range(3):
                await asyncio.sleep(sleeps)
                seen.append(asyncio.current_task())
            return "end"

        result, task = await stepping(work())
        assert result is None
        assert task in asyncio.all_tasks()
        assert await task == "end"
        assert seen == [task] * 4

    check(from_task, body)


def test_an_exception_after_the_wait_is_the_tasks(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            raise ValueError("later")

        _, task = await stepping(work())
        with pytest.raises(ValueError, match="later"):
            await task

    check(from_task, body)


def test_what_it_waits_for_may_fail(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def work() -> str:
            try:
                await future
            except OSError as error:
                return str(error)
            return "no error"

        _, task = await stepping(work())
        future.set_exception(OSError("gone"))
        assert await task == "gone"

    check(from_task, body)


@pytest.mark.parametrize("passes", [0, 1, 3])
def test_cancelling_cancels_what_it_waits_for(from_task: bool, passes: int) -> None:
    """With 0 passes the cancellation comes before the task made its first step of its own."""

    async def body(stepping: Any) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        steps: list[str] = []

        async def work() -> None:
            try:
                await future
            finally:
                steps.append("cleaned up")

        _, task = await stepping(work())
        for _ in range(passes):
            await asyncio.sleep(0)
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancelled()
        assert steps == ["cleaned up"]

    check(from_task, body)


def test_cancelling_during_a_bare_yield(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work() -> None:
            while True:
                await asyncio.sleep(0)

        _, task = await stepping(work())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    check(from_task, body)


def test_a_cancellation_may_be_caught(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                assert task.uncancel() == 0
                return "went on"
            return "never"

        _, task = await stepping(work())
        task.cancel()
        assert await task == "went on"

    check(from_task, body)


def test_a_coroutine_may_cancel_its_own_task_before_it_waits(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.Event().wait()

        _, task = await stepping(work())
        with pytest.raises(asyncio.CancelledError):
            await task

    check(from_task, body)


def test_a_timeout_entered_in_the_first_step_ends_a_later_wait(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work() -> str:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            except TimeoutError:
                return "timed out"
            return "never"

        _, task = await stepping(work())
        assert await task == "timed out"
        assert task.cancelling() == 0

    check(from_task, body)


def test_a_timeout_that_is_not_needed_leaves_nothing(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work() -> int:
            async with asyncio.timeout(30):
                return 1

        assert await stepping(work()) == (1, None)

    check(from_task, body)


def test_task_groups_and_wait_for_work(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def child(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async def work() -> int:
            async with asyncio.TaskGroup() as group:
                children = [group.create_task(child(number)) for number in range(3)]
            return sum(task.result() for task in children) + await asyncio.wait_for(child(10), 1)

        _, task = await stepping(work())
        assert await task == 13

    check(from_task, body)


def test_each_has_a_context_of_its_own(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work(value: str, waits: bool) -> str:
            assert variable.get() == "outside"
            variable.set(value)
            if waits:
                await asyncio.sleep(0)
            return variable.get()

        assert await stepping(work("first", False)) == ("first", None)
        _, task = await stepping(work("second", True))
        assert await task == "second"
        assert variable.get() == "outside"

    check(from_task, body)


def test_stepping_inside_a_step() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def inner() -> asyncio.Task[Any] | None:
            return asyncio.current_task()

        async def outer() -> bool:
            own = asyncio.current_task()
            other, _ = step(inner(), loop)
            return own is asyncio.current_task() and other is not own

        assert step(outer(), loop) == (True, None)

    asyncio.run(main())


def test_the_task_shows_the_coroutine() -> None:
    async def main() -> None:
        async def a_named_handler() -> None:
            await asyncio.Event().wait()

        _, task = step(a_named_handler(), asyncio.get_running_loop())
        assert task is not None
        assert "a_named_handler" in repr(task)
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["a_named_handler"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_other_awaitables_become_coroutines() -> None:
    class Waits:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "value"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        _, task = step(as_coroutine(Waits()), loop)
        assert task is not None
        assert await task == "value"
        done: asyncio.Future[int] = loop.create_future()
        done.set_result(3)
        assert step(as_coroutine(done), loop) == (3, None)

    asyncio.run(main())


def test_it_works_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async def work() -> str:
            async with asyncio.timeout(30):
                await asyncio.sleep(0.001)
            return "end"

        _, task = step(work(), asyncio.get_running_loop())
        assert task is not None
        assert await task == "end"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def waits_for_what_is_cancelled(passes: int) -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.cancel) if passes else future.cancel()
    await future


@pytest.mark.parametrize("passes", [0, 1])
def test_who_is_cancelled_is_told_from_who_waited_for_what_is(from_task: bool, passes: int) -> None:
    async def body(stepping: Any) -> None:
        seen: list[bool] = []

        async def work(what: Awaitable[Any]) -> None:
            try:
                await what
            except asyncio.CancelledError:
                seen.append(is_cancelled())
                raise

        try:
            _, task = await stepping(work(waits_for_what_is_cancelled(passes)))
        except asyncio.CancelledError:
            assert passes == 0
        else:
            await asyncio.wait([task])
            assert isinstance(failure_of(task), asyncio.CancelledError)
        _, task = await stepping(work(asyncio.Event().wait()))
        task.cancel()
        await asyncio.wait([task])
        assert failure_of(task) is None
        assert seen == [False, True]

    check(from_task, body)


def test_how_a_task_has_failed(from_task: bool) -> None:
    async def body(stepping: Any) -> None:
        async def work(error: Exception | None) -> None:
            await asyncio.sleep(0)
            if error is not None:
                raise error

        for error in (None, ValueError()):
            _, task = await stepping(work(error))
            await asyncio.wait([task])
            assert failure_of(task) is error

    check(from_task, body)
