"""The application's hooks around a connection: `on_connect` before it is welcomed, `on_disconnect` when it is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from inspect import isawaitable
from typing import Any, Final

from fastws import closes
from fastws.errors import Reject
from fastws.net.connection import OPEN, Connection
from fastws.types import CloseInfo, ConnectionInfo

_log: Final = logging.getLogger("fastws.hooks")


class Hooks:
    """Runs them. Empty sequences cost nothing: ask `watch_connect` and `watch_disconnect` first."""

    def __init__(
        self,
        connect: Sequence[Callable[[Connection], Any]],
        disconnect: Sequence[Callable[[ConnectionInfo, CloseInfo], Any]],
        node: str,
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._node = node
        self.errors = 0
        """Exceptions of hooks so far."""

    @property
    def watch_connect(self) -> bool:
        """Somebody wants to judge connections."""
        return bool(self._connect)

    @property
    def watch_disconnect(self) -> bool:
        """Somebody wants to know when they end."""
        return bool(self._disconnect)

    async def connect(self, conn: Connection) -> bool:
        """Ask the connect hooks. False: one refused or failed and the connection is closing, or it ended meanwhile."""
        try:
            for hook in self._connect:
                result = hook(conn)
                if isawaitable(result):
                    await result
        except Reject as reject:
            if reject.is_http:
                _log.error("on_connect raised an HTTP status, 1008 is sent", extra={"conn": conn.id})
                conn.close(*closes.POLICY)
            else:
                conn.close(reject.code, reject.reason)
            return False
        except Exception as error:
            self.errors += 1
            _log.error("on_connect failed", exc_info=error, extra={"conn": conn.id})
            conn.close(*closes.INTERNAL)
            return False
        if conn.phase != OPEN:
            # It ended while a hook was waiting: the hooks saw it come, so they see it go.
            await self.disconnect(self.info(conn), CloseInfo(conn.close_code or closes.ABNORMAL, conn.close_reason))
            return False
        return True

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
            except Exception as error:
                self.errors += 1
                _log.error("on_disconnect failed", exc_info=error, extra={"conn": info.id})
