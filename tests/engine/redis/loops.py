"""Tests that run on both event loops, and in which nothing goes wrong unseen."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
TIME_S = 60.0


def on_loops(*kinds: str) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """Make a test of a coroutine function, for each of these loops. What the loop complains about fails it."""

    def decorate(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        @functools.wraps(function)
        def test(loop_kind: str, **fixtures: Any) -> None:
            complaints: list[dict[str, Any]] = []

            async def main() -> None:
                asyncio.get_running_loop().set_exception_handler(lambda _loop, what: complaints.append(what))
                async with asyncio.timeout(TIME_S):
                    await function(**fixtures)
                left = asyncio.all_tasks() - {asyncio.current_task()}
                assert not left, f"tasks that still run: {left}"

            with asyncio.Runner(loop_factory=FACTORIES[loop_kind]) as runner:
                runner.run(main())
                gc.collect()
            if complaints:
                pytest.fail(f"the loop complained: {complaints}")

        signature = inspect.signature(function)
        kind = inspect.Parameter("loop_kind", inspect.Parameter.KEYWORD_ONLY)
        test.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), kind], return_annotation=None
        )
        return pytest.mark.parametrize("loop_kind", kinds or tuple(FACTORIES))(test)

    return decorate
