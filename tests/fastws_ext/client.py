"""A client inside the test's own loop that may say anything and does nothing unasked."""

import asyncio
import base64
import os
import socket
import struct
from typing import Any

from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    build_frame,
    close_frame,
    parse_frame,
)

PATIENCE_S = 30.0  # for one operation; a test that waits so long has failed

# A message of every kind of frame that is right, as a client sends them, and what comes back for them.
STREAM = (
    build_frame(TEXT, "grüße €".encode()),
    build_frame(PING, b"one"),
    build_frame(TEXT, "frag-€".encode()[:6], fin=False),
    build_frame(PING, b"between"),
    build_frame(CONTINUATION, "frag-€".encode()[6:7], fin=False),
    build_frame(PONG, b"unasked"),
    build_frame(CONTINUATION, "frag-€".encode()[7:]),
    build_frame(BINARY, bytes(range(130))),
    build_frame(BINARY, b"", fin=False),
    build_frame(CONTINUATION, b""),
)
ANSWERS = [
    Frame(TEXT, "grüße €".encode()),
    Frame(PONG, b"one"),
    Frame(PONG, b"between"),
    Frame(TEXT, "frag-€".encode()),
    Frame(BINARY, bytes(range(130))),
    Frame(BINARY, b""),
]


async def turns(count: int) -> None:
    """Let the loop turn `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)


def upgrade_request(path: str = "/ws", *lines: str) -> bytes:
    """An upgrade request that needs no judgement; `lines` are headers after the usual ones."""
    usual = (
        f"GET {path} HTTP/1.1",
        "Host: example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    )
    return "\r\n".join([*usual, *lines, "", ""]).encode("latin-1")


class Client:
    """One TCP connection. Every operation has a deadline; nothing is done unasked, not even answering a close."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = b""  # not yet taken by a read method
        self.loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        async with asyncio.timeout(PATIENCE_S):
            await self.loop.sock_sendall(self.socket, data)

    def send_now(self, data: bytes) -> int:
        """Send what the socket takes without a turn of the loop; returns the bytes taken, 0 when it is full."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    async def send_frame(self, opcode: int, payload: bytes = b"", **fields: Any) -> None:
        """Send one frame; `fields` are those of `build_frame`."""
        await self.send(build_frame(opcode, payload, **fields))

    async def send_in_pieces(self, *pieces: bytes) -> None:
        """Send so that the server reads each piece by itself."""
        for piece in pieces:
            await self.send(piece)
            await turns(4)

    async def send_close(self, code: int | None = 1000, reason: bytes = b"") -> None:
        """Send a close frame; None for one without a code."""
        await self.send(close_frame(code, reason))

    def shutdown_write(self) -> None:
        """Send FIN and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close the socket without a word."""
        self.socket.close()

    async def receive(self) -> bytes:
        """The next bytes, b"" at the server's FIN, kept in `received` as well."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self.loop.sock_recv(self.socket, 262144)
        self.received += data
        return data

    async def read_exactly(self, count: int) -> bytes:
        """Read `count` bytes. :raises EOFError: the server ended the connection before."""
        while len(self.received) < count:
            await self._more()
        data, self.received = self.received[:count], self.received[count:]
        return data

    async def _more(self) -> None:
        if not await self.receive():
            raise EOFError(f"the server ended the connection; unread: {self.received[:200]!r}")

    async def read_response(self) -> tuple[int, dict[str, str]]:
        """(status, headers in lower case) of an HTTP answer; a body stays unread."""
        while b"\r\n\r\n" not in self.received:
            await self._more()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def read_frame(self) -> Frame:
        """Read one frame."""
        while (parsed := parse_frame(self.received)) is None:
            await self._more()
        frame, size = parsed
        self.received = self.received[size:]
        return frame

    async def read_message(self) -> str | bytes:
        """Read one frame, which has to be a whole message."""
        frame = await self.read_frame()
        assert frame.fin, frame
        assert frame.opcode in (TEXT, BINARY), frame
        return frame.payload.decode() if frame.opcode == TEXT else frame.payload

    async def read_close(self) -> tuple[int, str]:
        """Read one frame, which has to be a close frame: its code (1005 if it has none) and reason."""
        frame = await self.read_frame()
        assert frame.opcode == CLOSE, frame
        return frame.close_code, frame.close_reason

    async def read_until_eof(self) -> bytes:
        """Everything up to the server's FIN. :raises ConnectionResetError: the server sent RST instead."""
        while await self.receive():
            pass
        data, self.received = self.received, b""
        return data

    async def frames_until_eof(self) -> list[Frame]:
        """Every frame up to the server's FIN; the last one has to be whole."""
        data = await self.read_until_eof()
        frames = []
        while data:
            parsed = parse_frame(data)
            assert parsed is not None, f"half a frame at the end: {data[:50]!r}"
            frames.append(parsed[0])
            data = data[parsed[1] :]
        return frames

    async def ending(self) -> str:
        """How the server ends the connection, "fin" or "rst"; what comes before that is dropped."""
        try:
            await self.read_until_eof()
        except ConnectionResetError:
            return "rst"
        return "fin"

    def heard_nothing(self) -> bool:
        """Whether nothing, not even an end, has arrived and is unread."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self.received
        return False
