"""A WebSocket client connection over asyncio streams, with wsproto as its protocol."""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from fastws import closes
from fastws.errors import ConfigError, FastWSError
from fastws.net.http import Headers
from fastws.types import CloseInfo

_SECURE = {"ws": False, "http": False, "wss": True, "https": True}
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
# The client writes these itself.
_OWN_HEADERS = re.compile(r"host|connection|upgrade|sec-websocket-.*", re.IGNORECASE)
_MAX_HEAD_BYTES = 65536
_MAX_BODY_BYTES = 4096


class ConnectError(FastWSError):
    """No connection came about; the message says why in one line or a few."""


class RefusedError(ConnectError):
    """The server answered the upgrade with another status than 101."""

    def __init__(self, message: str, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = body
        """At most the first few KiB."""


@dataclass(frozen=True)
class Target:
    """Where to connect and what to say in the upgrade request."""

    url: str
    subprotocols: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    token: str | None = None
    """Sent as `Authorization: Bearer`."""
    uds: str | None = None
    """Path of a Unix socket to connect to, instead of the URL's host and port."""
    insecure: bool = False
    """True to accept any certificate of a wss:// server."""

    @property
    def address(self) -> tuple[str, int, bool]:
        """Host, port and whether TLS is used; raises `ConfigError` if the URL is none of a WebSocket."""
        parts = urlsplit(self.url if "://" in self.url else f"ws://{self.url}")
        try:
            port = parts.port
        except ValueError:
            raise ConfigError(f"{self.url} has no valid port") from None
        if parts.scheme not in _SECURE or not parts.hostname:
            raise ConfigError(f"{self.url} is not a URL such as ws://127.0.0.1:8000/ws or wss://example.com/ws")
        secure = _SECURE[parts.scheme]
        return parts.hostname, port or (443 if secure else 80), secure

    def request(self) -> Request:
        """Return the upgrade request (RFC 6455 4.1)."""
        parts = urlsplit(self.url if "://" in self.url else f"ws://{self.url}")
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in self.headers]
        if self.token is not None:
            headers.append((b"Authorization", b"Bearer " + self.token.encode("ascii", "replace")))
        host = parts.netloc.rpartition("@")[2]
        return Request(host=host, target=target, subprotocols=list(self.subprotocols), extra_headers=headers)


def read_header(text: str) -> tuple[str, str]:
    """Split `NAME: VALUE`; raises `ConfigError` if it is no header, or one that the client writes itself."""
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a header such as 'Origin: https://example.com'")
    if _OWN_HEADERS.fullmatch(match[1]):
        raise ConfigError(f"the header {match[1]} is written by the client itself")
    return match[1], match[2].rstrip()


