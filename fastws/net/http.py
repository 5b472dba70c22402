"""Plain HTTP on the public port: answers as bytes, and the request as applications see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from fastws.core.proxies import Client
from fastws.core.request import Request
from fastws.errors import UsageError

MAX_BODY: Final = 64 * 1024
"""Bytes of a request body; more answer 413."""

JSON: Final = b"application/json"
TEXT: Final = b"text/plain; charset=utf-8"
HTML: Final = b"text/html; charset=utf-8"
BINARY: Final = b"application/octet-stream"

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


def result_answer(result: object, *, head_only: bool = False) -> bytes:
    """The answer for what a handler of `@app.http` returned.

    dict or list: JSON; str: text; bytes: octet-stream; None: 204. Raises `UsageError` for anything else, and for what
    JSON cannot hold.
    """
    if result is None:
        return answer(204, head_only=head_only)
    if isinstance(result, str):
        return answer(200, result.encode("utf-8", "surrogatepass"), TEXT, head_only=head_only)
    if isinstance(result, bytes | bytearray | memoryview):
        return answer(200, bytes(result), BINARY, head_only=head_only)
    if isinstance(result, dict | list):
        try:
            body = orjson.dumps(result)
        except TypeError as error:
            raise UsageError(f"the handler returned what JSON cannot hold: {error}") from error
        return answer(200, body, JSON, head_only=head_only)
    raise UsageError(
        f"the handler returned a {type(result).__name__}", "return a dict, a list, str, bytes or None (204)"
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
        return f"Headers({dict(self)})"

    def get_all(self, name: str) -> list[str]:
        """Every value of the headers called `name`, in their order."""
        key = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for own, value in self._pairs if own == key]


def parse_query(query: bytes) -> dict[str, str]:
    """The parameters of a query string, percent-decoded; of several with one name the last counts."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))


class HttpRequest:
    """A request as handlers of `@app.http` and `@app.on_upgrade` see it."""

    __slots__ = ("_request", "body", "client")

    def __init__(self, request: Request, client: Client, body: bytes = b"") -> None:
        self._request = request
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
        return parse_query(self._request.query)

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

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` if it is none."""
        return orjson.loads(self.body)
