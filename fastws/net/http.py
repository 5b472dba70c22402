"""HTTP on the public port: what is served there, answers as bytes, and the request as applications see it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import orjson

from fastws.core.proxies import Client, TrustedProxies
from fastws.core.request import Request, without_token
from fastws.core.upgrade import OriginRules, UpgradeRules
from fastws.errors import UsageError
from fastws_ext.endpoint import Endpoint

MAX_BODY: Final = 64 * 1024
"""Bytes of a request body; more answer 413."""

JSON: Final = b"application/json"
TEXT: Final = b"text/plain; charset=utf-8"
HTML: Final = b"text/html; charset=utf-8"
BINARY: Final = b"application/octet-stream"

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_OWN_HEADERS: Final = frozenset({"connection", "content-length", "content-type", "date", "transfer-encoding"})

# What must not get into a log by being printed. A token may be in the last one.
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization", "sec-websocket-protocol"})

_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class _Date:
    """`Date` as RFC 9110 6.6.1 asks for, written once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""

    def now(self) -> bytes:
        second = int(time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True).encode("ascii")
        return self._text


_date: Final = _Date()


def answer(
    status: int,
    body: bytes = b"",
    content_type: bytes = TEXT,
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    head_only: bool = False,
) -> bytes:
    """A whole HTTP answer, always the last one on its connection. `head_only`: what HEAD gets, without the body."""
    lines = [b"HTTP/1.1 %d %s" % (status, _PHRASES.get(status, b"Status")), b"Date: " + _date.now()]
    if status not in (204, 304):
        lines += [b"Content-Type: " + content_type, b"Content-Length: %d" % len(body)]
    lines += [b"%s: %s" % header for header in headers]
    head = b"\r\n".join(lines) + b"\r\nConnection: close\r\n\r\n"
    return head if head_only or status in (204, 304) else head + body


def error_answer(
    status: int, message: str, *, headers: Iterable[tuple[bytes, bytes]] = (), head_only: bool = False
) -> bytes:
    """An answer that refuses, with a JSON body saying why: `{"error": {"status", "reason", "message"}}`."""
    reason = _PHRASES.get(status, b"Status").decode("ascii")
    body = orjson.dumps({"error": {"status": status, "reason": reason, "message": message or reason}})
    return answer(status, body, JSON, headers=headers, head_only=head_only)


class HttpResponse:
    """An answer of a handler of `@app.http` that is more than its body: another status, type or headers.

    :param body: str (sent as UTF-8), bytes, a dict or list (JSON), or None for an empty one.
    :param status: 200 to 599.
    :param content_type: such as `text/html; charset=utf-8`; by default what belongs to the type of the body.
    :param headers: further ones. `Date`, `Content-Length` and `Connection` are the server's.
    :raises UsageError: a status or header that cannot be sent.
    """

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        body: object = None,
        *,
        status: int = 200,
        content_type: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not 200 <= status <= 599:
            raise UsageError(f"HttpResponse(status={status!r}) cannot be sent", "use a status from 200 to 599")
        self.body = body
        self.status = status
        self.content_type = _field(content_type)
        self.headers = tuple(_header(name, value) for name, value in (headers or {}).items())


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    """A header as bytes (RFC 9110 5.1, 5.5): a name is a token, a value has no control characters."""
    if not _TOKEN.fullmatch(name) or name.lower() in _OWN_HEADERS:
        raise UsageError(f"HttpResponse cannot send the header {name!r}", "headers are name: value, both str")
    return name.encode("ascii"), _field(value)


def _field(value: str) -> bytes:
    if not value.isprintable():
        raise UsageError(f"HttpResponse cannot send {value!r} in its head", "line breaks may only be in the body")
    return value.encode("latin-1", "replace")


def result_answer(result: object, *, head_only: bool = False) -> bytes:
    """The answer for what a handler of `@app.http` returned.

    dict or list: JSON; str: text; bytes: octet-stream; None: 204; `HttpResponse`: as it says. Raises `UsageError` for
    anything else, and for what JSON cannot hold.
    """
    if isinstance(result, HttpResponse):
        body, content_type = _content(result.body)
        content_type = result.content_type or content_type
        return answer(result.status, body, content_type, headers=result.headers, head_only=head_only)
    if result is None:
        return answer(204, head_only=head_only)
    body, content_type = _content(result)
    return answer(200, body, content_type, head_only=head_only)


def _content(body: object) -> tuple[bytes, bytes]:
    """What is sent for a body, and its type."""
    if body is None:
        return b"", TEXT
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass"), TEXT
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), BINARY
    if isinstance(body, dict | list):
        try:
            return orjson.dumps(body), JSON
        except TypeError as error:
            raise UsageError(f"the handler returned what JSON cannot hold: {error}") from error
    raise UsageError(
        f"the handler returned a {type(body).__name__}",
        "return a dict, a list, str, bytes, None (204) or an HttpResponse",
    )


