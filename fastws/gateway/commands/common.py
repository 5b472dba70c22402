"""What the commands have in common: how a handler answers, and how it fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastws import closes
from fastws.core.codecs.commands import Since
from fastws.core.publication import Position
from fastws.engine.contract import Answer
from fastws.errors import TopicError
from fastws.gateway.session import Session
from fastws.net.connection import Connection

Result = dict[str, Any]
Handler = Callable[[Connection, Session, Any], "Result | Awaitable[Result]"]
"""(connection, session, command) -> the result of the reply, or an awaitable of it. Raises `TopicError` for what is
wrong with the command, and knows nothing of codecs and ids.
"""


class Followed(dict[str, Any]):
    """A result behind whose reply something else is said: by `then`, which may have to wait, and raises nothing."""

    __slots__ = ("then",)

    def __init__(self, result: Result, then: Callable[[], Awaitable[None] | None]) -> None:
        super().__init__(result)
        self.then = then


ANSWERED: Final[Result] = {}
"""This very object says that the reply has been sent already."""


class FatalError(TopicError):
    """The command is answered with the error, and then the connection closes."""

    def __init__(self, error: closes.ErrorCode, message: str, close: closes.Close) -> None:
        super().__init__(error.code, message)
        self.close = close


async def after(waiting: Awaitable[Any], action: Callable[[], Answer[Result]]) -> Result:
    """What `action` answers once `waiting` is over."""
    await waiting
    result = action()
    return result if isinstance(result, dict) else await result


def position_of(since: Since | None) -> Position | None:
    """What a client names as a place in a history."""
    return None if since is None else Position(since.epoch, since.offset)
