"""Clients that do anything at any moment."""

import random
import socket
import ssl
import struct
from typing import Any

from tests.fastws_ext.harness import upgrade_request
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

RESET = struct.pack("ii", 1, 0)


class Peer:
    """A client that says what comes to its mind.

    :param address: of a TCP listener, or the name of a Unix socket.
    :param context: for TLS.
    """

    def __init__(self, address: Any, choices: random.Random, context: ssl.SSLContext | None = None) -> None:
        self.choices = choices
        self.gone = False
        self.socket = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
        self.socket.setblocking(False)
        if choices.random() < 0.3:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            self.socket.connect(address)
        except BlockingIOError:
            pass
        except OSError:
            self.leave(reset=False)  # nobody listens any more
        if context is not None:
            self.socket = context.wrap_socket(self.socket, do_handshake_on_connect=False)
        self.waiting = self.request()

    def request(self) -> bytes:
        """The head to begin with."""
        path = self.choice(("/ws", "/ws", "/ws", "/other"))
        return upgrade_request(path, *self.choice(((), ("X-A: b",), ("Sec-WebSocket-Protocol: a",))))

    def step(self) -> None:
        """One deed; `gone` is set when there is nothing more to do."""
        deed = self.choices.random()
        try:
            if deed < 0.5:
                self.say()
            elif deed < 0.9:
                self.listen(self.socket.recv(self.choice((10, 100_000))))
            elif deed < 0.93:
                self.socket.shutdown(socket.SHUT_WR)
            elif deed < 0.96:
                self.leave(reset=True)
            elif deed < 0.97:
                self.leave(reset=False)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.leave(reset=False)

    def choice(self, of: Any) -> Any:
        return self.choices.choice(of)

    def listen(self, data: bytes) -> None:
        """Whatever it was."""

    def say(self) -> None:
        """Send a piece of what waits to be said, cut anywhere."""
        if len(self.waiting) < 200_000:
            self.waiting += self.thought()
        piece = self.waiting[: self.choice((1, 2, 7, 100, 4096, 10**6))]
        self.waiting = self.waiting[self.socket.send(piece) :]

    def thought(self) -> bytes:
        """A few frames, right or wrong."""
        size = self.choice((0, 1, 125, 126, 3000, 69_999))
        return bytes(
            self.choice(
                (
                    lambda: build_frame(TEXT, b"t" * size),
                    lambda: build_frame(BINARY, bytes(size)),
                    lambda: build_frame(TEXT, b"x") * 300,
                    lambda: build_frame(PING, b"p") * 20,
                    lambda: build_frame(PONG, bytes(8)),
                    lambda: build_frame(TEXT, b"a", fin=False) + build_frame(PING) + build_frame(CONTINUATION, b"b"),
                    lambda: build_frame(BINARY, bytes(size), fin=False),
                    lambda: build_frame(CONTINUATION, bytes(10)),
                    lambda: build_frame(TEXT, "€".encode() * 1000),
                    lambda: build_frame(TEXT, b"\xff" * 10) if self.choices.random() < 0.2 else b"",
                    lambda: self.choices.randbytes(20) if self.choices.random() < 0.2 else b"",
                    lambda: build_frame(TEXT, b"", declared_length=2**63 - 1) if self.choices.random() < 0.1 else b"",
                    lambda: close_frame(self.choice((None, 1000, 4999, 1006))) if self.choices.random() < 0.3 else b"",
                    lambda: build_frame(CLOSE, b"\x03") if self.choices.random() < 0.1 else b"",
                )
            )()
        )

    def leave(self, *, reset: bool) -> None:
        """Close the socket, with RST if asked."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()
        self.gone = True


class Listener(Peer):
    """A client that reads, not always in time, and judges all it hears.

    :raises AssertionError: by `step`: what was sent is no sequence of frames, goes on behind a close frame, or has the
        publications of an audience in another order.
    """

    def __init__(self, address: Any, choices: random.Random, context: ssl.SSLContext | None = None) -> None:
        self.heard = b""
        self.latest: dict[bytes, int] = {}  # number of the last publication, by audience
        self.frames = 0
        self.over = False  # a close frame was heard
        super().__init__(address, choices, context)

    def request(self) -> bytes:
        """The head to begin with."""
        return upgrade_request("/listen")

    def say(self) -> None:
        """Send what is left of the request; then listen."""
        if self.waiting:
            self.waiting = self.waiting[self.socket.send(self.waiting) :]
        elif self.choices.random() < 0.6:
            self.listen(self.socket.recv(self.choice((100, 4000, 200_000))))
        elif self.choices.random() < 0.01:
            self.waiting = self.thought()

    def step(self) -> None:
        """Mostly listen."""
        if self.choices.random() < 0.98:
            try:
                self.say()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except OSError:
                self.leave(reset=False)
        else:
            super().step()

    def listen(self, data: bytes) -> None:
        """Judge what has come."""
        if not data:
            self.leave(reset=False)
        self.heard += data
        if self.heard.startswith(b"HTTP/1.1 "):
            head, end, rest = self.heard.partition(b"\r\n\r\n")
            if not end or b" 101 " not in head:
                return
            self.heard = rest
        elif b"HTTP/1.1 ".startswith(self.heard[:9]):
            return
        while (parsed := parse_frame(self.heard)) is not None:
            frame, size = parsed
            self.heard = self.heard[size:]
            self.judge(frame)

    def judge(self, frame: Frame) -> None:
        """One frame."""
        assert not self.over, f"after a close frame: {frame.opcode} {frame.payload[:50]!r}"
        assert frame.fin, frame
        assert not frame.rsv, frame
        assert not frame.masked, frame
        assert frame.opcode in {TEXT, BINARY, PING, PONG, CLOSE}, frame
        self.frames += 1
        self.over = frame.opcode == CLOSE
        if frame.opcode == TEXT and frame.payload.endswith((b" ", b"p")):
            audience, number, filler = frame.payload.split(b" ", 2)
            wrong = len(filler) - len(filler.lstrip(b"p"))
            assert wrong == len(filler), (
                f"{audience!r} {number!r}: {wrong} of {len(filler)} bytes, then {filler[wrong : wrong + 40]!r}"
            )
            assert int(number) > self.latest.get(audience, 0), "out of order"
            self.latest[audience] = int(number)
