"""Handlers that do anything at any moment: to the connection they are called for, to others, to everybody."""

import os
import random
import time
import weakref
from collections.abc import Callable
from typing import Any

from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from fastws_ext.wire import Wire
from tests.support.frames import BINARY, TEXT
from tests.torture.servers import TorturedServer

WITNESS = b"X-Witness: "  # a header of requests that are answered as they should be


class Traced(Wire):
    """A connection that tells when it is gone."""

    __slots__ = ("__weakref__",)


class Owner:
    """A session that leads back to its connection, as sessions do."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn


class Handlers:
    """Does something at random in every callback, to the connection it is called for and to others.

    :param forks: `os.fork` may be one of the deeds; the child does nothing and ends soon.
    """

    def __init__(self, choices: random.Random, *, forks: bool = False) -> None:
        self.choices = choices
        self.server: TorturedServer
        self.ended = False  # a handler has closed the reactor
        self.forks = forks
        self.children: list[int] = []
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.audiences: list[Audience] = []
        self.published = [0, 0, 0]
        self.biggest = 0  # members of an audience
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
            self.fork,
            self.end,
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
        """Decide at once, wrongly, late or never; as it should be for a witness."""
        if WITNESS in data:
            conn.respond(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return
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
        """Text that begins with the number of the audience and the number of the publication in it."""
        which = self.choices.randrange(len(self.audiences))
        self.published[which] += 1
        text = f"{which} {self.published[which]} ".ljust(self.choices.choice((20, 300, 20_000)), "p")
        exclude = conn if self.choices.random() < 0.3 else None
        key = self.choices.choice((None, b"a", b"b"))
        self.audiences[which].publish((encode_frame(TEXT, text),), exclude, key)

    def join_all(self, conn: Any) -> None:
        """What an endpoint for listeners does with its connections; most of them are left alone."""
        if self.choices.random() < 0.1:
            self.alive.add(conn)
        for audience in self.audiences:
            audience.add(conn)
        self.biggest = max(self.biggest, len(self.audiences[0]))

    def use_transport(self, conn: Any) -> None:
        transport = conn.transport
        if transport is not None:
            self.choices.choice((transport.close, transport.abort, transport.is_closing))()

    def fail(self, conn: Any) -> None:
        raise self.choices.choice((ValueError, KeyboardInterrupt, SystemExit))

    def fork(self, conn: Any) -> None:
        """Make a child that holds every descriptor for a moment."""
        if self.forks and self.choices.random() < 0.02:
            child = os.fork()
            if not child:
                time.sleep(self.choices.choice((0, 0, 0.05)))
                os._exit(0)
            self.children.append(child)

    def end(self, conn: Any) -> None:
        """Close the whole server from within."""
        if self.choices.random() < 0.004:
            self.ended = True
            self.server.end()

    def reap(self) -> None:
        """Wait for the children."""
        for child in self.children:
            assert os.waitpid(child, 0)[1] == 0
        self.children.clear()

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
