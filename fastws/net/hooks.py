"""The application's hooks around a connection: `on_connect` before it is welcomed, `on_disconnect` when it is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any, Final, TypeAlias

from fastws import closes
from fastws.errors import Reject
from fastws.net.connection import OPEN, Connection
from fastws.net.stepping import is_cancelled
from fastws.types import CloseInfo, ConnectionInfo

_log: Final = logging.getLogger("fastws.hooks")


Around: TypeAlias = Callable[[Connection, Callable[[], Awaitable[None]]], Awaitable[None]]
"""(connection, what asks the hooks) -> an awaitable that does it, or refuses the connection before or after that."""


class Hooks:
    """Runs them, the connect hooks inside of `around` if there is one.

    Where there are none it costs nothing: ask `watch_connect` and `watch_disconnect` first.
    """

    def __init__(
        self,
        connect: Sequence[Callable[[Connection], Any]],
        disconnect: Sequence[Callable[[ConnectionInfo, CloseInfo], Any]],
        node: str,
        around: Around | None = None,
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._node = node
        self._around = around
        self.errors = 0
        """Exceptions of hooks so far."""

    @property
    def watch_connect(self) -> bool:
        """Somebody wants to judge connections."""
        return bool(self._connect) or self._around is not None

    @property
    def watch_disconnect(self) -> bool:
        """Somebody wants to know when they end."""
        return bool(self._disconnect)

    async def connect(self, conn: Connection, *, again: bool = False) -> bool:
        """Ask the connect hooks. False: one refused or failed and the connection is closing, or it ended meanwhile.

        `again`: they have let it in before, as somebody else, and will be told of its end.
        """
        try:
            if self._around is None:
                await self._ask(conn)
            else:
                await self._around(conn, partial(self._ask, conn))
        except Reject as reject:
            if reject.is_http:
                _log.error("on_connect raised an HTTP status, 1008 is sent", extra={"conn": conn.id})
                conn.close(*closes.POLICY)
            else:
                conn.close(reject.code, reject.reason)
            return False
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            self.errors += 1
            _log.error("on_connect failed", exc_info=error, extra={"conn": conn.id})
            conn.close(*closes.INTERNAL)
            return False
        if conn.phase != OPEN:
            # It ended while a hook was waiting: the hooks saw it come, so they see it go.
            if not again:
                close = CloseInfo(conn.close_code or closes.ABNORMAL, conn.close_reason)
                await self.disconnect(self.info(conn), close)
            return False
        return True

    async def _ask(self, conn: Connection) -> None:
        for hook in self._connect:
            result = hook(conn)
            if isawaitable(result):
                await result

    def info(self, conn: Connection) -> ConnectionInfo:
        """Who a connection is, for later."""
        return ConnectionInfo(conn.id, conn.user, conn.tenant, conn.device, self._node)

    async def disconnect(self, info: ConnectionInfo, close: CloseInfo) -> None:
        """Tell every disconnect hook; what one of them raises is logged and keeps nobody from being told."""
        for hook in self._disconnect:
            try:
                result = hook(info, close)
                if isawaitable(result):
                    await result
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled():
                    raise
                self.errors += 1
                _log.error("on_disconnect failed", exc_info=error, extra={"conn": info.id})
