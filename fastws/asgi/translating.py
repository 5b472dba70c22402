"""What ASGI says in dictionaries, as the bytes that stand for it on a connection of HTTP and WebSocket, and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from fastws.core.proxies import canonical_address

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

_KEY: Final = b"AAAAAAAAAAAAAAAAAAAAAA=="
# Of the connection between client and ASGI server, not of the request; and the handshake's, which is made anew.
_NOT_PASSED_ON: Final = frozenset(
    {
        *(b"connection", b"upgrade", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"content-length"),
        *(b"expect", b"proxy-connection", b"sec-websocket-key", b"sec-websocket-version"),
        *(b"sec-websocket-extensions", b"sec-websocket-protocol"),
    }
)
_LENGTH_DIGITS: Final = 18
_SAFE_IN_PATHS: Final = "/:@!$&'()*+,;=~-._"


class Answer(NamedTuple):
    """The head of an HTTP answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    """Names in lower case, without those of the connection."""

    def get(self, name: bytes) -> bytes | None:
        """The value of the header called `name`, or None."""
        return next((value for key, value in self.headers if key == name), None)


def path_of(scope: Scope) -> str:
    """The path below where the application is mounted; frameworks tell that place as `root_path`."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return path or "/"


def upgrade_head(scope: Scope) -> bytes:
    """The head of a `websocket` scope. Raises `ValueError` if something in it would end a line."""
    own = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-version", b"13")]
    own.append((b"sec-websocket-key", _KEY))
    subprotocols = scope.get("subprotocols") or ()
    if subprotocols:
        own.append((b"sec-websocket-protocol", ", ".join(subprotocols).encode("latin-1")))
    return _head(scope, "GET", own)


def request_head(scope: Scope, content_length: int) -> bytes:
    """The head of an `http` scope. Raises `ValueError` if something in it would end a line."""
    own = [(b"content-length", b"%d" % content_length)] if content_length else []
    return _head(scope, scope["method"], own)


def announced_length(scope: Scope) -> int | None:
    """Bytes of the body of an `http` scope, None if it does not say."""
    for name, value in scope["headers"]:
        if name.lower() == b"content-length" and value.isdigit() and len(value) <= _LENGTH_DIGITS:
            return int(value)
    return None


def _head(scope: Scope, method: str, own: list[tuple[bytes, bytes]]) -> bytes:
    target = quote(path_of(scope), safe=_SAFE_IN_PATHS).encode("ascii")
    query: bytes = scope.get("query_string", b"")
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _NOT_PASSED_ON]
    if not any(name.lower() == b"host" for name, _ in headers):
        server = scope.get("server")
        headers.append((b"host", str(server[0]).encode("latin-1") if server else b"localhost"))
    lines = [b"%s %s HTTP/1.1" % (method.encode("latin-1"), target + (b"?" + query if query else b""))]
    lines += [b"%s: %s" % header for header in (*headers, *own)]
    if any(end in line for line in lines for end in (b"\r", b"\n")):
        raise ValueError("a header has a line end in it")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def read_answer(head: bytes) -> Answer:
    """Of a head without its empty line, as this server writes it."""
    first, *lines = head.split(b"\r\n")
    pairs = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)]
    return Answer(int(first.split(b" ")[1]), [pair for pair in pairs if pair[0] not in (b"connection", b"date")])


def peer_of(scope: Scope) -> tuple[str, int] | None:
    """(address, port) of the client; None where it is not known or no address, as with Unix sockets."""
    client = scope.get("client")
    if not client:
        return None
    host, port = str(client[0]), client[1]
    try:
        canonical_address(host)
    except ValueError:
        return None
    return host, int(port or 0)


def client_frame(opcode: int, payload: bytes) -> bytes:
    """One frame as a client sends it (RFC 6455 5.2), with a mask that changes nothing: it crosses no network."""
    size = len(payload)
    if size < 126:
        length = bytes((128 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return b"%c%b\0\0\0\0%b" % (128 | opcode, length, payload)


def server_frames(data: bytearray) -> Iterator[tuple[int, bytes]]:
    """Remove and yield (opcode, payload) of the whole frames at the beginning of `data`; each is a whole message."""
    while len(data) >= 2:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + size:
            return
        opcode, payload = data[0] & 15, bytes(data[start : start + size])
        del data[: start + size]
        yield opcode, payload


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a close frame; 1005 stands for none."""
    return b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()[:123]