class Link:
    """An open connection. Read it through `incoming`; the other methods write and may be called at any time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: WSConnection) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = protocol
        self.subprotocol: str | None = None

    @classmethod
    async def open(cls, target: Target) -> "Link":
        """Connect and upgrade; raises `ConnectError` if that fails, `ConfigError` if the target is wrong."""
        streams = await open_streams(target)
        link = cls(*streams, WSConnection(ConnectionType.CLIENT))
        try:
            await link._upgrade(target)
        except BaseException:
            await link.release()
            raise
        return link

    async def _upgrade(self, target: Target) -> None:
        try:
            self._writer.write(self._protocol.send(target.request()))
            head = await self._reader.readuntil(b"\r\n\r\n")
            # wsproto would drop frames that stand behind the head, so it gets the head alone
            self._protocol.receive_data(head)
            answer = next(self._protocol.events(), None)
        except asyncio.IncompleteReadError:
            raise ConnectError("the server closed the connection before it answered") from None
        except (RemoteProtocolError, asyncio.LimitOverrunError, OSError) as error:
            raise ConnectError(f"the server's answer is not HTTP: {error}") from error
        except (LocalProtocolError, UnicodeError) as error:
            raise ConfigError(f"the request cannot be written: {error}") from error
        if isinstance(answer, RejectConnection):
            raise await self._refusal(answer)
        if not isinstance(answer, AcceptConnection):
            raise ConnectError("the server's answer is not an upgrade")
        self.subprotocol = answer.subprotocol

    async def _refusal(self, answer: RejectConnection) -> RefusedError:
        """Describe a refusal: the status, what the client may do, and the body, which says why."""
        body = bytearray()
        finished = not answer.has_body
        while not finished and len(body) < _MAX_BODY_BYTES:
            for event in self._protocol.events():
                if isinstance(event, RejectData):
                    body += event.data
                    finished = finished or event.body_finished
            data = b"" if finished else await self._reader.read(_MAX_BODY_BYTES)
            if not data and not finished:
                break
            if data:
                self._protocol.receive_data(data)
        known = {status.value: status.phrase for status in HTTPStatus}
        lines = [f"refused: {answer.status_code} {known.get(answer.status_code, '')}".rstrip()]
        lines += [
            f"  {name.decode('latin-1').title()}: {value.decode('latin-1')}"
            for name, value in answer.headers
            if name.lower() in (b"retry-after", b"location", b"sec-websocket-version", b"www-authenticate")
        ]
        lines += [f"  {line}" for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
        headers = Headers((bytes(name).lower(), bytes(value)) for name, value in answer.headers)
        return RefusedError("\n".join(lines), answer.status_code, headers, bytes(body))

    async def incoming(self) -> AsyncIterator[str | bytes | Ping | Pong | CloseInfo]:
        """Yield whole messages and control frames as they come; the last thing is how the connection ended."""
        parts: list[str | bytes] = []
        while True:
            try:
                for event in self._protocol.events():
                    for item in self._take(event, parts):
                        yield item
                        if isinstance(item, CloseInfo):
                            return
            except RemoteProtocolError as error:
                yield CloseInfo(closes.PROTOCOL.code, f"(the server broke the protocol: {error})")
                return
            try:
                data = await self._reader.read(65536)
            except OSError:
                data = b""
            if not data:
                yield CloseInfo(closes.ABNORMAL)
                return
            self._protocol.receive_data(data)

    def _take(self, event: Event, parts: list[str | bytes]) -> list[str | bytes | Ping | Pong | CloseInfo]:
        match event:
            case TextMessage() | BytesMessage():
                parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
                if not event.message_finished:
                    return []
                whole = type(parts[0])().join(parts)  # type: ignore[arg-type]
                parts.clear()
                return [whole]
            case Ping():
                self._writer.write(self._protocol.send(event.response()))
                return [event]
            case Pong():
                return [event]
            case CloseConnection():
                if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                    self._writer.write(self._protocol.send(event.response()))
                return [CloseInfo(event.code, event.reason or "")]
            case _:
                return []

    def send_text(self, text: str) -> None:
        """Send one text message."""
        self._send(TextMessage(data=text))

    def send_bytes(self, data: bytes) -> None:
        """Send one binary message."""
        self._send(BytesMessage(data=data))

    async def drain(self) -> None:
        """Wait until what was sent is with the kernel, or nearly; a connection that is lost waits for nothing."""
        try:
            await self._writer.drain()
        except OSError:
            return

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping of at most 125 bytes."""
        self._send(Ping(payload=payload))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the close handshake; `incoming` ends with the server's answer."""
        self._send(CloseConnection(code=code, reason=reason))

    def _send(self, event: Event) -> None:
        """Write unless the connection is closing: then nothing may follow the close frame (RFC 6455 5.5.1)."""
        if self._protocol.state is ConnectionState.OPEN:
            self._writer.write(self._protocol.send(event))

    def abort(self) -> None:
        """Drop the connection; `incoming` ends with 1006."""
        self._writer.transport.abort()

    async def release(self) -> None:
        """Close the socket, whatever state the connection is in."""
        self._writer.close()
        try:
            async with asyncio.timeout(2):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


async def open_streams(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, and say nothing yet; raises `ConnectError` if that fails, `ConfigError` if the target is wrong."""
    host, port, secure = target.address
    context = _tls_context(target) if secure else None
    try:
        if target.uds is not None:
            return await asyncio.open_unix_connection(target.uds, ssl=context, server_hostname=host if secure else None)
        return await asyncio.open_connection(host, port, ssl=context, limit=_MAX_HEAD_BYTES)
    except (OSError, UnicodeError) as error:
        # asyncio's own text of a refused connection repeats the address as a tuple
        why = os.strerror(error.errno) if isinstance(error, ConnectionError) and error.errno else error
        raise ConnectError(f"cannot connect to {target.uds or f'{host}:{port}'}: {why}") from error


def _tls_context(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if target.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
