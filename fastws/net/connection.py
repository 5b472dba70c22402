"""The connection as handlers see it: a wire with names, and nothing of its own until somebody asks for more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, Final, cast

import orjson

from fastws.core.codecs import CODECS
from fastws.errors import UsageError
from fastws.net.http import Headers, parse_query
from fastws.net.inbox import ConnectionEnded, Inbox
from fastws.net.session import Details, Session
from fastws.types import SendStatus
from fastws_ext.frames import encode_frame
from fastws_ext.sender import use_statuses
from fastws_ext.wire import Wire

HANDSHAKING: Final = 0
OPEN: Final = 1
CLOSING: Final = 2
LINGERING: Final = 3
CLOSED: Final = 4

_TEXT: Final = 1

use_statuses((SendStatus.SENT, SendStatus.QUEUED, SendStatus.DROPPED, SendStatus.CLOSED))


class _Names:
    """Ids of connections: a prefix for this process, drawn again in a forked child, and the connection's number."""

    def __init__(self) -> None:
        self.draw()
        os.register_at_fork(after_in_child=self.draw)

    def draw(self) -> None:
        self.prefix = os.urandom(5).hex()


_names: Final = _Names()


def connection_id(number: int) -> str:
    """The id of the connection of this process with that number: unique over all processes, made when asked for."""
    return f"{_names.prefix}-{number:x}"


class Connection(Wire):
    """One client.

    Made by the reactor, never by applications. `send(data)` sends text for str and binary for bytes, returns a
    `SendStatus` and never waits; `close(code=1000, reason="")` starts the close handshake; `buffered` is what waits to
    be sent, in bytes. Everything is to be called on the loop's thread.
    """

    __slots__ = ()

    phase = Wire.state
    """HANDSHAKING, OPEN, CLOSING, LINGERING or CLOSED."""

    @property
    def id(self) -> str:
        """Unique over all connections of all nodes; text of at most 32 characters."""
        return connection_id(self.number)

    @property
    def user(self) -> str:
        """Empty if anonymous."""
        return getattr(self.session, "user", "")

    @property
    def tenant(self) -> str:
        """Empty if there is none."""
        return getattr(self.session, "tenant", "")

    @property
    def device(self) -> str:
        """`default` unless the token names one."""
        return getattr(self.session, "device", "default")

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of the token: all of them while connecting, afterwards without its times, ids and permissions.

        The application's own claims stay where it has rules, hooks of topics, methods for rpc or middleware that may
        ask for them, and on raw endpoints.
        """
        return getattr(self.session, "claims", None) or {}

    @property
    def info(self) -> Any:
        """What is public about the user; None if the token has nothing."""
        return getattr(self.session, "info", None)

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics it is subscribed to."""
        return tuple(getattr(self.session, "topics", None) or ())

    codec_index = Wire.codec
    """Which entry of `fastws.core.codecs.CODECS` it speaks; 0 on raw endpoints too."""

    @property
    def codec(self) -> str:  # type: ignore[override]
        """`json` or `msgpack`; `raw` on endpoints without a protocol of ours."""
        if self.endpoint is None or self.endpoint.on_send is None:
            return "raw"
        return CODECS[self.codec_index].name

    @property
    def path(self) -> str:
        """The path of its endpoint."""
        return self.endpoint.path if self.endpoint is not None else ""

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the upgrade's query string, percent-decoded."""
        details = self._details
        return parse_query(details.query) if details is not None and details.query else {}

    @property
    def headers(self) -> Headers:
        """The headers of the upgrade: all of them while connecting, afterwards those that `keep_headers` names."""
        details = self._details
        return Headers(details.headers if details is not None else ())

    @property
    def subprotocol(self) -> str:
        """The subprotocol that was agreed on, empty if none was."""
        return getattr(self.session, "subprotocol", "")

    @property
    def remote(self) -> tuple[str, int] | None:
        """(address, port) of the client; the port is 0 if only a proxy knows it; None on a Unix socket."""
        details = self._details
        if details is not None and details.client is not None:
            return details.client
        return self.peer

    peer = Wire.remote
    """(address, port) of the TCP connection's other end, a proxy or the client; None on a Unix socket."""

    @property
    def state(self) -> dict[Any, Any]:  # type: ignore[override]
        """A dict for the application's own use, there as long as the connection."""
        details = self.need_session().need_details()
        if details.state is None:
            details.state = {}
        return details.state

    @property
    def _details(self) -> Details | None:
        return getattr(self.session, "details", None)

    def need_session(self) -> Session:
        """The session, made if there is none."""
        if self.session is None:
            self.session = Session()
        session: Session = self.session
        return session

    def send_json(self, value: object) -> SendStatus:
        """Send `value` as a text frame of JSON; the same as `send` where that speaks a protocol of ours.

        Raises `TypeError` or `ValueError` for what JSON cannot hold.
        """
        if self.endpoint is not None and self.endpoint.on_send is not None:
            return SendStatus(self.send(value))  # type: ignore[arg-type]
        return cast("SendStatus", self.send_frame(encode_frame(_TEXT, orjson.dumps(value))))

    async def drain(self, status: int = SendStatus.SENT) -> int:
        """Wait until the outbox has room again, or the connection is closing; return `status`.

        Takes what `send` returned, so that one line is enough: `await conn.drain(conn.send(data))`.
        """
        while self.phase == OPEN and self.congested:
            details = self.need_session().need_details()
            if details.drain_waiters is None:
                details.drain_waiters = []
            waiters = details.drain_waiters
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiters.append(future)
            try:
                await future
            finally:
                if future in waiters:
                    waiters.remove(future)
        return status

    async def receive(self) -> str | bytes:
        """The next message, on endpoints whose handler takes the connection alone.

        Raises `ConnectionEnded`, an `EOFError`, when the connection has ended and every message before that was
        received; a handler may let it pass. Raises `UsageError` on other endpoints.
        """
        return await self._inbox.get()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """The messages until the connection ends; see `receive`."""
        inbox = self._inbox
        while True:
            try:
                message = await inbox.get()
            except ConnectionEnded:
                return
            yield message

    @property
    def _inbox(self) -> Inbox:
        inbox = getattr(self.session, "inbox", None)
        if isinstance(inbox, Inbox):
            return inbox
        raise UsageError(
            "this connection's messages go to a handler one by one",
            "receive and `async for` work where the handler of @app.raw takes the connection alone: async def h(conn)",
        )