class Headers(Mapping[str, str]):
    """Headers of a request: names in any case, values as Latin-1; one that came several times is joined with commas."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._pairs = tuple(pairs)

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.decode("latin-1") for key, _ in self._pairs))

    def __len__(self) -> int:
        return len({key for key, _ in self._pairs})

    def __repr__(self) -> str:
        return f"Headers({ {name: '***' if name in _SECRET else value for name, value in self.items()} })"

    def get_all(self, name: str) -> list[str]:
        """Every value of the headers called `name`, in their order."""
        key = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for own, value in self._pairs if own == key]


def parse_query(query: bytes) -> dict[str, str]:
    """The parameters of a query string, percent-decoded; of several with one name the last counts."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))


class HttpRequest:
    """A request as handlers of `@app.http` and `@app.on_upgrade` see it."""

    __slots__ = ("_credentials", "_request", "body", "client")

    def __init__(self, request: Request, client: Client, body: bytes = b"", credentials: Any = None) -> None:
        self._request = request
        self._credentials = credentials
        self.client = client
        self.body = body
        """At most `MAX_BODY` bytes; empty for an upgrade."""

    @property
    def method(self) -> str:
        return self._request.method

    @property
    def path(self) -> str:
        """The target up to `?`, not percent-decoded."""
        return self._request.path.decode("ascii")

    @property
    def query(self) -> dict[str, str]:
        """Without `token` where the server takes it for a token of its own: nobody shall log that."""
        query = self._request.query
        return parse_query(query if self._credentials is None else without_token(query))

    @property
    def headers(self) -> Headers:
        return Headers(self._request.headers)

    @property
    def remote(self) -> tuple[str, int] | None:
        """(address, port) of the client; the port is 0 if only a proxy knows it; None on a Unix socket."""
        return (self.client.address, self.client.port) if self.client.address else None

    @property
    def scheme(self) -> str:
        """`https` over TLS and where a trusted proxy says so, else `http`."""
        return "https" if self.client.secure else "http"

    @property
    def user(self) -> str:
        """Who asks; empty if anonymous, and where no token is taken."""
        return getattr(self._identity, "user", "")

    @property
    def tenant(self) -> str:
        """Empty if there is none."""
        return getattr(self._identity, "tenant", "")

    @property
    def device(self) -> str:
        """`default` unless the token names one."""
        return getattr(self._identity, "device", "default")

    @property
    def info(self) -> Any:
        """What is public about the user; None if the token has nothing."""
        return getattr(self._identity, "info", None)

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of the token; empty without one."""
        return dict(getattr(self._credentials, "claims", None) or {})

    @property
    def _identity(self) -> Any:
        return getattr(self._credentials, "identity", None)

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` if it is none."""
        return orjson.loads(self.body)


class HttpHandler(Protocol):
    """A route of `@app.http`."""

    @property
    def handler(self) -> Callable[[HttpRequest], Any]: ...

    @property
    def methods(self) -> Sequence[str]: ...

    @property
    def auth(self) -> bool:
        """It is for authenticated clients only."""


@dataclass(frozen=True, slots=True)
class SocketPath:
    """A path on which WebSockets are opened."""

    endpoint: Endpoint
    rules: UpgradeRules
    wants_request: bool = False
    """The endpoint's `on_open` looks at the request, so a request that was read here is always in the session."""
    is_common: bool = True
    """It can do without the request: of a common upgrade it is told query, credentials and subprotocol alone."""
    authenticate: Callable[[Request], Any] | None = None
    """Judges who it is, before the application is asked: a `Refuse`, or what `on_open` finds as the credentials of the
    session's details. It is None only for those who were not judged.
    """
    rules_of_strangers: UpgradeRules | None = None
    """What holds for upgrades without a token, if that is something else."""


@dataclass(slots=True)
class Site:
    """What is served on the public port."""

    sockets: Mapping[bytes, SocketPath]
    http: Mapping[bytes, HttpHandler] = field(default_factory=dict)
    upgrade_hooks: Sequence[Callable[[HttpRequest], Any]] = ()
    keep_headers: Collection[bytes] = ()
    demo_page: bytes | None = None
    """What `/` shows where the application has nothing there."""
    origins: OriginRules = field(default_factory=OriginRules)
    proxies: TrustedProxies | None = None
    """None: `X-Forwarded-*` is ignored."""
    is_ready: Callable[[], tuple[bool, dict[str, Any]]] = lambda: (True, {})
    """For `/readyz`: whether it is, and the checks by name."""
    authenticate: Callable[[Request], Any] | None = None
    """Judges who asks for routes with `auth`: a `Refuse`, or credentials."""
    access_log: bool = False
    over_tls: bool = False
    """Clients speak TLS to this server."""
