"""The queue of a connection whose peer reads too slowly: what waits, what is dropped, what ends the connection."""

import random
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws_ext.endpoint import Endpoint
from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_close, encode_frame
from tests.fastws_ext.harness import GONE, SENT, Client, Server, on_reactor, serving, turns, until
from tests.fastws_ext.stage import COMMON, Stage, staging
from tests.support.frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, build_frame

DISCONNECT, DROP_OLDEST, CONFLATE = range(3)
SLOW = encode_close(4003, "slow_consumer")
SMALL_BUFFERS = ((socket.SOL_SOCKET, socket.SO_SNDBUF, 4096),)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staging() as stage:
        yield stage


def cost(size: int) -> int:
    """What a waiting frame of `size` bytes is held against the limit with."""
    return size + 64


class Stalled:
    """An open connection whose transport takes nothing until `resume`; the first frame waits already."""

    def __init__(self, stage: Stage, max_outbox: int) -> None:
        self.stage = stage
        self.closes: list[int] = []
        self.endpoint = Endpoint(
            stage.loop_data,
            "/ws",
            max_outbox=max_outbox,
            ping_interval=0,
            on_close=lambda conn, code, reason: self.closes.append(code),
        )
        ingress = stage.table()
        ingress.routes = {b"/ws": self.endpoint}
        self.wire, self.transport = stage.connect(ingress)
        self.wire.data_received(COMMON)
        self.transport.written = b""
        self.wire.pause_writing()
        self.first = encode_frame(TEXT, "first")
        assert self.wire.send_frame(self.first) == SENT
        stage.turn()

    def resume(self) -> bytes:
        """What goes out when the transport takes everything again."""
        self.wire.resume_writing()
        self.stage.settle()
        return self.transport.written

    def end(self) -> None:
        self.wire.abort()
        self.stage.settle()
        assert self.wire.buffered == 0


@dataclass
class Model:
    """What an outbox promises: frames as (bytes, topic or None, key)."""

    limit: int
    policies: tuple[int, ...]
    queue: list[tuple[bytes, int | None, bytes | None]]
    slow: bool = False
    dropped: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[str] = field(default_factory=Counter)

    @property
    def size(self) -> int:
        return sum(len(frame) for frame, _, _ in self.queue)

    def cost(self, size: int) -> int:
        """Memory with another frame of `size` bytes: 64 for each, and the bytes."""
        return sum(cost(len(frame)) for frame, _, _ in self.queue) + cost(size)

    def push(self, frame: bytes, topic: int | None, key: bytes | None) -> None:
        if self.slow:
            return
        if self.queue and self.cost(len(frame)) > self.limit:
            if topic is not None:
                self._make_room(len(frame), topic, key)
            if self.cost(len(frame)) > self.limit:
                self.slow = True
                self.dropped["slow"] += len(self.queue)
                self.queue.clear()
                self.deliveries["dropped"] += topic is not None
                return
        self.deliveries["queued"] += topic is not None
        self.queue.append((frame, topic, key))

    def _make_room(self, size: int, topic: int, key: bytes | None) -> None:
        before = len(self.queue)
        if self.policies[topic] == DROP_OLDEST:
            for item in [item for item in self.queue if item[1] == topic]:
                if self.cost(size) > self.limit:
                    self.queue.remove(item)
        elif self.policies[topic] == CONFLATE:
            seen = {key}
            for i in range(len(self.queue) - 1, -1, -1):
                if self.queue[i][1] == topic:
                    if self.queue[i][2] in seen:
                        del self.queue[i]
                    else:
                        seen.add(self.queue[i][2])
        reason = "conflated" if self.policies[topic] == CONFLATE else "oldest"
        self.dropped[reason] += before - len(self.queue)


def dropped(endpoint: Endpoint) -> Counter[str]:
    """Frames that were queued and will not be sent, by reason."""
    reasons = ("oldest", "conflated", "slow", "ended")
    counts = Counter({reason: getattr(endpoint, f"dropped_{reason}") for reason in reasons})
    assert endpoint.dropped == counts.total()
    return +counts


topics = st.one_of(st.none(), st.integers(0, 3), st.integers(0, 3))
message_keys = st.sampled_from((None, b"a", b"b"))


@settings(max_examples=300)
@given(limit=st.integers(100, 900), pushes=st.lists(st.tuples(topics, message_keys, st.integers(8, 60)), max_size=25))
def test_what_waits_is_what_the_policies_of_the_topics_say(
    stage: Stage, limit: int, pushes: list[tuple[int | None, bytes | None, int]]
) -> None:
    stalled = Stalled(stage, limit)
    policies = (DISCONNECT, DROP_OLDEST, CONFLATE, CONFLATE)
    audiences = [Audience(stage.loop_data, policy) for policy in policies]
    for audience in audiences:
        audience.add(stalled.wire)
    model = Model(limit, policies, [(stalled.first, None, None)])
    for number, (topic, key, size) in enumerate(pushes):
        frame = encode_frame(BINARY, b"%06d" % number + bytes(size))
        if topic is None:
            stalled.wire.send_frame(frame)
        else:
            audiences[topic].publish((frame,), None, key)
        model.push(frame, topic, key)
        assert stalled.wire.buffered == model.size + (len(SLOW) if model.slow else 0)
    assert dropped(stalled.endpoint) == +model.dropped
    assert stalled.endpoint.slow_consumers == model.slow
    assert sum(audience.queued for audience in audiences) == model.deliveries["queued"]
    assert sum(audience.dropped for audience in audiences) == model.deliveries["dropped"]
    assert stalled.resume() == (SLOW if model.slow else b"".join(frame for frame, _, _ in model.queue))
    stalled.end()
    assert stalled.closes == ([4003] if model.slow else [1006])


