"""`rpc`: what the application answers itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Any, Final, Protocol

from fastws import closes
from fastws.core.codecs.commands import Rpc
from fastws.core.codecs.data import DataError, Packed, pack_data
from fastws.core.codecs.schemas import MisfitError, fit
from fastws.engine.contract import Answer
from fastws.errors import TopicError
from fastws.gateway.commands.common import Result
from fastws.gateway.session import Session
from fastws.net.connection import Connection

_log: Final = logging.getLogger("fastws.gateway")


class Method(Protocol):
    """A method of the application."""

    @property
    def handler(self) -> Callable[[Connection, Any], Any]: ...

    @property
    def data_type(self) -> Any:
        """What the data is converted to; None: the handler takes it as it comes."""


class Calling:
    """The application's methods, by their names."""

    def __init__(self, methods: Mapping[str, Method] | None = None) -> None:
        self._methods = methods or {}

    def rpc(self, conn: Connection, _session: Session, command: Rpc) -> Answer[Result]:
        method = self._methods.get(command.method)
        if method is None:
            raise TopicError(closes.NOT_AVAILABLE.code, "the application has no such method")
        data = command.data
        if method.data_type is not None:
            try:
                data = fit(data, method.data_type)
            except MisfitError as error:
                raise TopicError(closes.MALFORMED.code, str(error)) from None
        result = method.handler(conn, data)
        if isawaitable(result):
            return _answer_later(conn, command.method, result)
        return _answer(conn, command.method, result)


async def _answer_later(conn: Connection, name: str, result: Awaitable[Any]) -> Result:
    return _answer(conn, name, await result)


def _answer(conn: Connection, name: str, result: Any) -> Result:
    """It is written as JSON for either codec, so that both say the same."""
    try:
        return {"data": Packed(pack_data(result))}
    except DataError as error:
        _log.error("the method %r returned what cannot be sent: %s", name, error, extra={"conn": conn.id})
        raise TopicError(closes.INTERNAL_ERROR.code, "the server failed") from None
