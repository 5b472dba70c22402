"""`python -m bench.bystander.crowd KIND PORT COUNT`: clients by the hundred that do what the load engine does not.

- `fragments`: every message in fragments of 1 to 7 bytes, 16 messages on their way on each connection, without end
- `heads`: upgrade requests that dribble in byte by byte and are given up by the server, and begun anew
- `sloths`: subscribers that read nothing of what is published to them; after five seconds they leave, and others come

Prints `ready` when all have begun, and at the end of standard input what it did, as one line of JSON.
"""

import base64
import json
import os
import random
import resource
import select
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Protocol

from bench.bystander.client import client_frame, upgrade_request

MESSAGES_IN_FLIGHT = 16
FRAGMENT_BYTES = range(1, 8)
FRAGMENTS = range(2, 9)  # of one message
DRIBBLE_S = 0.25  # between two bytes of one head
SLOW_TOPIC = "slow"
SLOTH_S = 5.0
SLOW_BYTES = 8192
SMALL_BUFFER = 4096
RECEIVE_SIZE = 65536


@dataclass
class Counts:
    """What happened to the crowd."""

    begun: int = 0
    messages: int = 0  # answered ones, of fragments
    bytes: int = 0  # dribbled ones
    ended: int = 0


@dataclass
class Client:
    """One connection of the crowd."""

    socket: socket.socket
    unsent: bytes = b""
    received: bytes = b""  # half a frame
    missing: int = 0  # answers
    at: int = 0  # where it is: the next byte of its head, or the block of messages
    begun_s: float = field(default_factory=time.monotonic)


class Kind(Protocol):
    """What a kind of crowd does."""

    counts: Counts
    reads: bool

    def begin(self) -> Client:
        """One more client."""

    def heard(self, client: Client, data: bytes) -> None:
        """What the server said to it; never called unless it `reads`."""

    def turn(self, clients: dict[int, Client]) -> list[int]:
        """Called 50 times a second and more; returns the descriptors of those who leave."""


def upgraded(port: int, path: str, buffer: int | None = None) -> socket.socket:
    """A connection after its upgrade."""
    connection = dialled(port, buffer)
    connection.settimeout(20.0)
    connection.sendall(upgrade_request(port, path, base64.b64encode(os.urandom(16)).decode()))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = connection.recv(1)
        if not data:
            raise ConnectionError(f"not upgraded: {head!r}")
        head += data
    if not head.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(f"not upgraded: {head!r}")
    connection.setblocking(False)
    return connection


def dialled(port: int, buffer: int | None = None) -> socket.socket:
    """A connection to the server; its receive buffer may be small."""
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection


class Fragments:
    """Messages in tiny fragments, the next ones as soon as all answers are there."""

    reads = True

    def __init__(self, port: int) -> None:
        self.counts = Counts()
        self._port = port
        chance = random.Random(1)
        self._blocks = [self._block(chance) for _ in range(8)]

    def _block(self, chance: random.Random) -> bytes:
        """The bytes of so many messages."""
        sent = bytearray()
        for _ in range(MESSAGES_IN_FLIGHT):
            count = chance.choice(FRAGMENTS)
            sizes = [chance.choice(FRAGMENT_BYTES) for _ in range(count)]
            for place, size in enumerate(sizes):
                sent += client_frame(0 if place else 2, os.urandom(size), fin=place == count - 1)
        return bytes(sent)

    def begin(self) -> Client:
        client = Client(upgraded(self._port, "/echo"))
        self._say(client)
        self._push(client)
        return client

    def _say(self, client: Client) -> None:
        client.unsent += self._blocks[client.at % len(self._blocks)]
        client.missing = MESSAGES_IN_FLIGHT
        client.at += 1

    def _push(self, client: Client) -> None:
        if client.unsent:
            try:
                client.unsent = client.unsent[client.socket.send(client.unsent) :]
            except BlockingIOError:
                pass

    def heard(self, client: Client, data: bytes) -> None:
        data = client.received + data
        at = 0
        while len(data) >= at + 2 and len(data) >= (end := at + 2 + data[at + 1]):
            if data[at] == 0x89:
                client.unsent += client_frame(10, data[at + 2 : end])
            elif data[at] == 0x82 and client.missing:
                client.missing -= 1
            else:
                raise ConnectionError(f"not an answer: {data[at:end]!r}")
            at = end
        client.received = data[at:]
        if not client.missing:
            self.counts.messages += MESSAGES_IN_FLIGHT
            self._say(client)
        self._push(client)

    def turn(self, clients: dict[int, Client]) -> list[int]:
        for client in clients.values():
            self._push(client)
        return []


