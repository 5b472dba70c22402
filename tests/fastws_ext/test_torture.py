"""Peers and handlers that do anything at any moment; at the end nothing may be left of them.

FASTWS_TEST_TORTURE_S is the time in seconds for each kind of transport, and
FASTWS_TEST_TORTURE_SEED the first of the numbers that the choices are drawn with. Worth running on a build with
sanitizers (`make sanitize`) after every change of how connections live and die.
"""

import functools
import gc
import os
import random
import socket
import struct
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from fastws_ext.wire import Wire
from tests.fastws_ext.harness import TRANSPORTS, Server, run, serving, turns, upgrade_request
from tests.support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, build_frame, close_frame

SECONDS = float(os.environ.get("FASTWS_TEST_TORTURE_S", "1.5"))
SEED = int(os.environ.get("FASTWS_TEST_TORTURE_SEED", "1"))
PEERS = 24
ROUND_S = 1.5  # then everything has to be gone, and a new server begins
RESET = struct.pack("ii", 1, 0)

LIMITS: dict[str, Any] = {
    "max_message_size": 70_000,
    "max_fragments": 8,
    "max_outbox": 150_000,
    "ping_interval": 0.3,
    "ping_timeout": 0.3,
    "message_timeout": 0.4,
    "close_timeout": 0.3,
}


class Traced(Wire):
    """A connection that tells when it is gone."""

    __slots__ = ("__weakref__",)


