"""The strict parser of a request head: bytes in, an immutable `Request` or a `RequestError` out.

Everything is judged on bytes, in one pass from left to right, and nothing is decoded before it was found to be
ASCII. What RFC 9112 lets a recipient repair (bare LF, folded lines, space before the colon, an empty line in front)
is refused here: whatever two programs on the way may read differently is a way to smuggle a request past one of them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_REQUEST_LINE: Final = 8 * 1024
"""Bytes of a request line without its line end; longer ones answer 414."""

MAX_HEADERS: Final = 100
"""Header lines of one request; more answer 431."""

MAX_HEAD: Final = 16 * 1024
"""Bytes of a whole head with its empty line; more answer 431."""

_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# origin-form only (RFC 9112 3.2.1): a server that is no proxy has no use for the other forms; a fragment never goes
# on the wire
_TARGET: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")
# The value is taken greedily and stripped afterwards: a lazy match with optional space behind it would take quadratic
# time.
_HEADER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)\r\n")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z\-._~%!$&'()*+;=]*)(?::[0-9]{0,5})?")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")

# The parameter `token`, however its name is written. What strangers send is searched once, not taken apart: thousands
# of parameters fit into a query.
_TOKEN: Final = re.compile(rb"(?:^|&)(?:t|%74)(?:o|%6[fF])(?:k|%6[bB])(?:e|%65)(?:n|%6[eE])=([^&]*)")

_VERSIONS: Final = {b"HTTP/1.1": 11, b"HTTP/1.0": 10}
_ONCE: Final = (b"host", b"content-length", b"transfer-encoding", b"authorization")


class RequestError(Exception):
    """The head breaks a rule of syntax or a limit. `status` is the HTTP status to answer; `str(error)` is safe to
    show to the peer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Request(NamedTuple):
    """One request head that passed `parse_request`."""

    method: str
    """As it was sent; methods are case-sensitive."""
    path: bytes
    """The target up to `?`, ASCII, not percent-decoded."""
    query: bytes
    """The target behind the first `?`, ASCII, empty if there is none."""
    version: int
    """10 for HTTP/1.0, 11 for HTTP/1.1."""
    headers: tuple[tuple[bytes, bytes], ...]
    """(name in lower case, value without the space around it), in the order they came."""
    content_length: int
    """Bytes of the body that was announced, 0 if none was."""
    head_size: int
    """Bytes of the head; what follows them is the body, or frames sent early."""

    def get(self, name: bytes) -> bytes | None:
        """The value of the first header called `name` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of the headers called `name` (lower case), in their order."""
        return [value for key, value in self.headers if key == name]

    def items(self, name: bytes) -> list[bytes]:
        """The elements of a comma-separated list that may span several headers (RFC 9110 5.6.1), empty elements left
        out.
        """
        elements = (item.strip(b" \t") for value in self.get_all(name) for item in value.split(b","))
        return [item for item in elements if item]


def parse_request(data: bytes) -> Request:
    """Parse the head at the beginning of `data`, which may go on behind it.

    Raises `RequestError` with 400 (syntax), 414 (request line over `MAX_REQUEST_LINE`) or 431 (`MAX_HEADERS`,
    `MAX_HEAD`). `data` without a complete head raises as well, so call it once the empty line is there or a limit has
    been passed.
    """
    method, path, query, version, position = _request_line(data)
    headers, position = _header_lines(data, position)
    for name in _ONCE:
        if sum(key == name for key, _ in headers) > 1:
            raise RequestError(400, f"the header {name.decode()} came more than once")
    found = dict(headers)
    host = found.get(b"host")
    if host is None and version == 11:
        raise RequestError(400, "HTTP/1.1 asks for a Host header")
    if host is not None and _HOST.fullmatch(host) is None:
        raise RequestError(400, "the Host header is malformed")
    if b"transfer-encoding" in found:
        raise RequestError(400, "Transfer-Encoding is not accepted, send Content-Length")
    length = found.get(b"content-length", b"0")
    if _DIGITS.fullmatch(length) is None:
        raise RequestError(400, "Content-Length is malformed")
    return Request(method, path, query, version, tuple(headers), int(length), position)


def _request_line(data: bytes) -> tuple[str, bytes, bytes, int, int]:
    """(method, path, query, version, position of the first header line)."""
    end = data.find(b"\r\n", 0, MAX_REQUEST_LINE + 2)
    if end < 0:
        start = data[: MAX_REQUEST_LINE + 1]
        if len(start) > MAX_REQUEST_LINE and b"\n" not in start:
            raise RequestError(414, f"the request line is longer than {MAX_REQUEST_LINE} bytes")
        raise RequestError(400, "the request line has no line end of CR LF")
    parts = data[:end].split(b" ")
    if len(parts) != 3:
        raise RequestError(400, "the request line is not: method, one space, target, one space, version")
    method, target, version_name = parts
    if _METHOD.fullmatch(method) is None:
        raise RequestError(400, "the method is malformed")
    if _TARGET.fullmatch(target) is None:
        raise RequestError(400, "the target is malformed, it has to begin with / and be printable ASCII")
    version = _VERSIONS.get(version_name)
    if version is None:
        raise RequestError(400, "the version is neither HTTP/1.1 nor HTTP/1.0")
    path, _, query = target.partition(b"?")
    return method.decode("ascii"), path, query, version, end + 2


def _header_lines(data: bytes, position: int) -> tuple[list[tuple[bytes, bytes]], int]:
    """(headers, position behind the empty line)."""
    headers: list[tuple[bytes, bytes]] = []
    while not data.startswith(b"\r\n", position):
        line = _HEADER.match(data, position, MAX_HEAD)
        if line is None:
            cut = len(data) >= MAX_HEAD and data.find(b"\n", position, MAX_HEAD) < 0
            if cut:
                raise RequestError(431, f"the head is longer than {MAX_HEAD} bytes")
            raise RequestError(400, "a header line is malformed")
        if len(headers) == MAX_HEADERS:
            raise RequestError(431, f"more than {MAX_HEADERS} headers")
        headers.append((line[1].lower(), line[2].strip(b" \t")))
        position = line.end()
    if position + 2 > MAX_HEAD:
        raise RequestError(431, f"the head is longer than {MAX_HEAD} bytes")
    return headers, position + 2


def token_in(query: bytes) -> bytes | None:
    """The first parameter `token` of a query string, as it was sent; None if there is none."""
    found = _TOKEN.search(query)
    return None if found is None else found[1]


def without_token(query: bytes) -> bytes:
    """A query string without the token in it: applications have no use for it, and connections should not keep it."""
    if _TOKEN.search(query) is None:
        return query
    return b"&".join(part for part in query.split(b"&") if _TOKEN.match(part) is None)