@pytest.mark.parametrize("policy", [DISCONNECT, DROP_OLDEST, CONFLATE])
def test_any_frame_fits_an_empty_outbox(stage: Stage, policy: int) -> None:
    stalled = Stalled(stage, 30)
    assert stalled.resume() == stalled.first
    audience = Audience(stage.loop_data, policy)
    audience.add(stalled.wire)
    large = encode_frame(BINARY, bytes(1000))
    audience.publish((large,))
    assert stalled.resume() == stalled.first + large
    stalled.end()


def test_drop_oldest_drops_no_more_than_it_has_to(stage: Stage) -> None:
    frames = [encode_frame(BINARY, b"%08d" % i) for i in range(5)]
    stalled = Stalled(stage, cost(7) + 4 * cost(10))
    audience = Audience(stage.loop_data, DROP_OLDEST)
    audience.add(stalled.wire)
    for frame in frames:
        audience.publish((frame,))
    assert dropped(stalled.endpoint) == {"oldest": 1}
    assert stalled.resume() == stalled.first + b"".join(frames[1:])
    stalled.end()


def test_conflate_keeps_the_newest_of_each_key(stage: Stage) -> None:
    frames = [encode_frame(BINARY, b"%08d" % i) for i in range(7)]
    stalled = Stalled(stage, cost(7) + 6 * cost(10))
    audience = Audience(stage.loop_data, CONFLATE)
    audience.add(stalled.wire)
    for frame, key in zip(frames, (b"a", b"b", b"a", None, b"a", None, b"b"), strict=True):
        audience.publish((frame,), None, key)
    assert dropped(stalled.endpoint) == {"conflated": 4}
    assert stalled.resume() == stalled.first + b"".join(frames[i] for i in (4, 5, 6))
    stalled.end()


@pytest.mark.parametrize("policy", [DROP_OLDEST, CONFLATE])
def test_a_policy_drops_publications_of_its_own_topic_only(stage: Stage, policy: int) -> None:
    stalled = Stalled(stage, cost(7) + 3 * cost(10))
    other, audience = Audience(stage.loop_data, policy), Audience(stage.loop_data, policy)
    other.add(stalled.wire)
    audience.add(stalled.wire)
    for i in range(3):
        other.publish((encode_frame(BINARY, b"%08d" % i),))
    audience.publish((encode_frame(BINARY, b"one more"),))
    assert stalled.endpoint.slow_consumers == 1
    assert (other.dropped, audience.dropped) == (0, 1)
    assert stalled.resume() == SLOW
    stalled.end()


def test_tiny_frames_count_with_the_memory_they_take(stage: Stage) -> None:
    stalled = Stalled(stage, 64_000)
    for _ in range(10_000):
        stalled.wire.send("")
    assert stalled.endpoint.slow_consumers == 1
    assert stalled.endpoint.dropped < 1_000
    stalled.end()


def test_a_slow_consumer_leaves_every_audience_and_hears_nothing_after_its_close(stage: Stage) -> None:
    stalled = Stalled(stage, 30)
    audiences = [Audience(stage.loop_data, policy) for policy in range(3)]
    for audience in audiences:
        audience.add(stalled.wire)
    assert stalled.wire.send("x" * 30) == GONE
    assert [len(audience) for audience in audiences] == [0, 0, 0]
    assert audiences[0].publish((encode_frame(TEXT, "late"),)) == 0
    stalled.wire.send("late")
    stalled.wire.ping(b"late")
    assert stalled.resume() == SLOW
    stalled.end()


def test_a_frame_waits_by_reference_and_is_let_go(stage: Stage) -> None:
    waiting = [Stalled(stage, 1000) for _ in range(5)]
    audience = Audience(stage.loop_data, DROP_OLDEST)
    for stalled in waiting:
        audience.add(stalled.wire)
    frame, key = encode_frame(BINARY, bytes(300)), b"a key of its own"
    held = sys.getrefcount(frame), sys.getrefcount(key), sys.getrefcount(audience)
    audience.publish((frame,), None, key)
    assert sys.getrefcount(frame) == held[0] + 5
    waiting[0].resume()
    waiting[1].end()
    waiting[2].wire.send(bytes(2000))
    for _ in range(4):
        audience.publish((bytes(300),))
    assert sys.getrefcount(frame) == held[0]
    for stalled in waiting:
        stalled.resume()
        stalled.end()
    assert (sys.getrefcount(frame), sys.getrefcount(key), sys.getrefcount(audience)) == held