class Owner:
    """A session that leads back to its connection, as sessions do."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn


class Handlers:
    """Does something at random in every callback, to the connection it is called for and to others."""

    def __init__(self, choices: random.Random) -> None:
        self.choices = choices
        self.server: Server
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.audiences: list[Audience] = []
        self.undecided: list[Any] = []
        self.pass_ns = 2_000_000
        self.opened = self.closed = self.depth = 0
        self.reported = 0  # what on_request raised, which has no on_error to go to
        self.deeds: list[Callable[[Any], Any]] = [
            lambda conn: conn.send("x" * choices.choice((0, 1, 125, 126, 5000))),
            lambda conn: conn.send(bytes(choices.choice((0, 200, 60_000, 300_000)))),
            lambda conn: conn.send_frame(encode_frame(BINARY, bytes(choices.choice((1, 30_000))))),
            lambda conn: conn.ping(b"p" * choices.choice((0, 125))),
            lambda conn: conn.close(choices.choice((1000, 1005, 4000)), "r" * choices.choice((0, 5, 200))),
            lambda conn: conn.abort(),
            lambda conn: conn.pause_reading(),
            lambda conn: conn.resume_reading(),
            lambda conn: conn.set_deadline(choices.choice((0, 0.1, 0.2, 1e9))),
            lambda conn: conn.set_ping_interval(choices.choice((0, 0.01, 0.2, 1e9))),
            lambda conn: conn.respond(b"HTTP/1.1 404 Not Found\r\n\r\n"),
            lambda conn: conn.accept(self.server.endpoint, b"HTTP/1.1 101 late\r\n\r\n", 3),
            lambda conn: conn.await_body(10),
            lambda conn: setattr(conn, "session", Owner(conn)),
            lambda conn: setattr(self.server.loop_data, "pass_ns", choices.choice((0, 20_000, 2_000_000))),
            self.join,
            self.join,
            self.join,
            self.leave,
            self.leave,
            self.publish,
            self.publish,
            self.publish,
            self.use_transport,
            self.fail,
        ]

    def callbacks(self) -> dict[str, Any]:
        """For an endpoint."""
        return {
            "on_open": self.on_open,
            "on_message": self.on_message,
            "on_close": self.on_close,
            "on_drain": self.act,
            "on_deadline": self.act,
            "on_result": lambda conn, result: self.act(conn),
            "on_error": lambda conn, error, where: None,
        }

    def on_open(self, conn: Any) -> Any:
        self.alive.add(conn)
        self.opened += 1
        conn.session = Owner(conn)
        return self.act(conn)

    def on_message(self, conn: Any, message: str | bytes) -> Any:
        return self.act(conn)

    def on_close(self, conn: Any, code: int, reason: str) -> Any:
        self.closed += 1
        return self.act(conn)

    def on_request(self, conn: Any, data: bytes) -> None:
        """Decide at once, wrongly, late or never."""
        self.alive.add(conn)
        deed = self.choices.randrange(6)
        head = data.find(b"\r\n\r\n") + 4
        if deed == 0:
            conn.respond(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif deed in (1, 2):
            conn.accept(self.server.endpoint, b"HTTP/1.1 101 x\r\n\r\n", head, self.choices.choice((0, 9)))
        elif deed == 3:
            conn.await_body(len(data) + self.choices.choice((-5, 1, 50)))
        elif deed == 4:
            self.undecided.append(conn)
        else:
            try:
                self.act(conn)
            except BaseException:
                self.reported += 1
                raise

    def on_handshake_timeout(self, conn: Any) -> Any:
        """Grant, refuse or answer."""
        if self.choices.random() < 0.3:
            conn.respond(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        return self.choices.random() < 0.5

    def act(self, conn: Any) -> Any:
        """A few deeds, mostly to `conn`. Callbacks within callbacks end after a while."""
        if self.depth > 4:
            return None
        self.depth += 1
        try:
            for _ in range(self.choices.choice((0, 1, 1, 2, 5))):
                one = conn if self.choices.random() < 0.7 else self.anybody() or conn
                self.choices.choice(self.deeds)(one)
            if self.choices.random() < 0.002:
                for one in list(self.alive):
                    self.choices.choice((one.abort, one.close))()
        finally:
            self.depth -= 1
        return "something" if self.choices.random() < 0.1 else None

    def anybody(self) -> Any:
        everybody = list(self.alive)
        return self.choices.choice(everybody) if everybody else None

    def join(self, conn: Any) -> None:
        self.choices.choice(self.audiences).add(conn)

    def leave(self, conn: Any) -> None:
        self.choices.choice(self.audiences).discard(conn)

    def publish(self, conn: Any) -> None:
        frame = encode_frame(TEXT, "p" * self.choices.choice((1, 300, 20_000)))
        exclude = conn if self.choices.random() < 0.3 else None
        self.choices.choice(self.audiences).publish((frame,), exclude, self.choices.choice((None, b"a", b"b")))

    def use_transport(self, conn: Any) -> None:
        transport = conn.transport
        if transport is not None:
            self.choices.choice((transport.close, transport.abort, transport.is_closing))()

    def fail(self, conn: Any) -> None:
        raise self.choices.choice((ValueError, KeyboardInterrupt, SystemExit))

    def decide_late(self) -> None:
        """What was left undecided, and what nobody resumes."""
        for conn in self.undecided:
            self.choice_of_answer(conn)
        self.undecided.clear()
        for conn in list(self.alive):
            conn.resume_reading()

    def choice_of_answer(self, conn: Any) -> None:
        if self.choices.random() < 0.5:
            conn.accept(self.server.endpoint, b"HTTP/1.1 101 late\r\n\r\n", 10**9)
        else:
            conn.respond(b"")


class Peer:
    """A client that says what comes to its mind."""

    def __init__(self, address: tuple[str, int], choices: random.Random) -> None:
        self.choices = choices
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if choices.random() < 0.3:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.waiting = b""
        self.gone = False
        try:
            self.socket.connect(address)
        except BlockingIOError:
            pass
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
        except BlockingIOError:
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


async def one_round(transport: str, seed: int, seconds: float) -> None:
    """A server, its peers for `seconds`, and the count of what is left."""
    choices = random.Random(seed)
    handlers = Handlers(choices)
    made: weakref.WeakSet[Any] = weakref.WeakSet()

    def connection(ingress: Any) -> Any:
        conn = Traced(ingress)
        made.add(conn)
        return conn

    options: dict[str, Any] = {
        **LIMITS,
        **handlers.callbacks(),
        "handshake_timeout": 0.4,
        "keep": False,
        "internal_errors": True,
    }
    async with serving(transport, connection_class=connection, **options) as server:
        handlers.server = server
        server.on_request, server.on_handshake_timeout = handlers.on_request, handlers.on_handshake_timeout
        handlers.audiences = [Audience(server.loop_data, policy) for policy in (0, 1, 2)]
        peers: list[Peer] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            peers = [peer for peer in peers if not peer.gone]
            if len(peers) < PEERS:
                peers.append(Peer(server.address, choices))
            for peer in choices.sample(peers, choices.randint(1, len(peers))):
                if not peer.gone:
                    peer.step()
            if choices.random() < 0.02:
                handlers.decide_late()
            await turns(choices.choice((0, 1, 1, 3)))
        await clean_up(server, handlers, peers, made)
        assert server.loop_data.errors == len(server.internal) == handlers.reported, server.internal
        assert server.loop_data.backlog == (0, 0, 0)
        server.errors.clear()  # with their frames
        server.internal.clear()
        gc.collect()
        assert handlers.opened == handlers.closed == server.endpoint.opened == sum(server.endpoint.closed.values())
        assert handlers.opened > 0
        assert [len(audience) for audience in handlers.audiences] == [0, 0, 0]
        assert list(made) == []
        if server.reactor is not None:
            assert server.reactor.connections() == []
            assert server.ingress.released == server.reactor.accepted


async def clean_up(server: Server, handlers: Handlers, peers: list[Peer], made: weakref.WeakSet[Any]) -> None:
    """Everybody goes, and nobody opens anything any more."""
    handlers.depth = 5
    server.loop_data.pass_ns = handlers.pass_ns
    for peer in peers:
        peer.leave(reset=False)
    await turns(20)  # who is still in the backlog comes in
    for conn in list(made):
        conn.abort()
    del conn
    handlers.undecided.clear()
    await server.all_closed()
    await turns(5)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_torture(transport: str) -> None:
    run(transport, nothing)  # what the first loop opens for good is not counted
    before = len(os.listdir("/proc/self/fd"))
    seed, end = SEED, time.monotonic() + SECONDS
    while (left := end - time.monotonic()) > 0:
        run(transport, functools.partial(one_round, transport, seed, min(left, ROUND_S)))
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before, f"descriptors, seed {seed}"
        seed += 1


async def nothing() -> None:
    """A loop that does nothing."""
