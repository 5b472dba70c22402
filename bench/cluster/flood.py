"""As much as a process can hear: publications come out of Redis as fast as it takes them.

What is published is made before; no more than `WINDOW` are on their way, so that nobody has to disconnect who is slow.
"""

import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from bench import measure
from bench.load import LoadError
from fastws.engine.contract import Outgoing
from fastws.engine.redis.envelope import batch_of, envelope_of, flags_of, tail_of
from fastws.engine.redis.names import TOPIC, Names

WINDOW = 20_000
COMMANDS = 100  # in one write
SILENCE_S = 10.0
PUBLISHED_BEFORE_S = 0.3  # the measured window begins


@dataclass(frozen=True, slots=True)
class Heard:
    """What a process heard, and what it took."""

    seconds: float
    messages: int
    cpu_s: float  # of the process that hears
    redis_cpu_s: float

    @property
    def per_second(self) -> float:
        return self.messages / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """0 if the machine was so busy that the process had no CPU."""
        return self.messages / self.cpu_s if self.cpu_s else 0.0


class Hearer(Protocol):
    """A process that hears, as the flood sees it."""

    @property
    def pids(self) -> Sequence[int]: ...

    def fileno(self) -> int: ...

    def count(self) -> int:
        """Read what has come; how many it has heard so far. Raises `LoadError` if it has gone."""


def payload(size: int) -> bytes:
    """JSON of so many bytes."""
    return b'"' + b"x" * (size - 2) + b'"'


def plain_commands(topics: Sequence[str], size: int) -> tuple[bytes, int]:
    """Commands that publish to channels of an application's own, and how many messages they are."""
    commands = [command(topics[number % len(topics)].encode(), payload(size)) for number in range(COMMANDS)]
    return b"".join(commands), COMMANDS


def node_commands(prefix: str, topics: Sequence[str], size: int, batch: int) -> tuple[bytes, int]:
    """The same as a node publishes, `batch` publications of one topic together."""
    names = Names(prefix)
    commands = []
    for number in range(COMMANDS):
        topic = topics[number % len(topics)]
        outgoing = Outgoing(topic, payload(size))
        envelope = envelope_of(flags_of(outgoing), tail_of(outgoing), int(time.time() * 1000))
        content = envelope if batch == 1 else batch_of([envelope] * batch)
        commands.append(command(names.of(TOPIC, topic), content))
    return b"".join(commands), COMMANDS * batch


def command(channel: bytes, content: bytes) -> bytes:
    """`PUBLISH`, as it is sent."""
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(content), content)


def flood(redis_socket: str, redis_pid: int, commands: bytes, messages: int, hearer: Hearer, seconds: float) -> Heard:
    """Publish `commands`, which are so many messages, again and again; what was heard in a window of time.

    :raises bench.load.LoadError: nothing is heard any more, or the process has gone.
    """
    with _publishing(redis_socket, commands) as publish:
        sent = 0
        end = window_s = monotonic() + PUBLISHED_BEFORE_S
        begun: tuple[float, int, float, float] | None = None
        heard_before, heard_s = 0, monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(hearer, selectors.EVENT_READ)
            first = hearer.count()
            while True:
                heard = hearer.count() - first
                now = monotonic()
                if heard != heard_before:
                    heard_before, heard_s = heard, now
                elif now - heard_s > SILENCE_S:
                    raise LoadError(f"nothing was heard for {SILENCE_S:g} s, of {sent - heard} messages")
                if begun is None and now >= window_s:
                    begun = now, heard, measure.cpu_s(hearer.pids), measure.cpu_s([redis_pid])
                    end = now + seconds
                elif begun is not None and now >= end:
                    cpu_s = measure.cpu_s(hearer.pids) - begun[2]
                    return Heard(now - begun[0], heard - begun[1], cpu_s, measure.cpu_s([redis_pid]) - begun[3])
                if sent - heard < WINDOW:
                    publish()
                    sent += messages
                else:
                    selector.select(0.05)


@contextmanager
def _publishing(path: str, commands: bytes) -> Iterator[Callable[[], None]]:
    """What sends the commands once, and waits until Redis has taken them."""
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(SILENCE_S)
        sock.connect(path)

        def publish() -> None:
            try:
                sock.sendall(commands)
                answers = 0
                while answers < COMMANDS:
                    answer = sock.recv(65536)
                    if not answer or b"-" in answer:
                        raise LoadError(f"Redis does not take what is published: {answer[:100]!r}")
                    answers += answer.count(b"\n")
            except OSError as error:
                raise LoadError(f"Redis does not take what is published: {error}") from error

        yield publish
