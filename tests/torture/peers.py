"""Clients that do anything at any moment."""

import random
import socket
import ssl
import struct
from typing import Any

from tests.fastws_ext.harness import upgrade_request
from tests.support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, build_frame, close_frame

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
        path = choices.choice(("/ws", "/ws", "/ws", "/other"))
        self.waiting = upgrade_request(path, *choices.choice(((), ("X-A: b",), ("Sec-WebSocket-Protocol: a",))))

    def step(self) -> None:
        """One deed; `gone` is set when there is nothing more to do."""
        deed = self.choices.random()
        try:
            if deed < 0.5:
                self.say()
            elif deed < 0.9:
                self.socket.recv(self.choice((10, 100_000)))
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
