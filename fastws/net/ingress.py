"""The HTTP stage: what becomes of a request on the public port.

The common upgrade is answered in compiled code; what arrives here is everything else. A request that is refused gets
the first of these that applies: 400, 414, 431, 413 (syntax and limits), 503 and 429 (admission), 404, 405, 426, 400
(key and headers), 403 (origin), 401 (token), then what the application's upgrade hooks say.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any, Final, TypeVar, cast

import orjson

from fastws.closes import Close
from fastws.core.proxies import Client, canonical_address
from fastws.core.request import Request, RequestError, parse_request
from fastws.core.upgrade import Accept, OriginRules, Refuse, judge_upgrade, subprotocol_of, wants_upgrade
from fastws.errors import Reject
from fastws.net.admission import Admission, Refusal
from fastws.net.connection import HANDSHAKING, Connection
from fastws.net.http import (
    HTML,
    JSON,
    MAX_BODY,
    HttpHandler,
    HttpRequest,
    Site,
    SocketPath,
    answer,
    error_answer,
    result_answer,
)
from fastws.net.session import Details, Session
from fastws.net.stepping import step
from fastws_ext.endpoint import Endpoint
from fastws_ext.handshake import FastIngress
from fastws_ext.loop_data import LoopData

_log: Final = logging.getLogger("fastws.http")
_access: Final = logging.getLogger("fastws.access")

T = TypeVar("T")

READ_METHODS: Final = ("GET", "HEAD")


class Ingress(FastIngress):
    """Decides on requests for all listeners of one worker.

    Refusals are counted in `rejected` by the word for the reason, answers in `outcomes` by HTTP status.
    """

    def __init__(
        self,
        loop_data: LoopData,
        loop: asyncio.AbstractEventLoop,
        site: Site,
        admission: Admission,
        *,
        timeout_s: float,
    ) -> None:
        """`timeout_s`: from accept to a complete request; 0 = no limit."""
        super().__init__(loop_data, handshake_timeout=timeout_s)
        self.site = site
        self.admission = admission
        self.rejected: Counter[str] = Counter()
        self.outcomes: Counter[int] = Counter()
        self.handler_errors = 0
        self._loop = loop
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        # Those whose tasks are upgrade hooks: these have to decide within the time of the handshake.
        self._upgrading: set[int] = set()
        # By number of the connection: the address it was admitted under.
        self._awaiting_body: dict[int, str] = {}
        # Number of the connection, and what its token is worth, while the compiled code hands its request over.
        self._judged: tuple[int, Any] | None = None
        # By number of the connection: the address it was counted under, where that is not its peer's.
        self._counted: dict[int, str] = {}
        self.admit = self._admit_common
        self.recognize = self._recognize
        self.same_host_origins = site.origins == OriginRules()
        self.trust_forwarded = site.proxies is not None
        self.decline_extensions = not any(socket.rules.deflate for socket in site.sockets.values())
        if not (site.upgrade_hooks or site.keep_headers or site.access_log):
            self.routes = {path: socket.endpoint for path, socket in site.sockets.items() if socket.is_common}

    @property
    def pending(self) -> int:
        """Requests whose handlers or hooks are under way."""
        return len(self._tasks)

    # What the wire calls.

    def on_request(self, conn: Connection, data: bytes) -> None:
        """A head is complete, or cannot become one; or the body that was waited for is there."""
        try:
            request = parse_request(data)
        except RequestError as error:
            self._refuse(conn, None, error.status, str(error), "protocol")
            return
        # An upgrade with a body is refused below, in the order of the table; elsewhere the header `Upgrade` is ignored.
        is_upgrade = request.path in self.site.sockets and wants_upgrade(request)
        if request.content_length > MAX_BODY and not is_upgrade:
            self._refuse(conn, request, 413, f"a body has at most {MAX_BODY} bytes", "protocol")
            return
        if request.path == b"/healthz":
            self._answer_check(conn, request, True, {"status": "ok"})
            return
        if request.path == b"/readyz":
            # Not a client: it costs no place, and while nobody is let in it says which check fails.
            ready, checks = self.site.is_ready()
            self._answer_check(conn, request, ready, {"status": "ready" if ready else "unavailable", "checks": checks})
            return
        client = self._client(conn, request)
        if self._awaiting_body.pop(conn.number, None) is None:
            refusal = self.admission.admit(client.address, self.connections)
            if refusal is not None:
                self._refuse_admission(conn, request, refusal)
                return
        socket = self.site.sockets.get(request.path)
        if socket is not None:
            self._upgrade(conn, request, client, socket)
        else:
            self._plain_http(conn, request, client, data)

    def on_handshake_timeout(self, conn: Connection) -> bool:
        """No complete request, or no decision on it, within the time for it. True: it may wait for a handler's
        answer.
        """
        if conn.number in self._tasks and conn.number not in self._upgrading:
            return True
        task = self._tasks.get(conn.number)
        if task is not None:
            _log.error("on_upgrade took longer than the handshake may", extra={"conn": conn.id})
            task.cancel()
        self._refuse(conn, None, 408, "no complete request within the time for it", "handshake-timeout")
        return False

    def on_lost(self, conn: Connection) -> None:
        """The client is gone before anything was opened."""
        address = self._awaiting_body.pop(conn.number, None)
        if address is not None:
            self.admission.release(address)
        task = self._tasks.get(conn.number)
        if task is not None:
            task.cancel()

    def on_released(self, conn: Connection) -> Session | None:
        """A socket is gone. The connection keeps its session while a handler runs that may ask for it."""
        if conn.endpoint is not None:
            address = self._counted.pop(conn.number, None)
            self.admission.release(_peer_address(conn) if address is None else address)
            if self.site.access_log:
                extra = {"conn": conn.id, "status": conn.close_code, "remote": _address_of(conn)}
                _access.info("closed %s %d", conn.path, conn.close_code, extra=extra)
        session: Session | None = conn.session
        return session if session is not None and session.is_busy else None

    def close(self) -> None:
        """Cancel handlers and hooks that are under way."""
        for task in self._tasks.values():
            task.cancel()

    # WebSockets.

    def _admit_common(self, conn: Connection) -> int:
        """Asked by the compiled code for a common upgrade: 0 lets it in, and it will be opened."""
        address = _peer_address(conn)
        refusal = self.admission.admit(address, self.connections)
        if refusal is not None:
            return refusal.status
        self.outcomes[101] += 1
        return 0

    def _recognize(
        self, conn: Connection, endpoint: Endpoint, query: bytes, authorization: bytes | None, protocols: bytes | None
    ) -> bytes | None:
        """Asked by the compiled code for an upgrade that is common but for these: further header lines of the answer
        let it in, None leaves it to the whole table.
        """
        socket = self.site.sockets[endpoint.path.encode("ascii")]
        told = ((b"authorization", authorization), (b"sec-websocket-protocol", protocols))
        headers = tuple((name, value) for name, value in told if value is not None)
        request = Request("GET", b"", query, 11, headers, 0, 0)
        subprotocol = subprotocol_of(request, socket.rules) if protocols is not None else ""
        credentials = socket.authenticate(request) if socket.authenticate is not None else None
        if subprotocol is None or isinstance(credentials, Refuse | Close) or self._admit_common(conn):
            self._judged = conn.number, credentials
            return None
        if socket.wants_request or query or subprotocol:
            details = Details()
            details.credentials = credentials
            details.query = query
            details.subprotocol = subprotocol
            conn.session = Session(details)
        return b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("ascii") if subprotocol else b""

    def _upgrade(self, conn: Connection, request: Request, client: Client, socket: SocketPath) -> None:
        credentials = self._judge(socket.authenticate, conn, request, client)
        is_stranger = socket.rules_of_strangers is not None and getattr(credentials, "token", None) is None
        rules = socket.rules_of_strangers if is_stranger and socket.rules_of_strangers is not None else socket.rules
        verdict = judge_upgrade(request, rules)
        if isinstance(verdict, Accept) and isinstance(credentials, Refuse):
            verdict = credentials
        if isinstance(verdict, Refuse):
            self.admission.release(client.address)
            self._refuse(conn, request, verdict.status, verdict.message, verdict.reason, headers=verdict.headers)
            return
        if not self.site.upgrade_hooks:
            self._accept(conn, request, client, socket, verdict, credentials)
            return

        def decided(refusal: Reject | None) -> None:
            if refusal is None and conn.phase == HANDSHAKING:
                self._accept(conn, request, client, socket, verdict, credentials)
                return
            self.admission.release(client.address)
            if refusal is not None:
                self._refuse(conn, request, refusal.code if refusal.is_http else 403, refusal.reason, "protocol")

        asked = HttpRequest(request, client, credentials=credentials)
        self._start(conn, request, self._ask_hooks(asked), decided, partial(self.admission.release, client.address))
        if conn.number in self._tasks:
            self._upgrading.add(conn.number)

    async def _ask_hooks(self, asked: HttpRequest) -> Reject | None:
        """The refusal of the application's upgrade hooks, if there is one."""
        try:
            for hook in self.site.upgrade_hooks:
                result = hook(asked)
                if isawaitable(result):
                    await result
        except Reject as reject:
            return reject
        return None

    def _accept(
        self,
        conn: Connection,
        request: Request,
        client: Client,
        socket: SocketPath,
        verdict: Accept,
        credentials: Any,
    ) -> None:
        details = Details()
        details.request = request
        details.credentials = credentials
        details.query = request.query
        details.subprotocol = verdict.subprotocol
        if client.address != _peer_address(conn):
            details.client = (client.address, client.port)
            self._counted[conn.number] = client.address
        if socket.wants_request or details.forget_request(self.site.keep_headers):
            conn.session = Session(details)
        self.outcomes[101] += 1
        self._note(conn, request, 101)
        conn.accept(socket.endpoint, verdict.answer, request.head_size, verdict.window_bits)

    # Plain HTTP.

    def _plain_http(self, conn: Connection, request: Request, client: Client, data: bytes) -> None:
        route = self.site.http.get(request.path)
        if route is None:
            self.admission.release(client.address)
            self._built_in(conn, request)
            return
        if not _allows(route.methods, request.method):
            self.admission.release(client.address)
            self._refuse_method(conn, request, route.methods)
            return
        credentials = self._judge(self.site.authenticate if route.auth else None, conn, request, client)
        if isinstance(credentials, Refuse):
            self.admission.release(client.address)
            self._refuse(conn, request, 401, credentials.message, credentials.reason, headers=credentials.headers)
            return
        total = request.head_size + request.content_length
        if len(data) < total:
            if request.get(b"expect") is not None:
                self.admission.release(client.address)
                self._refuse(conn, request, 417, "send the body without waiting for 100 Continue", "protocol")
                return
            self._awaiting_body[conn.number] = client.address
            conn.await_body(total)
            return

        def served(reply: tuple[int, bytes] | Reject) -> None:
            self.admission.release(client.address)
            if isinstance(reply, Reject):
                self._refuse(conn, request, reply.code if reply.is_http else 500, reply.reason, "protocol")
                return
            self.outcomes[reply[0]] += 1
            self._note(conn, request, reply[0])
            conn.respond(reply[1])

        asked = HttpRequest(request, client, data[request.head_size : total], credentials)
        failed = partial(self.admission.release, client.address)
        self._start(conn, request, self._serve(asked, route, request.method == "HEAD"), served, failed)

    async def _serve(self, asked: HttpRequest, route: HttpHandler, head_only: bool) -> tuple[int, bytes] | Reject:
        """(status, whole answer) of a handler, or its refusal."""
        try:
            result = route.handler(asked)
            if isawaitable(result):
                result = await result
        except Reject as reject:
            return reject
        return 204 if result is None else 200, result_answer(result, head_only=head_only)

    def _built_in(self, conn: Connection, request: Request) -> None:
        if request.path == b"/" and self.site.demo_page is not None:
            self._answer_read(conn, request, 200, self.site.demo_page, HTML)
        else:
            self._refuse(conn, request, 404, "there is nothing at this path", "protocol")

    def _answer_check(self, conn: Connection, request: Request, passed: bool, result: dict[str, Any]) -> None:
        self._answer_read(conn, request, 200 if passed else 503, orjson.dumps(result), JSON)

    def _answer_read(self, conn: Connection, request: Request, status: int, body: bytes, content_type: bytes) -> None:
        if request.method not in READ_METHODS:
            self._refuse_method(conn, request, READ_METHODS)
            return
        headers = ((b"Cache-Control", b"no-store"),)
        self.outcomes[status] += 1
        self._note(conn, request, status)
        conn.respond(answer(status, body, content_type, headers=headers, head_only=request.method == "HEAD"))

    # Both.

    def _judge(
        self, authenticate: Callable[[Request], Any] | None, conn: Connection, request: Request, client: Client
    ) -> Any:
        """What is found out about who asks; None where nobody is judged. Whatever it raises gives the place back."""
        judged, self._judged = self._judged, None
        if authenticate is None:
            return None
        if judged is not None and judged[0] == conn.number:
            return judged[1]
        try:
            return authenticate(request)
        except BaseException:
            self.admission.release(client.address)
            raise

    def _start(
        self,
        conn: Connection,
        request: Request,
        coroutine: Coroutine[Any, Any, T],
        decided: Callable[[T], None],
        failed: Callable[[], None],
    ) -> None:
        """Step what the application does about a request, then call one of the two; an exception is answered 500."""
        try:
            result, task = step(coroutine, self._loop)
        except (Exception, asyncio.CancelledError) as error:
            failed()
            self._failed(conn, request, error)
            return
        if task is None:
            decided(cast("T", result))
            return

        def ended(task: asyncio.Task[T]) -> None:
            self._tasks.pop(conn.number, None)
            self._upgrading.discard(conn.number)
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is None:
                decided(task.result())
                return
            failed()
            if conn.phase == HANDSHAKING:
                self._failed(conn, request, error)

        self._tasks[conn.number] = task
        task.add_done_callback(ended)

    def _failed(self, conn: Connection, request: Request, error: BaseException) -> None:
        self.handler_errors += 1
        extra = {"conn": conn.id, "path": request.path.decode("ascii")}
        _log.error("a handler failed (http)", exc_info=error, extra=extra)
        self._refuse(conn, request, 500, "the application failed", "protocol")

    def _client(self, conn: Connection, request: Request) -> Client:
        # A transport that is none of our sockets' says itself whether the client's end is encrypted.
        over_tls = self.site.over_tls or conn.transport.get_extra_info("sslcontext") is not None
        proxies = self.site.proxies
        if proxies is not None:
            told = request.get_all(b"x-forwarded-for"), request.get_all(b"x-forwarded-proto")
            return proxies.client(conn.peer, *told, over_tls=over_tls)
        address = _peer_address(conn)
        return Client(address, conn.peer[1] if conn.peer is not None else 0, over_tls)

    def _refuse_method(self, conn: Connection, request: Request, methods: Sequence[str]) -> None:
        allowed = list(dict.fromkeys([*methods, *(["HEAD"] if "GET" in methods else [])]))
        headers = ((b"Allow", ", ".join(allowed).encode("ascii")),)
        self._refuse(conn, request, 405, f"allowed here: {', '.join(allowed)}", "protocol", headers=headers)

    def _refuse_admission(self, conn: Connection, request: Request, refusal: Refusal) -> None:
        headers = ((b"Retry-After", b"%d" % refusal.retry_after),)
        message = f"no room now ({refusal.reason}), try again in {refusal.retry_after} s"
        self._refuse(conn, request, refusal.status, message, refusal.reason, headers=headers)

    def _refuse(
        self,
        conn: Connection,
        request: Request | None,
        status: int,
        message: str,
        reason: str,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.rejected[reason] += 1
        self.outcomes[status] += 1
        self._note(conn, request, status)
        head_only = request is not None and request.method == "HEAD"
        conn.respond(error_answer(status, message, headers=headers, head_only=head_only))

    def _note(self, conn: Connection, request: Request | None, status: int) -> None:
        if not self.site.access_log:
            return
        method, path = (request.method, request.path.decode("ascii")) if request is not None else ("-", "-")
        extra = {"conn": conn.id, "status": status, "remote": _address_of(conn)}
        _access.info("%s %s %d", method, path, status, extra=extra)


def _allows(methods: Sequence[str], method: str) -> bool:
    """HEAD is answered wherever GET is (RFC 9110 9.3.2)."""
    return method in methods or (method == "HEAD" and "GET" in methods)


def _peer_address(conn: Connection) -> str:
    """The canonical address of the TCP connection's other end; empty on a Unix socket."""
    peer = conn.peer
    if peer is None:
        return ""
    # What the kernel writes for IPv4 is canonical; parsing it would be most of the work for a common upgrade.
    return peer[0] if ":" not in peer[0] else canonical_address(peer[0])


def _address_of(conn: Connection) -> str:
    return conn.remote[0] if conn.remote is not None else ""