class Heads:
    """Requests that never end: a byte of each every quarter of a second."""

    reads = True

    def __init__(self, port: int) -> None:
        self.counts = Counts()
        self._port = port
        self._head = upgrade_request(port, "/echo", base64.b64encode(os.urandom(16)).decode())
        self._next_s = 0.0
        self._slices = 0

    def begin(self) -> Client:
        return Client(dialled(self._port))

    def heard(self, client: Client, data: bytes) -> None:
        """The server's 408."""

    def turn(self, clients: dict[int, Client]) -> list[int]:
        """A tenth of them each time, so that the bytes of all spread over the time."""
        now = time.monotonic()
        if now < self._next_s:
            return []
        self._next_s = now + DRIBBLE_S / 10
        self._slices = (self._slices + 1) % 10
        for client in list(clients.values())[self._slices :: 10]:
            at = client.at % (len(self._head) - 4)
            client.at += 1
            try:
                client.socket.send(self._head[at : at + 1])
                self.counts.bytes += 1
            except OSError:
                pass  # its end is heard next
        return []


class Sloths:
    """Subscribers that do not read."""

    reads = False

    def __init__(self, port: int) -> None:
        self.counts = Counts()
        self._port = port
        self._hello = client_frame(1, json.dumps({"id": 1, "cmd": "sub", "topic": SLOW_TOPIC}).encode())
        words = {"cmd": "pub", "topic": SLOW_TOPIC, "data": "x" * SLOW_BYTES}
        self._publication = client_frame(1, json.dumps(words).encode())
        self._publisher = upgraded(port, "/ws")
        self._unsent = b""

    def begin(self) -> Client:
        client = Client(upgraded(self._port, "/ws", SMALL_BUFFER))
        client.socket.send(self._hello)
        return client

    def heard(self, client: Client, data: bytes) -> None:
        pass

    def turn(self, clients: dict[int, Client]) -> list[int]:
        """Publish something to them, and let those leave who have slept enough."""
        try:
            self._publisher.recv(RECEIVE_SIZE)
        except BlockingIOError:
            pass  # it is pinged now and then, and says that it is there by what it publishes
        self._unsent = self._unsent or self._publication
        try:
            self._unsent = self._unsent[self._publisher.send(self._unsent) :]
        except BlockingIOError:
            pass  # the server is busy
        leaves_s = time.monotonic() - SLOTH_S
        return [file for file, client in clients.items() if client.begun_s < leaves_s]


KINDS: dict[str, Callable[[int], Kind]] = {"fragments": Fragments, "heads": Heads, "sloths": Sloths}


class Crowd:
    """Keeps so many clients of one kind at it."""

    def __init__(self, kind: Kind, count: int) -> None:
        self._kind = kind
        self._clients: dict[int, Client] = {}
        self._poller = select.epoll()
        for _ in range(count):
            self._begin()

    def _begin(self) -> None:
        client = self._kind.begin()
        self._kind.counts.begun += 1
        self._clients[client.socket.fileno()] = client
        # Errors and hang-ups are told in any case.
        self._poller.register(client.socket, select.EPOLLIN if self._kind.reads else 0)

    def _end(self, file: int) -> None:
        self._kind.counts.ended += 1
        self._poller.unregister(file)
        self._clients.pop(file).socket.close()
        self._begin()

    def _hear(self, file: int) -> None:
        client = self._clients[file]
        try:
            data = client.socket.recv(RECEIVE_SIZE) if self._kind.reads else b""
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            self._kind.heard(client, data)
        else:
            self._end(file)

    def run(self) -> Counts:
        """Until standard input ends."""
        self._poller.register(0, select.EPOLLIN)
        while True:
            for file, _ in self._poller.poll(0.02, 1024):
                if file == 0:
                    return self._kind.counts
                self._hear(file)
            for file in self._kind.turn(self._clients):
                self._end(file)


def main(kind: str, port: int, count: int) -> None:
    """The whole life of a crowd."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    crowd = Crowd(KINDS[kind](port), count)
    print("ready", flush=True)
    print(json.dumps(asdict(crowd.run())), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    except OSError as error:
        sys.exit(f"the crowd of {sys.argv[1]}: {error!r}")
