"""What every peer has to do, seen by a client that people use: only then its figures mean anything."""

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from bench import roster, servers
from bench.load import Load, LoadError, LoadResult
from bench.scenarios import fanout
from bench.scenarios.steady import rooms
from tests.bench.windows import with_messages
from tests.support.certificates import self_signed
from tests.support.waiting import wait_until

MESSAGES = ["", "a", "grüße", b"", b"\x00\xff", "x" * 125, b"x" * 126, "y" * 65535, b"y" * 65536, b"z" * (1 << 20)]
SUBSCRIBERS = 5
GREETING = "hello"
TIMEOUT_S = 20.0


@contextmanager
def running(name: str, *arguments: str) -> Iterator[servers.Server]:
    """The peer, with arguments of a variant; the test is skipped where it is not ready.

    What needs no installing is built on the spot.
    """
    peer = roster.read(name)
    if (problem := peer.problem()) and (peer.install or peer.missing_programs()):
        pytest.skip(f"{name}: {problem}")
    with servers.peer(name, *arguments) as server:
        yield server


def client(server: servers.Server, path: str, **options: Any) -> ClientConnection:
    """A client that takes messages of any size; more options are those of `connect`."""
    scheme = "wss" if "ssl" in options else "ws"
    options = {"compression": None, "max_size": None, "open_timeout": TIMEOUT_S, **options}
    return connect(f"{scheme}://127.0.0.1:{server.port}{path}", **options)


def echoes(server: servers.Server) -> None:
    """Text and binary messages of all header sizes come back as they were; pings and closing are answered."""
    with client(server, server.path) as socket:
        for message in MESSAGES:
            socket.send(message)
            assert socket.recv(timeout=TIMEOUT_S) == message
        for number in range(50):
            socket.send(str(number))
        assert [socket.recv(timeout=TIMEOUT_S) for _ in range(50)] == [str(number) for number in range(50)]
        assert socket.ping("there?").wait(TIMEOUT_S)
    assert socket.close_code == 1000


def bears_the_engine(server: servers.Server, **variant: float | bool) -> None:
    """The load engine finds no reply that is wrong; a variant that is not built into it is left out."""
    for text in (False, True):
        options = {"connections": 20, "inflight": 4, "warmup": 0, "path": server.path, "text": text, **variant}
        try:
            result = loaded("echo", server, options)
        except LoadError as error:
            if "not built in" not in str(error):
                raise
            return
        assert result.check().run.messages > 0


def loaded(mode: str, server: servers.Server, options: Mapping[str, float | str | bool]) -> LoadResult:
    """What the load engine says after a window in which something happened."""

    def measured(seconds: float) -> LoadResult:
        with Load(mode, server.port, options={**options, "seconds": seconds}) as load:
            return load.finish(30.0)

    return with_messages(measured)


def has_its_variants(name: str, folder: Path) -> None:
    """What its `peer.toml` says about compression and TLS is so; messages in fragments come back whole."""
    variants = roster.read(name).variants
    certificate = self_signed(folder)
    message = "again and again, " * 1000
    with running(name, *variants["deflate"].split()) as server:
        bears_the_engine(server, deflate=True)
        with client(server, server.path, compression="deflate") as socket:
            assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
            socket.send(message)
            assert socket.recv(timeout=TIMEOUT_S) == message
    places = {"cert": certificate.certfile, "key": certificate.keyfile}
    with running(name, *(word.format(**places) for word in variants["tls"].split())) as server:
        bears_the_engine(server, tls=True)
        with client(server, server.path, ssl=ssl.create_default_context(cafile=certificate.certfile)) as socket:
            socket.send(message)
            assert socket.recv(timeout=TIMEOUT_S) == message
    with running(name, *variants["fragments"].split()) as server:
        bears_the_engine(server, fragments=4)


def spreads_to_the_engine(name: str, server: servers.Server) -> None:
    """The load engine misses no delivery, and gets none twice or out of order, one at a time and in bursts."""
    options = {"connections": 20, "warmup": 0, **fanout.load_options(name)}
    for burst in (1, 10):
        assert loaded("fanout", server, {**options, "burst": burst}).check().run.messages > 0


def spreads(name: str, server: servers.Server) -> None:
    """Every subscriber hears every publication once and in order, and the publisher hears none."""
    facts = roster.read(name).fanout
    assert facts is not None
    with ExitStack() as stack:
        subscribers = [stack.enter_context(client(server, facts.path)) for _ in range(SUBSCRIBERS)]
        publisher = stack.enter_context(client(server, facts.publish_path))
        heard = [Heard(socket) for socket in subscribers]
        wait_until(lambda: all_greeted(publisher, heard), TIMEOUT_S, "all subscribers hear")
        spoken: list[str | bytes] = [f"{number:04} " + "." * 123 for number in range(100)]
        spoken.append(b"\x00\xff")
        for message in spoken:
            publisher.send(message)
        assert all(one.wait_for(spoken[-1]) for one in heard)
        assert [one.publications() for one in heard] == [spoken] * SUBSCRIBERS
        subscribers[0].close()
        publisher.send("without the first")
        assert all(one.wait_for("without the first") for one in heard[1:])
        with pytest.raises(TimeoutError):
            publisher.recv(timeout=0)


def has_rooms(name: str, server: servers.Server) -> None:
    """The load engine finds that members hear their own room, each publication once; who leaves is let go."""
    options: dict[str, float | str | bool] = rooms.load_options(name, rooms.RoomsOptions(users=20, room_size=5))
    for _ in range(2):
        with Load("rooms", server.port, options=options) as load:
            load.wait_connected()
            assert load.step(200.0, 0.2, 0.3).run.latency.count > 0
            load.release().check()


def all_greeted(publisher: ClientConnection, heard: list["Heard"]) -> bool:
    """Greet once more: an upgrade that was answered does not say that the subscription stands already."""
    publisher.send(GREETING)
    return all(one.wait_for(GREETING, timeout_s=0.1) for one in heard)


class Heard:
    """What a subscriber has heard so far, read by a thread of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self.messages: list[str | bytes] = []
        self._more = threading.Condition()
        threading.Thread(target=self._read, args=(socket,), daemon=True).start()

    def wait_for(self, message: str | bytes, timeout_s: float = TIMEOUT_S) -> bool:
        """Whether it has been heard, within the time."""
        with self._more:
            return self._more.wait_for(lambda: message in self.messages, timeout_s)

    def publications(self) -> list[str | bytes]:
        """All but greetings."""
        return [message for message in self.messages if message != GREETING]

    def _read(self, socket: ClientConnection) -> None:
        for message in socket:
            with self._more:
                self.messages.append(message)
                self._more.notify_all()
