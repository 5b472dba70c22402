"""A small server that spreads messages as a test tells it, wrongly too."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.bench.test_load import good_upgrade

Spread = Callable[[int, int, bytes], bytes | None]
"""What subscriber N gets for publication M with this payload: whole frames, b"" for nothing, None for the end."""


def text(payload: bytes) -> bytes:
    """A text frame of at most 65,535 bytes."""
    return head(0x81, len(payload)) + payload


def head(first: int, size: int) -> bytes:
    """The head of a server's frame."""
    return bytes([first, size]) if size < 126 else bytes([first, 126]) + size.to_bytes(2, "big")


@dataclass
class Spreading:
    """The server at work: what it has seen."""

    spread: Spread
    piece: int  # bytes of a send
    port: int = 0
    said: list[bytes] = field(default_factory=list)  # by subscribers, pongs among it
    published: list[bytes] = field(default_factory=list)
    subscribers: list[socket.socket] = field(default_factory=list)

    def serve(self, client: socket.socket) -> None:
        """One connection, in a thread of its own."""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = client.makefile("rb")
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return
            request += line
        publishes = request.startswith(b"GET /publish ")
        if not publishes:
            self.subscribers.append(client)
        client.sendall(good_upgrade(request))
        while (frame := read_frame(stream)) is not None:
            opcode, payload = frame
            if opcode == 8:
                break
            if publishes:
                self.publish(payload)
            else:
                self.said.append(payload)
        client.shutdown(socket.SHUT_RDWR)

    def publish(self, payload: bytes) -> None:
        """Give a publication to everyone."""
        self.published.append(payload)
        for number, subscriber in enumerate(self.subscribers):
            frames = self.spread(number, len(self.published) - 1, payload)
            if frames is None:
                subscriber.shutdown(socket.SHUT_RDWR)
            for at in range(0, len(frames or b""), self.piece):
                try:
                    subscriber.sendall((frames or b"")[at : at + self.piece])
                except OSError:  # it has said goodbye
                    break


def read_frame(stream: "socket.SocketIO") -> tuple[int, bytes] | None:
    """Opcode and payload of a client's frame; None at the end."""
    first = stream.read(2)
    if len(first) < 2:
        return None
    size = first[1] & 0x7F
    if size == 126:
        size = int.from_bytes(stream.read(2), "big")
    key = stream.read(4)
    return first[0] & 0x0F, bytes(byte ^ key[i % 4] for i, byte in enumerate(stream.read(size)))


@contextmanager
def spreading_server(spread: Spread, piece: int = 65536) -> Iterator[Spreading]:
    """Serve on 127.0.0.1 until the block is left: `/publish` for the publisher, any other path for subscribers."""
    server = Spreading(spread, piece)
    with accepting(server.serve) as port:
        server.port = port
        yield server


@contextmanager
def accepting(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Call `serve` with each client of 127.0.0.1, in a thread of its own, until the block is left; yields the port."""
    threads: list[threading.Thread] = []

    def handle(client: socket.socket) -> None:
        with client:
            try:
                serve(client)
            except OSError:  # the client has gone without a word
                pass

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=handle, args=(client,), daemon=True))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    acceptor.join(10.0)
    for thread in threads:
        thread.join(10.0)
