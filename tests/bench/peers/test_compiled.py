"""The peers in Rust, Go and C++: those that `make bench-peers` has built; nothing is built here, that takes minutes."""

from contextlib import ExitStack

import pytest
from websockets.sync.client import ClientConnection

from bench import roster
from tests.bench.peers import checks

SUBSCRIBERS = 20
BURST = 10
BURSTS = 25  # the hub drops a subscriber for whom more than 256 publications wait
PAYLOAD = "x" * 128


def fanout_of(name: str) -> roster.Fanout:
    facts = roster.read(name).fanout
    assert facts is not None
    return facts


@pytest.mark.parametrize("name", ["fastwebsockets", "gin_gorilla", "gws", "uwebsockets"])
def test_echo(name: str) -> None:
    with checks.running(name) as server:
        checks.echoes(server)
        checks.bears_the_engine(server)


@pytest.mark.parametrize("name", ["gws", "uwebsockets"])
def test_fanout(name: str) -> None:
    with checks.running(name) as server:
        checks.spreads(name, server)


@pytest.mark.parametrize("name", ["gin_gorilla", "gws", "nats", "uwebsockets"])
def test_fanout_bears_the_engine(name: str) -> None:
    with checks.running(name) as server:
        checks.spreads_to_the_engine(name, server)


@pytest.mark.parametrize("name", ["gin_gorilla", "nats", "uwebsockets"])
def test_rooms(name: str) -> None:
    with checks.running(name) as server:
        checks.has_rooms(name, server)


def test_the_hub_joins_what_waits_and_drops_nobody() -> None:
    """The engine waits for a burst before the next; here many follow at once, and still fit in a subscriber's queue."""
    facts = fanout_of("gin_gorilla")
    with checks.running("gin_gorilla") as server, ExitStack() as stack:
        subscribers = [stack.enter_context(checks.client(server, facts.path)) for _ in range(SUBSCRIBERS)]
        publisher = stack.enter_context(checks.client(server, facts.publish_path))
        greet(publisher, subscribers)
        spoken = [f"{number:04} {PAYLOAD}" for number in range(BURSTS * BURST)]
        for message in spoken:
            publisher.send(message)
        assert [lines_until(socket, spoken[-1]) for socket in subscribers] == [spoken] * SUBSCRIBERS


def greet(publisher: ClientConnection, subscribers: list[ClientConnection]) -> None:
    """Publish until each subscriber has heard something, then let all hear the last greeting."""
    publisher.send("0")
    for number, socket in enumerate(subscribers, 1):
        heard = False
        while not heard:
            try:
                socket.recv(timeout=0.1)
                heard = True
            except TimeoutError:
                publisher.send(str(number))
    publisher.send("ready")
    for socket in subscribers:
        lines_until(socket, "ready")


def lines_until(socket: ClientConnection, last: str) -> list[str]:
    """Publications up to the last one: the hub sends those that waited together as lines of one message."""
    lines: list[str] = []
    while not lines or lines[-1] != last:
        message = socket.recv(timeout=checks.TIMEOUT_S)
        assert isinstance(message, str)
        lines += message.split("\n")
    return lines


def test_nats_delivers_by_its_own_protocol() -> None:
    facts = fanout_of("nats")
    with checks.running("nats") as server, checks.client(server, facts.path) as subscriber:
        subscriber.send(facts.subscribe.encode() + b"PING\r\n")
        assert nats_bytes(subscriber, b"PONG\r\n").startswith(b"INFO {")
        with checks.client(server, facts.path) as publisher:
            publication = facts.publish.replace("{size}", str(len(PAYLOAD)))
            for number in range(BURST):
                publisher.send(publication.replace("{payload}", f"{number:04}{PAYLOAD[4:]}").encode())
            messages = nats_bytes(subscriber, f"{BURST - 1:04}{PAYLOAD[4:]}\r\n".encode())
        head = b"MSG bench 1 128\r\n"
        assert [part[:4] for part in messages.split(head)[1:]] == [f"{number:04}".encode() for number in range(BURST)]


def nats_bytes(socket: ClientConnection, end: bytes) -> bytes:
    """What comes up to `end`: the protocol is a stream, cut into WebSocket messages anywhere."""
    got = b""
    while not got.endswith(end):
        message = socket.recv(timeout=checks.TIMEOUT_S)
        assert isinstance(message, bytes)
        got += message
    return got
