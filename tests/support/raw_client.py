"""A client over a plain blocking socket that can say anything, right or wrong, and reports exactly what it hears."""

import base64
import json
import os
import socket
import ssl
import struct
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.support.frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, build_frame, close_frame, parse_frame

RECEIVE_SIZE = 65536


class Response(NamedTuple):
    """The head of an HTTP answer (names of headers in lower case, the last of several wins) and its body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


class RawClient:
    """One TCP connection. Every operation has a deadline, so that a server that hangs fails the test.

    Pings are answered and not shown, as they may come at any moment: the first one does at a random one.

    :param source: address to connect from, for limits that count per client address.
    :param timeout: seconds that one operation may take.
    :param receive_buffer: SO_RCVBUF in bytes, for a reader that should be slow.
    :param tls: speak TLS with this context; the handshake is done when the constructor returns.
    """

    hears_pings = False
    """Pings are frames like others, and not answered."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        source: str | None = None,
        timeout: float = 30.0,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.received = b""  # not yet taken by a read method
        try:
            if receive_buffer is not None:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect((host, port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except BaseException:
            self.socket.close()
            raise

    # Saying

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_frame(self, opcode: int, payload: bytes = b"", **fields: Any) -> None:
        """Send one frame; `fields` are those of `build_frame`."""
        self.send(build_frame(opcode, payload, **fields))

    def send_text(self, text: str) -> None:
        """Send a text message in one frame."""
        self.send_frame(TEXT, text.encode())

    def send_json(self, value: object) -> None:
        """Send an object as JSON in one text frame."""
        self.send_text(json.dumps(value))

    def send_close(self, code: int | None = 1000, reason: bytes = b"") -> None:
        """Send a close frame."""
        self.send(close_frame(code, reason))

    def shutdown_write(self) -> None:
        """Send FIN and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # The handshake

    def request(self, path: str = "/ws", headers: Iterable[tuple[str, str]] = (), **replaced: str | None) -> bytes:
        """The bytes of an upgrade request, `headers` after the usual ones.

        :param replaced: sets, or with None leaves out, one of the usual ones: `host`, `upgrade`, `connection`,
            `sec_websocket_key`, `sec_websocket_version`.
        """
        peer = self.socket.getpeername()
        usual: dict[str, str | None] = {
            "host": f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}",
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec_websocket_key": base64.b64encode(os.urandom(16)).decode(),
            "sec_websocket_version": "13",
        }
        unknown = replaced.keys() - usual.keys()
        assert not unknown, unknown
        lines = [f"GET {path} HTTP/1.1"]
        fields = [(name.replace("_", "-").title(), value) for name, value in (usual | replaced).items()]
        lines += [f"{name}: {value}" for name, value in [*fields, *headers] if value is not None]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def upgrade(self, path: str = "/ws", headers: Iterable[tuple[str, str]] = (), **replaced: str | None) -> Response:
        """Send an upgrade request and return the answer, which has to be 101."""
        self.send(self.request(path, headers, **replaced))
        response = self.read_response()
        assert response.status == 101, response
        return response

    def read_response(self) -> Response:
        """Read the head of an HTTP answer, and the body that its Content-Length announces."""
        while b"\r\n\r\n" not in self.received:
            self._receive()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = self.read_exactly(int(headers.get("content-length", "0")))
        return Response(int(status_line.split(" ", 2)[1]), headers, body)

    # Hearing

    def _receive(self) -> None:
        data = self.socket.recv(RECEIVE_SIZE)
        if not data:
            raise EOFError(f"the server ended the connection; before that, unread: {self.received[:200]!r}")
        self.received += data

    def read_exactly(self, count: int) -> bytes:
        """Read `count` bytes."""
        while len(self.received) < count:
            self._receive()
        data, self.received = self.received[:count], self.received[count:]
        return data

    def read_frame(self) -> Frame:
        """Read one frame."""
        while (parsed := self._next_frame()) is None:
            self._receive()
        return parsed

    def _next_frame(self) -> Frame | None:
        """Take a frame that is here as a whole."""
        while (parsed := parse_frame(self.received)) is not None:
            frame, size = parsed
            self.received = self.received[size:]
            if frame.opcode != PING or self.hears_pings:
                return frame
            with suppress(OSError):  # the server may be gone, and what it said before is here
                self.send_frame(PONG, frame.payload)
        return None

    def read_message(self) -> str | bytes:
        """Read one frame, which has to be a whole text or binary message."""
        frame = self.read_frame()
        assert frame.fin, frame
        assert frame.opcode in (TEXT, BINARY), frame
        return frame.payload.decode() if frame.opcode == TEXT else frame.payload

    def read_json(self) -> Any:
        """Read one text message of JSON."""
        return json.loads(self.read_message())

    def read_close(self) -> tuple[int, str]:
        """Read one frame, which has to be a close frame: its code (1005 if it has none) and reason."""
        frame = self.read_frame()
        assert frame.opcode == CLOSE, frame
        return frame.close_code, frame.close_reason

    def read_until_eof(self) -> bytes:
        """Everything up to the server's FIN.

        :raises ConnectionResetError: the server sent RST instead.
        """
        while True:
            data = self.socket.recv(RECEIVE_SIZE)
            if not data:
                break
            self.received += data
        data, self.received = self.received, b""
        return data

    def frames_until_eof(self) -> list[Frame]:
        """Every frame up to the server's FIN; the last one has to be whole."""
        self.received = self.read_until_eof()
        frames = []
        while (frame := self._next_frame()) is not None:
            frames.append(frame)
        assert not self.received, f"half a frame at the end: {self.received[:50]!r}"
        return frames

    def ending(self) -> str:
        """How the server ends the connection: "fin" or "rst". What comes before that is dropped."""
        try:
            self.read_until_eof()
        except ConnectionResetError:
            return "rst"
        return "fin"

    def silent_for(self, seconds: float) -> bool:
        """Whether nothing, not even an end, comes for that long."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.received += self.socket.recv(RECEIVE_SIZE)
        except TimeoutError:
            return not self.received
        finally:
            self.socket.settimeout(before)
        parsed = parse_frame(self.received)
        if parsed is None or parsed[0].opcode != PING or self.hears_pings or parsed[1] < len(self.received):
            return False
        self.received = b""
        return True

    def close(self) -> None:
        """Close the socket without a word."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