# With a socket, where a frame may be half sent


async def blocked(server: Server) -> tuple[Client, Any]:
    """A client that reads nothing, and its connection, of which a frame is half sent."""
    client = await server.connect(receive_buffer=4096)
    conn = server.conns[-1]
    while conn.send(b"fill" * 2500) == SENT:
        await turns(2)
    return client, conn


def read_now(client: Client) -> int:
    """Read what is there without a turn of the loop; returns the bytes."""
    try:
        return len(client.socket.recv(1 << 20))
    except BlockingIOError:
        return 0


def numbered(count: int, size: int) -> list[bytes]:
    return [encode_frame(BINARY, b"%08d" % i + bytes([i]) * size) for i in range(count)]


@pytest.mark.parametrize("policy", [DROP_OLDEST, CONFLATE])
@on_reactor
async def test_a_publication_that_is_half_sent_is_never_dropped(policy: int) -> None:
    async with serving("reactor", listener_options=SMALL_BUFFERS, max_outbox=1_000_000) as server:
        client = await server.connect(receive_buffer=4096)
        audience = Audience(server.loop_data, policy)
        audience.add(server.conns[0])
        frames = numbered(30, 300_000)
        for frame in frames:
            audience.publish((frame,))
            await turns(3)
            assert server.conns[0].buffered % len(frame)  # the first one that waits is half sent
        assert server.endpoint.dropped > 0
        await client.send_close()
        heard = [frame for frame in await client.frames_until_eof() if frame.opcode != CLOSE]
        numbers = [int(frame.payload[:8]) for frame in heard]
        assert [encode_frame(BINARY, frame.payload) for frame in heard] == [frames[number] for number in numbers]
        assert numbers == sorted(set(numbers))
        assert numbers[0] == 0
        assert numbers[-1] == 29
        assert len(numbers) == 30 - server.endpoint.dropped


@on_reactor
async def test_the_close_of_a_slow_consumer_follows_the_frame_that_is_half_sent() -> None:
    async with serving("reactor", listener_options=SMALL_BUFFERS, max_outbox=100_000) as server:
        client, conn = await blocked(server)
        before = conn.buffered
        while conn.state == 1:
            conn.send(bytes(40_000))
        assert conn.buffered < before
        assert server.endpoint.slow_consumers == 1
        frames: list[Frame] = []
        while not frames or frames[-1].opcode != CLOSE:
            frames.append(await client.read_frame())
        assert {frame.payload for frame in frames[:-1]} == {b"fill" * 2500}
        assert (frames[-1].close_code, frames[-1].close_reason) == (4003, "slow_consumer")


@on_reactor
async def test_every_byte_arrives_in_order_however_slowly_it_is_read() -> None:
    dice = random.Random(7)
    async with serving("reactor", listener_options=SMALL_BUFFERS, max_outbox=1 << 30) as server:
        client = await server.connect(receive_buffer=65536)
        expected = bytearray()
        for number in range(400):
            frame = encode_frame(BINARY, b"%08d" % number + bytes(dice.choice((0, 20, 200, 3000, 70_000))))
            server.conns[0].send_frame(frame)
            expected += frame
            if not dice.randrange(3):
                await turns(1)
            if not dice.randrange(5):
                await client.receive()
        assert server.conns[0].congested
        assert await client.read_exactly(len(expected)) == bytes(expected)
        await until(lambda: server.conns[0].buffered == 0)
        assert not server.conns[0].congested
        assert server.drained[-1] is server.conns[0]


@on_reactor
async def test_a_socket_that_took_everything_at_last_wakes_nobody_any_more() -> None:
    async with serving("reactor", max_outbox=1 << 30) as server:
        client = await server.connect()
        conn = server.conns[0]
        for _ in range(3):
            while conn.buffered < 1_300_000:  # more than is sent to one socket in one go
                conn.send(bytes(60_000))
                await turns(1)
            while conn.buffered:
                while read_now(client):
                    pass
                await turns(1)
        while read_now(client):
            await turns(1)
        waits = server.reactor.waits
        await turns(100)
        assert server.reactor.waits - waits <= 5


@on_reactor
async def test_a_flood_of_pings_to_a_full_socket_is_answered_once() -> None:
    async with serving("reactor", listener_options=SMALL_BUFFERS) as server:
        client, conn = await blocked(server)
        buffered = conn.buffered
        for i in range(200):
            await client.send_frame(PING, b"%03d" % i)
        await client.send(build_frame(TEXT, b"done"))
        await until(lambda: server.messages == ["done"])
        assert conn.buffered == buffered + 5 + 6
        heard: list[Frame] = []
        while not heard or heard[-1].payload != b"done":
            heard.append(await client.read_frame())
        assert [frame.payload for frame in heard if frame.opcode == PONG] == [b"199"]
