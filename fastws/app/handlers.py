"""What handlers have to look like, checked when they are registered, with words that say how to write them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from fastws.errors import UsageError

MESSAGE: Final = "message"
"""Shape of a raw handler that is called for each message: `handler(conn, message)`."""
STREAM: Final = "stream"
"""Shape of a raw handler that receives by itself: `async handler(conn)`."""


def name_of(handler: Any) -> str:
    """What messages call it."""
    return str(getattr(handler, "__qualname__", None) or repr(handler))


def check_callable(handler: Any, where: str) -> None:
    """Raise `UsageError` for what is no function or the like. `where` is the decorator."""
    if not callable(handler):
        raise UsageError(f"{where} got {handler!r}, which cannot be called", "put it above a function")
    if inspect.isclass(handler):
        raise UsageError(
            f"{where} got the class {name_of(handler)}", "register a function, or an instance with __call__"
        )
    called = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
    if inspect.isasyncgenfunction(called) or inspect.isgeneratorfunction(called):
        raise UsageError(f"{name_of(handler)} has a yield", "send with conn.send, or return the result")


def check_signature(handler: Any, where: str, *wanted: str, by_name: Iterable[str] = ()) -> None:
    """Raise `UsageError` unless it can be called with `wanted` by position and `by_name` by their names."""
    check_callable(handler, where)
    names = tuple(by_name)
    if accepts(handler, len(wanted), names):
        return
    taken = [name for name in names if name in wanted]
    if taken:
        raise UsageError(
            f"{name_of(handler)}{_signature(handler)} gets {taken[0]!r} by position already",
            f"give {{{taken[0]}}} in the pattern another name",
        )
    parameters = ", ".join((*wanted, *names))
    how = "async def" if is_coroutine_function(handler) else "def"
    called = getattr(handler, "__name__", "handler")
    called = called if called.isidentifier() else "handler"
    raise UsageError(
        f"{name_of(handler)}{_signature(handler)} cannot be called with ({parameters})",
        f"write: {where}\n      {how} {called}({parameters}): ...",
    )


def accepts(handler: Callable[..., Any], count: int, names: Iterable[str] = ()) -> bool:
    """Whether it can be called with so many positional arguments and these by their names."""
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return True  # compiled functions may not tell
    try:
        signature.bind(*[None] * count, **dict.fromkeys(names))
    except TypeError:
        return False
    return True


def is_coroutine_function(handler: Any) -> bool:
    """Whether calling it gives a coroutine."""
    while isinstance(handler, partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def raw_shape(handler: Any) -> str:
    """`MESSAGE` or `STREAM`; `UsageError` for a handler of `@app.raw` that is neither."""
    check_callable(handler, "@app.raw")
    if accepts(handler, 2):
        return MESSAGE
    if not accepts(handler, 1):
        raise UsageError(
            f"{name_of(handler)}{_signature(handler)} can be called neither with (conn, message) nor with (conn)",
            "write: def handler(conn, message), or: async def handler(conn)",
        )
    if not is_coroutine_function(handler):
        raise UsageError(
            f"{name_of(handler)}{_signature(handler)} takes the connection alone, but is no coroutine function",
            "write: def handler(conn, message) to be called for each message, or: async def handler(conn)",
        )
    return STREAM


def _signature(handler: Any) -> str:
    return str(inspect.signature(handler))
