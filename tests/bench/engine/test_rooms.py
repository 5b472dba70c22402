"""Rooms of the load engine: everything once in its own room is right; else it has failed."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import servers
from bench.load import Load, LoadError, LoadResult
from tests.bench.engine.spreading import accepting, read_frame, text
from tests.bench.test_load import good_upgrade

ROOMS, MEMBERS = 3, 4
OPTIONS: dict[str, float | str | bool] = {
    "path": "/rooms/{room}",
    "rooms": ROOMS,
    "connections": ROOMS * MEMBERS,
    "text": True,
}
Deliver = Callable[[int, str, str, bytes], bytes]
"""What a member gets: number of the publication, its own room, the speaker's room, payload; to whole frames."""


@pytest.fixture(scope="module")
def c_rooms() -> Iterator[servers.Server]:
    with servers.peer("c_epoll") as server:
        yield server


class Talking:
    """A small server whose rooms spread messages as a test tells it, wrongly too."""

    def __init__(self, deliver: Deliver) -> None:
        self.requests: list[bytes] = []
        self.said: list[tuple[str, bytes]] = []  # room, payload
        self.members: list[tuple[str, socket.socket]] = []
        self._deliver = deliver
        self._lock = threading.Lock()

    def serve(self, client: socket.socket) -> None:
        """One connection, in a thread of its own."""
        stream = client.makefile("rb")
        request = b"".join(iter(lambda: stream.readline().removesuffix(b"\r\n"), b""))
        if not request.startswith(b"GET "):
            return
        room = request.split()[1].decode().partition("?")[0]
        with self._lock:
            self.requests.append(request)
            client.sendall(good_upgrade(key_line(request)))  # before anybody speaks to it
            self.members.append((room, client))
        while (frame := read_frame(stream)) is not None and frame[0] != 8:
            with self._lock:
                self.said.append((room, frame[1]))
                for own, member in self.members:
                    try:
                        member.sendall(self._deliver(len(self.said), own, room, frame[1]))
                    except OSError:  # it has left
                        continue
        client.shutdown(socket.SHUT_RDWR)


def key_line(request: bytes) -> bytes:
    """The head as `good_upgrade` reads it, of one without its line ends."""
    _, _, after = request.partition(b"Sec-WebSocket-Key:")
    return b"Sec-WebSocket-Key: " + after.strip()[:24] + b"\r\n\r\n"


@contextmanager
def talking(deliver: Deliver) -> Iterator[tuple[Talking, int]]:
    """The server on 127.0.0.1 until the block is left, and its port."""
    server = Talking(deliver)
    with accepting(server.serve) as port:
        yield server, port


def to_its_room(_: int, own: str, spoken_in: str, payload: bytes) -> bytes:
    return text(payload) if own == spoken_in else b""


def run(port: int, rates: list[float], **options: float | str | bool) -> tuple[list[LoadResult], LoadResult]:
    """The steps, and what was said at the end."""
    with Load("rooms", port, options={**OPTIONS, **options}) as load:
        load.wait_connected()
        steps = [load.step(rate, 0.1, 0.4) for rate in rates]
        return steps, load.release()


def all_of(step: LoadResult, rate: float, members: int = MEMBERS) -> bool:
    """Whether the latencies of all deliveries are there that were due in the window, which may end late."""
    return abs(step.run.latency.count - step.run.seconds * rate * members) <= 2 * members


def test_every_publication_is_heard_once_by_each_member(c_rooms: servers.Server) -> None:
    (slow, fast), end = run(c_rooms.port, [100, 1000])
    assert end.check().connected == ROOMS * MEMBERS
    for rate, step in ((100, slow), (1000, fast)):
        assert step.mode == "rooms"
        assert all_of(step, rate)
        assert 0 < step.run.latency.p50 <= step.run.latency.p99


def test_several_processes_share_the_rooms(c_rooms: servers.Server) -> None:
    (step,), end = run(c_rooms.port, [500], processes=2)
    assert end.check().processes == 2
    assert all_of(step, 500)


