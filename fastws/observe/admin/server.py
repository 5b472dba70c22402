"""The admin address over HTTP, on aiohttp's low-level server, in the event loop of the worker.

Imported only where the admin port is on: the library takes 13 MB and 150 ms.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from fastws import closes
from fastws.observe.admin.calls import Answer, call, error_answer
from fastws.observe.admin.guard import Guard
from fastws.observe.admin.idempotency import Claims, Idempotency
from fastws.observe.admin.methods import READING, Context
from fastws.observe.admin.openapi import description

_log: Final = logging.getLogger("fastws.admin.http")
_access: Final = logging.getLogger("fastws.access")

MAX_CONNECTIONS: Final = 128
"""Connections at once. They are beside the clients' in the descriptor limit. For one more the oldest of those that wait
for a request ends; where each has a request under way it is answered 503.
"""
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
_STOPPING_S: Final = 0.5  # for calls under way, and as long again once they are cancelled
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "fastws",
}
_FAULTS_OF_PEERS: Final = (HttpProcessingError, web.RequestPayloadError)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOTHING_HERE: Final = error_answer(
    closes.UNKNOWN_COMMAND, f"there is nothing at this path; methods are at {_API}METHOD, described at {_OPENAPI}"
)
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
        claims: Claims | None = None,
        max_message_size: int = 0,
        access_log: bool = False,
    ) -> None:
        """`is_ready` and `is_serving`: whether the node lets clients in, and whether its services work at all.

        `claims`: what other processes know of calls that are repeated.

        `max_message_size`: bytes, 0 = unlimited; a body may be somewhat larger.
        """
        self._context = context
        self._guard = guard
        self._is_ready = is_ready
        self._is_serving = is_serving
        self._max_body = max(MIN_BODY, 2 * max_message_size) if max_message_size else UNLIMITED_BODY
        self._access_log = access_log
        self._idempotency = Idempotency(claims)
        self._description = b""
        self._listeners: list[asyncio.Server] = []
        self._busy: set[web.RequestHandler] = set()
        self._coming = 0  # made in this pass of the loop: the library does not know them yet
        self._http: web.Server | None = None

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve what comes through `sockets`, which listen, and are closed by `stop`."""
        loop = asyncio.get_running_loop()
        self._http = web.Server(self._handle, loop=loop)
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
        if http is None or not self._has_room(http.connections):
            return _NoRoom()
        loop = asyncio.get_running_loop()
        if not self._coming:
            loop.call_soon(self._all_have_come)
        self._coming += 1
        options: dict[str, Any] = {
            "access_log": None,
            "logger": _log,
            "keepalive_timeout": _IDLE_S,  # also before the first request
            "lingering_time": _LINGERING_S,
            "auto_decompress": False,
        }
        return _Connection(http, loop=loop, **options)

    def _all_have_come(self) -> None:
        self._coming = 0

    def _has_room(self, connections: Sequence[web.RequestHandler]) -> bool:
        """Whether there is room for one more; if not, it is made by ending who is idle, the oldest first."""
        live = [conn for conn in connections if conn.transport is not None]
        surplus = len(live) + self._coming + 1 - MAX_CONNECTIONS
        if surplus <= 0:
            return True
        idle = [conn for conn in live if conn not in self._busy][:surplus]
        if len(idle) < surplus:
            return False
        for conn in idle:
            conn.force_close()
        return True

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        self._busy.add(request.protocol)
        self._idempotency.forget()
        try:
            answer, headers = await self._answer(request, request.rel_url.raw_path)
        finally:
            self._busy.discard(request.protocol)
        if self._access_log:
            extra = {"status": answer.status, "remote": request.remote}
            _access.info("%s %s %d", request.method, request.rel_url.raw_path, answer.status, extra=extra)
        return _response(answer, headers)

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
            return _NOTHING_HERE, {}
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
        key = request.headers.get("Idempotency-Key")
        # What has no effect has none twice either, and its answers may be large.
        if key is None or name in READING:
            return await call(self._context, name, body)
        return await self._idempotency.once(key, name, body, partial(call, self._context, name, body, key))

    async def _body(self, request: web.BaseRequest) -> bytes | Answer:
        """The body, or the answer where it is too large or too slow."""
        parts: list[bytes] = []
        size = request.content_length or 0
        try:
            async with asyncio.timeout(_BODY_S):
                if size <= self._max_body:
                    await _say_continue(request)
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


class _Connection(web.RequestHandler):
    """One connection to the admin address."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002 - the library's, as is `message`
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what is no HTTP, which is not worth a line, and what nobody foresaw. A caller who has gone gets none:
        the library awaits a `ConnectionError` then.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if isinstance(exc, _FAULTS_OF_PEERS):
            _log.debug("a request that cannot be read", exc_info=exc)
            answer = error_answer(closes.MALFORMED, "the request is not such as HTTP/1.1 has it")
        else:
            _log.error("a request failed", exc_info=exc)
            answer = error_answer(closes.INTERNAL_ERROR, "the server failed; its log says why")
        if request.writer.output_size:
            raise ConnectionError("a part of another answer was sent")
        response = _response(answer)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **named: Any) -> None:
        """Log what the library could not do, unless it is the peer's fault."""
        if not isinstance(named.get("exc_info"), _FAULTS_OF_PEERS):
            super().log_exception(*args, **named)


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


def _response(answer: Answer, headers: Mapping[str, str] = MappingProxyType({})) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers={**_HEADERS, **headers})


async def _say_continue(request: web.BaseRequest) -> None:
    """Tell a client to send the body, if it waits for that (RFC 9110 10.1.1); `curl` does from a megabyte on."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # nothing of the answer itself
