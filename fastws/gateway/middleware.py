"""Middleware of applications: an onion around connecting and around every command, built once.

Without middleware there is no onion, and commands are executed as if this module did not exist.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any, Final

import msgspec

from fastws.core.codecs.commands import NAMES, Command, Sub
from fastws.errors import UsageError
from fastws.gateway.commands.common import ANSWERED, Followed, Handler, Result
from fastws.gateway.session import Session
from fastws.net.connection import Connection
from fastws.net.stepping import is_cancelled

_log: Final = logging.getLogger("fastws.gateway")

CONNECT: Final = "connect"
"""What `ctx.cmd` says while a connection is made."""

Next = Callable[["Context"], Awaitable[Any]]
Reply = Callable[[Connection, Any, Result], None]


class Context:
    """What middleware is about: one command, or a connection that is being made.

    Attributes: `conn`, the `Connection`; `cmd`, the name of the command, or `connect`.
    """

    __slots__ = ("_command", "_data", "_handler", "_result", "_session", "_state", "cmd", "conn")

    def __init__(
        self, conn: Connection, handler: Callable[..., Any], session: Session | None, command: Command | None
    ) -> None:
        self.conn = conn
        self.cmd = CONNECT if command is None else NAMES[type(command)]
        self._handler = handler
        self._session = session
        self._command = command
        self._data: dict[str, Any] | None = None
        self._state: dict[Any, Any] | None = None
        self._result: Result | None = None

    def __repr__(self) -> str:
        return f"<{self.cmd} of {self.conn.id}>"

    @property
    def data(self) -> dict[str, Any]:
        """The fields of the command, without `cmd` and `id`; those that are absent are not in it.

        What is changed in it, or put in its place, is what the command says further inside.
        """
        if self._data is None:
            self._data = {} if self._command is None else _fields(self._command)
        return self._data

    @data.setter
    def data(self, data: dict[str, Any]) -> None:
        self._data = data

    @property
    def request_id(self) -> str | int | None:
        """The `id` that the client gave to the command; None if it wants no reply, and while connecting."""
        return None if self._command is None else self._command.id

    @property
    def trace(self) -> str | None:
        """The W3C `traceparent`: of the command's field `trace`, or of the upgrade while its headers are there."""
        return getattr(self._command, "trace", None) or self.conn.headers.get("traceparent")

    @property
    def state(self) -> dict[Any, Any]:
        """A dict for what one layer wants to tell another about this command."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def _current(self) -> Command | None:
        """The command as it is now. Raises `msgspec.ValidationError` if middleware spoilt it."""
        command = self._command
        if command is None or self._data is None:
            return command
        return msgspec.convert({**self._data, "id": command.id}, type(command))


class Onion:
    """The layers. The first of `middleware` is outermost: `middleware(ctx, call_next)`, plain or coroutine."""

    def __init__(self, middleware: Sequence[Callable[..., Any]]) -> None:
        self._outermost: Next = _innermost
        for layer in reversed(middleware):
            self._outermost = _wrapped(layer, self._outermost)

    def around_commands(self, handlers: Mapping[type, Handler], reply: Reply) -> dict[type, Handler]:
        """The same handlers inside of the onion. `reply` sends the result of a command."""
        return {kind: self._around(handler, reply if kind is Sub else None) for kind, handler in handlers.items()}

    def _around(self, handler: Handler, reply: Reply | None) -> Handler:
        def handle(conn: Connection, session: Session, command: Command) -> Awaitable[Result]:
            ctx = Context(conn, handler, session, command)
            if reply is None or command.id is None:
                return _pass(ctx, self._outermost)
            return _ReplyFirst(ctx, self._outermost(ctx), reply)

        return handle

    async def around_connect(self, conn: Connection, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask the connect hooks, which `ask` does, inside of the onion. What they and the layers raise goes through."""
        await self._outermost(Context(conn, ask, None, None))


def onion_of(middleware: Sequence[Callable[..., Any]]) -> Onion | None:
    """The onion, or None if there is no layer."""
    return Onion(middleware) if middleware else None


async def _innermost(ctx: Context) -> Any:
    command = ctx._current
    if command is None:
        await ctx._handler()
        return None
    result = ctx._handler(ctx.conn, ctx._session, command)
    ctx._result = result if isinstance(result, dict) else await result
    return ctx._result


async def _pass(ctx: Context, outermost: Next) -> Result:
    """Go through all layers; what is to follow the reply follows whatever they made of it."""
    try:
        result: Result = await outermost(ctx)
    except (Exception, asyncio.CancelledError) as error:
        if type(ctx._result) is not Followed or is_cancelled():
            raise
        _log_late(ctx, error)
        return ctx._result
    if type(ctx._result) is Followed and type(result) is not Followed:
        return Followed(result, ctx._result.then)
    return result


def _log_late(ctx: Context, error: BaseException) -> None:
    """Middleware failed when the command had its effect already."""
    _log.error("middleware failed after %r was done", ctx.cmd, exc_info=error, extra={"conn": ctx.conn.id})


def _wrapped(layer: Callable[..., Any], call_next: Next) -> Next:
    async def call(ctx: Context) -> Any:
        result = layer(ctx, call_next)
        if isawaitable(result):
            result = await result
        if ctx._command is not None and not isinstance(result, dict):
            raise UsageError(
                f"the middleware {getattr(layer, '__qualname__', layer)!s} returned {type(result).__name__} for"
                f" {ctx.cmd!r}",
                "return what `await call_next(ctx)` returned, or a dict that is the result of the command",
            )
        return result

    return call


class _ReplyFirst:
    """`sub` inside of an onion. Its reply comes before every publication of the topic, so a layer that waits after the
    subscription was made cannot hold it up: it is sent with the result as it stands then.
    """

    __slots__ = ("_chain", "_ctx", "_reply")

    def __init__(self, ctx: Context, chain: Awaitable[Result], reply: Reply) -> None:
        self._ctx = ctx
        self._chain = chain
        self._reply = reply

    def __await__(self) -> Generator[Any, Any, Result]:
        ctx, chain = self._ctx, self._chain.__await__()
        is_answered = False
        advance: Callable[[], Any] = chain.__next__
        while True:
            try:
                awaited = advance()
            except StopIteration as stop:
                result: Result = stop.value
                return ANSWERED if is_answered else result
            except (Exception, asyncio.CancelledError) as error:
                if not is_answered or is_cancelled():
                    raise
                _log_late(ctx, error)
                return ANSWERED
            if not is_answered and ctx._result is not None:
                is_answered = True
                self._reply(ctx.conn, ctx._command, ctx._result)
            try:
                value = yield awaited
            except BaseException as error:
                advance = partial(chain.throw, error)
            else:
                advance = partial(chain.send, value)


def _fields(command: Command) -> dict[str, Any]:
    """The fields that a client sends, those without a value left out."""
    fields = {name: getattr(command, name) for name in command.__struct_fields__ if name != "id"}
    return {
        name: msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
        for name, value in fields.items()
        if value is not None or name == "data"
    }
