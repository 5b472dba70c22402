"""What is kept of bytes that cannot be used yet: nothing is lost, doubled or mixed up, or kept before it came."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.core.law import Law
from fastws_ext.endpoint import Endpoint
from tests.fastws_ext.harness import OPEN
from tests.fastws_ext.stage import COMMON, Stage, staging
from tests.support.frames import BINARY, CONTINUATION, PING, TEXT, build_frame

GIGABYTE = 1 << 30


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staging() as stage:
        yield stage


class Listener:
    """A connection that keeps what it hears, and pauses itself before the messages numbered in `pauses`."""

    def __init__(self, stage: Stage, pauses: frozenset[int] = frozenset(), **options: Any) -> None:
        self.stage = stage
        self.pauses = pauses
        self.heard: list[str | bytes] = []
        endpoint = Endpoint(
            stage.loop_data, "/ws", ping_interval=0, law_factory=Law, on_message=self.on_message, **options
        )
        ingress = stage.table()
        ingress.routes = {b"/ws": endpoint}
        self.wire, self.transport = stage.connect(ingress)
        self.wire.data_received(COMMON)
        self.transport.written = b""

    def on_message(self, conn: Any, message: str | bytes) -> None:
        self.heard.append(message)
        if len(self.heard) in self.pauses:
            conn.pause_reading()

    def settle(self) -> None:
        """Resume as often as it paused, until a turn of the loop has no pass: all is parsed that can be."""
        passes = -1
        while passes != self.stage.loop_data.passes or self.wire.paused:
            passes = self.stage.loop_data.passes
            self.wire.resume_reading()
            self.stage.turn()

    def end(self) -> None:
        self.wire.abort()
        self.stage.settle()


texts = st.one_of(st.text(max_size=20), st.text("aä€😀", min_size=60, max_size=90))
messages = st.one_of(texts, st.binary(max_size=30), st.integers(125, 9000).map(bytes))


def frames_for(message: str | bytes, pieces: int) -> bytes:
    """A message in `pieces` fragments, with a ping between them."""
    opcode = TEXT if isinstance(message, str) else BINARY
    data = message.encode() if isinstance(message, str) else message
    size = len(data) // pieces + 1
    parts = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
    frames = [build_frame(CONTINUATION if i else opcode, part, fin=i == len(parts) - 1) for i, part in enumerate(parts)]
    return build_frame(PING, b"p").join(frames)


@settings(max_examples=150)
@given(
    said=st.lists(st.tuples(messages, st.sampled_from((1, 1, 1, 3))), max_size=12),
    cuts=st.lists(st.integers(1, 5000), max_size=30),
    pauses=st.frozensets(st.integers(1, 12)),
)
def test_messages_arrive_whole_and_in_order_however_their_bytes_do(
    stage: Stage, said: list[tuple[str | bytes, int]], cuts: list[int], pauses: frozenset[int]
) -> None:
    listener = Listener(stage, pauses)
    data = b"".join(frames_for(message, pieces) for message, pieces in said)
    for cut in cuts:
        piece, data = data[:cut], data[cut:]
        if piece:
            listener.wire.data_received(piece)
        if cut % 3 == 0:
            listener.settle()
    if data:
        listener.wire.data_received(data)
    listener.settle()
    assert listener.heard == [message for message, _ in said]
    assert listener.wire.state == OPEN
    listener.end()


def test_bytes_that_come_while_paused_are_kept_and_served_by_and_by(stage: Stage) -> None:
    listener = Listener(stage, frozenset(range(1, 101)))
    for number in range(100):
        listener.wire.data_received(build_frame(TEXT, b"%d" % number))
    assert listener.heard == ["0"]
    for number in range(1, 100):
        listener.wire.resume_reading()
        while not listener.wire.paused:
            stage.turn()
        assert listener.heard[1:] == [str(i) for i in range(1, number + 1)]
    listener.end()


def virtual_size() -> int:
    """Bytes of address space, which grow with what is allocated even before it is used."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * 4096


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_the_size_that_a_frame_declares_is_not_allocated(stage: Stage, opcode: int) -> None:
    listeners = [Listener(stage, max_message_size=GIGABYTE) for _ in range(20)]
    frame = build_frame(opcode, b"a" * 10_000, declared_length=GIGABYTE)
    before = virtual_size()
    for listener in listeners:
        listener.wire.data_received(frame[:100])
    assert virtual_size() - before < GIGABYTE // 10
    for listener in listeners:
        listener.wire.data_received(frame[100:])
        assert (listener.wire.state, listener.heard) == (OPEN, [])
        listener.end()


def test_a_message_may_be_as_large_as_the_limit_and_come_byte_by_byte(stage: Stage) -> None:
    listener = Listener(stage, max_message_size=20_000)
    for byte in build_frame(BINARY, bytes(range(250)) * 80):
        listener.wire.data_received(bytes([byte]))
    assert listener.heard == [bytes(range(250)) * 80]
    listener.end()
