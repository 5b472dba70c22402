"""The admin address over HTTP, on aiohttp's low-level server, in the event loop of the worker.

Imported only where the admin port is on: the library takes 13 MB and 150 ms.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from fastws import closes
from fastws.observe.admin.calls import Answer, call, error_answer
from fastws.observe.admin.guard import Guard
from fastws.observe.admin.idempotency import Idempotency
from fastws.observe.admin.methods import Context
from fastws.observe.admin.openapi import description

_access: Final = logging.getLogger("fastws.access")

MAX_CONNECTIONS: Final = 128
"""Connections at once; one more is answered 503. They are beside the clients' in the descriptor limit."""
MIN_BODY: Final = 1024 * 1024
"""Bytes of a body that are always allowed, more where messages may be larger; beyond it 413."""
UNLIMITED_BODY: Final = 64 * 1024 * 1024
"""The same where messages are unlimited."""
BACKLOG: Final = 256
"""Connections that wait to be accepted."""

_API: Final = "/api/"
_OPENAPI: Final = "/api/openapi.json"
_BODY_S: Final = 30.0
_IDLE_S: Final = 75.0
_LINGERING_S: Final = 2.0
_STOPPING_S: Final = 1.0
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "fastws",
}
_STOPPED: Final = error_answer(closes.ENGINE_UNAVAILABLE, "the server is starting or stopping")


class AdminServer:
    """Serves the control API and the health of the node. `start` it last and `stop` it last."""

    def __init__(
        self,
        context: Context,
        guard: Guard,
        is_ready: Callable[[], tuple[bool, dict[str, Any]]],
        *,
        is_serving: Callable[[], bool] = lambda: True,
        max_message_size: int = 0,
        access_log: bool = False,
    ) -> None:
        """`is_ready` and `is_serving`: whether the node lets clients in, and whether its services work at all.

        `max_message_size`: bytes, 0 = unlimited; a body may be somewhat larger.
        """
        self._context = context
        self._guard = guard
        self._is_ready = is_ready
        self._is_serving = is_serving
        self._max_body = max(MIN_BODY, 2 * max_message_size) if max_message_size else UNLIMITED_BODY
        self._access_log = access_log
        self._idempotency = Idempotency()
        self._description = b""
        self._listeners: list[asyncio.Server] = []
        self._http: web.Server | None = None

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve what comes through `sockets`, which listen, and are closed by `stop`."""
        logger = logging.getLogger("fastws.admin.http")
        logger.addFilter(_is_ours)
        self._http = web.Server(
            self._handle,
            access_log=None,
            logger=logger,
            keepalive_timeout=_IDLE_S,
            lingering_time=_LINGERING_S,
            auto_decompress=False,
        )
        loop = asyncio.get_running_loop()
        for sock in sockets:
            self._listeners.append(await loop.create_server(self._make_protocol, sock=sock, backlog=BACKLOG))

    async def stop(self) -> None:
        """End what is under way within a second, and close every socket."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._http is not None:
            self._http.pre_shutdown()
            await self._http.shutdown(_STOPPING_S)
            self._http = None

    def _make_protocol(self) -> asyncio.Protocol:
        http = self._http
        return http() if http is not None and len(http.connections) < MAX_CONNECTIONS else _NoRoom()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        answer, headers = await self._answer(request, request.rel_url.raw_path)
        if self._access_log:
            extra = {"status": answer.status, "remote": request.remote}
            _access.info("%s %s %d", request.method, request.rel_url.raw_path, answer.status, extra=extra)
        return web.Response(status=answer.status, body=answer.body, headers=_HEADERS | headers)

    async def _answer(self, request: web.BaseRequest, path: str) -> tuple[Answer, dict[str, str]]:
        if path in ("/healthz", "/readyz"):
            return _allowed(request, ("GET", "HEAD")) or (self._health(path), {})
        problem = self._guard.problem(request.remote or "", request.headers)
        if problem is not None:
            challenge = {"WWW-Authenticate": "Bearer"} if self._guard.needs_key else {}
            return error_answer(closes.UNAUTHORIZED, problem), challenge
        if path == _OPENAPI:
            return _allowed(request, ("GET", "HEAD")) or (Answer(200, self._openapi()), {})
        if not path.startswith(_API):
            return error_answer(closes.UNKNOWN_COMMAND, "there is nothing at this path"), {}
        return _allowed(request, ("POST",)) or (await self._call(request, path.removeprefix(_API)), {})

    def _health(self, path: str) -> Answer:
        if path == "/healthz":
            return Answer(200, b'{"status":"ok"}')
        ready, checks = self._is_ready()
        content = {"status": "ready" if ready else "unavailable", "checks": checks}
        return Answer(200 if ready else 503, msgspec.json.encode(content))

    def _openapi(self) -> bytes:
        if not self._description:
            self._description = msgspec.json.encode(description())
        return self._description

    async def _call(self, request: web.BaseRequest, name: str) -> Answer:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return error_answer(closes.MALFORMED, "the body must not be compressed")
        body = await self._body(request)
        if isinstance(body, Answer):
            return body
        if not self._is_serving():
            return _STOPPED
        run = partial(call, self._context, name, body)
        key = request.headers.get("Idempotency-Key")
        return await run() if key is None else await self._idempotency.once(key, name, body, run)

    async def _body(self, request: web.BaseRequest) -> bytes | Answer:
        """The body, or the answer where it is too large or too slow."""
        parts: list[bytes] = []
        size = request.content_length or 0
        try:
            async with asyncio.timeout(_BODY_S):
                if size <= self._max_body:
                    size = 0
                    async for part in request.content.iter_any():
                        parts.append(part)
                        size += len(part)
                        if size > self._max_body:
                            break
        except TimeoutError:
            request.protocol.close()
            return error_answer(closes.MALFORMED, f"the body did not come within {_BODY_S:g} s")
        if size > self._max_body:
            return error_answer(closes.PAYLOAD_TOO_LARGE, f"a body has at most {self._max_body} bytes")
        return b"".join(parts)


class _NoRoom(asyncio.Protocol):
    """Answers whoever comes while there are enough."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        body = error_answer(closes.ENGINE_UNAVAILABLE, f"more than {MAX_CONNECTIONS} connections").body
        head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        transport.write(head % len(body) + b"Retry-After: 1\r\nConnection: close\r\n\r\n" + body)
        transport.close()


def _allowed(request: web.BaseRequest, methods: tuple[str, ...]) -> tuple[Answer, dict[str, str]] | None:
    """The refusal of another method, or None."""
    if request.method in methods:
        return None
    return error_answer(closes.MALFORMED, f"allowed here: {', '.join(methods)}", 405), {"Allow": ", ".join(methods)}


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a record of the library is worth a line: what strangers send to the port is not."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