def test_members_speak_in_turns_and_are_told_apart(tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("".join(f"word{number}\n" for number in range(ROOMS * MEMBERS)))
    with talking(to_its_room) as (server, port):
        _, end = run(
            port,
            [200],
            path="/rooms/{room}?{word}",
            rooms=1,
            connections=MEMBERS,
            words=str(words),
            subscribe="hear {room} as {word}",
            publish="say {payload}",
        )
        end.check()
    paths = sorted(request.split()[1] for request in server.requests)
    assert paths == [f"/rooms/0?word{number}".encode() for number in range(MEMBERS)]
    greetings = sorted(said for _, said in server.said if said.startswith(b"hear"))
    assert greetings == [f"hear 0 as word{number}".encode() for number in range(MEMBERS)]


def test_every_room_and_every_member_has_its_turn() -> None:
    with talking(to_its_room) as (server, port):
        run(port, [300])[1].check()
    spoken = [room for room, _ in server.said]
    assert set(spoken) == {f"/rooms/{number}" for number in range(ROOMS)}
    assert max(map(spoken.count, set(spoken))) <= min(map(spoken.count, set(spoken))) + ROOMS


def test_latency_counts_from_when_a_publication_was_due() -> None:
    """One stall delays all that is due meanwhile: with a schedule kept, that is a good part of the window."""
    stalled = threading.Event()

    def deliver(number: int, own: str, spoken_in: str, payload: bytes) -> bytes:
        if number > 40 and not stalled.is_set():
            stalled.set()
            threading.Event().wait(0.2)
        return to_its_room(number, own, spoken_in, payload)

    with talking(deliver) as (_, port):
        (step,), _ = run(port, [200])
    assert step.run.latency.max >= 150_000
    assert step.run.latency.p90 >= 50_000


def test_a_rate_that_cannot_be_kept_ends_early_and_the_next_step_is_right(c_rooms: servers.Server) -> None:
    (hopeless, easy), end = run(c_rooms.port, [5_000_000, 100])
    end.check()
    assert hopeless.run.seconds < 0.4
    assert hopeless.run.latency.count == 0 or hopeless.run.latency.p99 > 20_000
    assert all_of(easy, 100)


@pytest.mark.parametrize(
    ("deliver", "failure"),
    [
        (lambda n, own, room, payload: b"" if n == 30 else to_its_room(n, own, room, payload), "unanswered"),
        (lambda n, own, room, payload: to_its_room(n, own, room, payload) * (1 + (n == 30)), "repeated"),
        (lambda n, own, room, payload: text(payload) if n == 30 else to_its_room(n, own, room, payload), "bad_payload"),
        (lambda n, own, room, payload: to_its_room(n, own, room, payload.replace(b"f", b"g")), "bad_payload"),
        (lambda n, own, room, payload: b"\x88\x02\x03\xe8" if n == 30 else b"", "closed_early"),
    ],
    ids=["lost", "repeated", "another room's", "changed", "closed"],
)
def test_what_is_wrong_is_found(deliver: Deliver, failure: str) -> None:
    with talking(deliver) as (_, port), Load("rooms", port, options={**OPTIONS, "connect_seconds": 2}) as load:
        load.wait_connected()
        try:
            load.step(300, 0.0, 0.3)
            failures = load.release().failures
        except LoadError as error:
            failures = {failure: 1 if "failures, the first at" in str(error) else 0}
    assert failures[failure]


def test_members_who_hear_nothing_are_named() -> None:
    with (
        talking(lambda *_: text(b"go away")) as (_, port),
        Load("rooms", port, options={**OPTIONS, "connect_seconds": 0.5}) as load,
        pytest.raises(LoadError, match="12 members do not hear their rooms; the last word: go away"),
    ):
        load.step(100, 0.1, 0.1)


def test_those_who_stall_are_not_waited_for_and_count_neither_before_nor_after(c_rooms: servers.Server) -> None:
    with Load("rooms", c_rooms.port, options={**OPTIONS, "stalled": 1}) as load:
        load.wait_connected()
        before = load.step(500, 0.1, 0.4)
        load.stall()
        after = load.step(500, 0.1, 0.4)
        load.release().check()
    assert all_of(before, 500, MEMBERS - 1)
    assert all_of(after, 500, MEMBERS - 1)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"connections": 13}, "multiple of --rooms"),
        ({"processes": 4}, "--processes"),
        ({"stalled": MEMBERS}, "--stalled"),
        ({"words": "/nowhere"}, "--words cannot be read"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float | str | bool], complaint: str) -> None:
    with Load("rooms", 1, options={**OPTIONS, **options}) as load, pytest.raises(LoadError, match=complaint):
        load.finish()


def test_a_line_that_is_not_understood_ends_the_run(c_rooms: servers.Server) -> None:
    with Load("rooms", c_rooms.port, options=OPTIONS) as load:
        load.wait_connected()
        load._say("faster")
        assert load.finish(30.0).first_failure.startswith("a line of standard input is neither")
