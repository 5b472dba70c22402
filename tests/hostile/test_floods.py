"""Control frames without end, messages without end, fragments of nothing: bounded memory, and others are served."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from tests.hostile.conftest import ECHO, LIMIT, Connect
from tests.support.frames import build_frame
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import Stopwatch, wait_until

OUTBOX = 50_000
FRAME_COST = 100  # bytes that a frame of two bytes takes while it waits
ONCE = 8_000_000  # bytes that are taken once, whatever comes
MESSAGE_TIMEOUT_S = 1.0
# There is no option for the time that one message may take: a server of this test has a short one.
IMPATIENT = (
    ECHO
    + f"""

from functools import partial
from fastws.server import assembly

assembly.Endpoint = partial(assembly.Endpoint, message_timeout={MESSAGE_TIMEOUT_S})
"""
)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--ping-interval", "0", "--max-outbox", str(OUTBOX), source=IMPATIENT) as process:
        yield process


@contextmanager
def attack(client: RawClient, data: bytes, times: int) -> Iterator[Callable[[], bool]]:
    """Send the same bytes again and again meanwhile; yields a function that says whether it goes on."""
    stopped = threading.Event()

    def send() -> None:
        with suppress(OSError):
            for _ in range(times):
                if stopped.is_set():
                    return
                client.send(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield thread.is_alive
    finally:
        stopped.set()
        client.close()
        thread.join()


def slowest_echo_s(server: ServerProcess, goes_on: Callable[[], bool]) -> float:
    """The slowest of the round trips that a bystander makes while the attack goes on."""
    slowest = 0.0
    with RawClient(server.host, server.port) as bystander:
        bystander.upgrade("/echo")
        begun = time.monotonic()
        while goes_on() and time.monotonic() - begun < 2:
            asked = Stopwatch()
            bystander.send_text("?")
            assert bystander.read_message() == "?"
            slowest = max(slowest, asked.own_s)
    return slowest


FLOODS = {
    "pings": build_frame(9, b"x" * 125),
    "empty pings": build_frame(9),
    "pongs": build_frame(10, b"x" * 125),
    "empty pongs": build_frame(10),
    "empty messages": build_frame(1),
    "messages": build_frame(2, b"x" * 100),
    "fragmented messages": build_frame(1, fin=False) + build_frame(0),
    "pings between fragments": build_frame(1, b"a", fin=False) + build_frame(9) * 3 + build_frame(0, b"b"),
}


@pytest.mark.parametrize("frame", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_that_reads_no_answers(server: ServerProcess, frame: bytes) -> None:
    client = RawClient(server.host, server.port, receive_buffer=4096)
    client.upgrade("/echo")
    memory = server.rss()
    with attack(client, frame * (60_000 // len(frame)), 1000) as goes_on:
        slowest_s = slowest_echo_s(server, goes_on)
        grown = server.rss() - memory
    assert slowest_s < 1.5  # without turns a bystander waits for the whole flood
    assert grown < ONCE + OUTBOX // 2 * FRAME_COST


def test_a_ping_flood_that_reads_nothing_is_no_reason_to_close(server: ServerProcess) -> None:
    with RawClient(server.host, server.port, receive_buffer=4096) as client:
        client.upgrade("/echo")
        for number in range(20):
            client.send(b"".join(build_frame(9, b"%d" % (number * 2000 + place)) for place in range(2000)))
        client.send(build_frame(9, b"last"))
        answers: list[bytes] = []
        while not answers or answers[-1] != b"last":
            frame = client.read_frame()
            assert frame.opcode == 10
            answers.append(frame.payload)
        numbers = [int(answer) for answer in answers[:-1]]
        assert numbers == sorted(set(numbers))  # in order, and none twice


def test_all_pings_of_a_client_that_reads_are_answered(connect: Connect) -> None:
    client = connect()
    for start in range(0, 5000, 500):
        client.send(b"".join(build_frame(9, b"%d" % number) for number in range(start, start + 500)))
        for number in range(start, start + 500):
            frame = client.read_frame()
            assert (frame.opcode, frame.payload) == (10, b"%d" % number)


def test_a_flood_of_messages_that_reads_nothing_is_closed(server: ServerProcess) -> None:
    with RawClient(server.host, server.port, receive_buffer=65_536) as client:
        client.upgrade("/echo")
        memory = server.rss()
        data = build_frame(2, b"x" * 10_000)
        for _ in range(700):  # more than the kernel takes for a socket; the server goes on reading, and discards
            client.send(data)
        assert server.rss() - memory < 3_000_000
        while (frame := client.read_frame()).opcode == 2:
            pass
        assert (frame.close_code, frame.close_reason) == (4003, "slow_consumer")


def test_floods_of_closes_and_data_after_close(server: ServerProcess, connect: Connect) -> None:
    for closes in (build_frame(8) * 1000, build_frame(8, b"\x03\xe8") * 1000, build_frame(8) + build_frame(1) * 10_000):
        client = connect()
        cpu = server.cpu_s()
        client.send(build_frame(1, b"before") + closes)
        frames = client.frames_until_eof()
        assert [frame.opcode for frame in frames] == [1, 8]
        assert server.cpu_s() - cpu < 0.3


def test_a_client_that_goes_on_after_the_close_is_cut_off(server: ServerProcess, connect: Connect) -> None:
    client = connect()
    client.send(build_frame(3))
    assert client.read_close()[0] == 1002
    sent = 0
    with suppress(ConnectionError):
        while sent < 50_000_000:
            client.send(b"x" * 10_000)
            sent += 10_000
    assert sent < 20_000_000


@pytest.mark.parametrize("size", [0, 1])
def test_tiny_fragments_have_a_number(server: ServerProcess, connect: Connect, size: int) -> None:
    client = connect()
    client.send(build_frame(1, b"x" * size, fin=False) + build_frame(0, b"x" * size, fin=False) * 1022)
    client.send(build_frame(0, b"x" * size))
    assert client.read_message() == "x" * size * 1024
    memory, cpu = server.rss(), server.cpu_s()
    client.send(build_frame(2, b"x" * size, fin=False) + build_frame(0, b"x" * size, fin=False) * 5000)
    assert client.read_close() == (1009, "too big")
    assert server.rss() - memory < 1_000_000
    assert server.cpu_s() - cpu < 0.3


UNFINISHED = {
    "a header": build_frame(2, b"x" * 200)[:1],
    "half a frame": build_frame(1, b"x" * 1000)[:500],
    "half a large frame": build_frame(2, b"x" * LIMIT)[:30_000],
    "a fragment": build_frame(1, b"x", fin=False),
    "half a fragment": build_frame(1, b"x" * 100, fin=False)[:50],
    "fragments": build_frame(1, b"x", fin=False) + build_frame(0, b"y", fin=False) * 100,
}


@pytest.mark.parametrize("data", list(UNFINISHED.values())[1:], ids=list(UNFINISHED)[1:])
def test_a_message_that_is_never_finished_closes_1008(connect: Connect, data: bytes) -> None:
    client = connect()
    watch = Stopwatch()
    client.send(build_frame(1, b"before") + data)
    assert client.read_message() == "before"
    assert client.read_close() == (1008, "policy")
    assert watch.s > 0.7 * MESSAGE_TIMEOUT_S
    assert watch.own_s < MESSAGE_TIMEOUT_S + 1.5


def test_bytes_and_pings_do_not_give_it_more_time(connect: Connect) -> None:
    client = connect()
    watch = Stopwatch()
    client.send(build_frame(1, b"x", fin=False))
    frame = client.read_frame() if not client.silent_for(0.01) else None
    while frame is None or frame.opcode != 8:
        assert watch.own_s < MESSAGE_TIMEOUT_S + 1.5
        client.send(build_frame(0, b"y", fin=False) + build_frame(9))
        frame = client.read_frame()
        threading.Event().wait(0.02)
    assert (frame.close_code, frame.close_reason) == (1008, "policy")


def test_messages_that_are_finished_in_time_may_follow_for_ever(connect: Connect) -> None:
    client = connect()
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5 * MESSAGE_TIMEOUT_S:
        client.send(build_frame(1, b"x", fin=False) + build_frame(0, b"y" * 1000)[:500])
        threading.Event().wait(0.05)
        client.send(build_frame(0, b"y" * 1000)[500:])
        assert client.read_message() == "x" + "y" * 1000


def test_many_unfinished_messages_hold_what_they_sent(server: ServerProcess) -> None:
    for data in UNFINISHED.values():
        clients = [RawClient(server.host, server.port) for _ in range(100)]
        for client in clients:
            client.upgrade("/echo")
        memory, descriptors = server.heap(), server.descriptors()
        for client in clients:
            client.send(data)
        assert server.heap() - memory < 100 * (len(data) + 16_000)
        for client in clients:
            client.reset()
        wait_until(partial(_has_at_most, server, descriptors - 100))


def _has_at_most(server: ServerProcess, descriptors: int) -> bool:
    return server.descriptors() <= descriptors


def test_connections_come_and_go_without_a_trace(server: ServerProcess) -> None:
    def cycle(count: int) -> None:
        for number in range(count):
            with RawClient(server.host, server.port) as client:
                client.upgrade("/echo")
                client.send(list(UNFINISHED.values())[number % 6])
                client.reset() if number % 2 else client.close()

    cycle(300)
    memory = server.heap()
    cycle(1000)
    assert server.heap() - memory < 1_500_000
