"""The law by itself: whole messages out of any bytes in any pieces, one close code at the first wrong byte."""

import gc
import struct
import tracemalloc
import weakref
from contextlib import suppress

import pytest

from fastws.core.law import Event, Law
from fastws.errors import ProtocolViolation
from tests.differential.judging import bytewise, judge
from tests.support.frames import MASK, xor
from tests.support.frames import build_frame as frame


@pytest.fixture
def law() -> Law:
    return Law(1000, 4, 0)


MESSAGES: list[tuple[bytes, list[Event]]] = [
    (frame(1, "h€llo 🙂".encode()), [(1, "h€llo 🙂")]),
    (frame(1), [(1, "")]),
    (frame(2, b"\x00\xff"), [(2, b"\x00\xff")]),
    (frame(2), [(2, b"")]),
    (frame(2, b"x" * 126), [(2, b"x" * 126)]),
    (frame(9, b"here?") + frame(10, b"yes"), [(9, b"here?"), (10, b"yes")]),
    (frame(1, b"\xe2\x82", fin=False) + frame(0, b"\xac"), [(1, "€")]),
    (frame(1, b"a\r\n", fin=False) + frame(0, b"\rb\n"), [(1, "a\r\n\rb\n")]),
    (frame(2, b"a", fin=False) + frame(9) + frame(0, b"b", fin=False) + frame(0), [(9, b""), (2, b"ab")]),
    (frame(1, fin=False) + frame(0, fin=False) + frame(0), [(1, "")]),
    (frame(8), [(8, (1005, ""))]),
    (frame(8, b"\x03\xe8bye"), [(8, (1000, "bye"))]),
    (frame(8, b"\x0f\xa0"), [(8, (4000, ""))]),
    (frame(2, b"1") + frame(8) + frame(3), [(2, b"1"), (8, (1005, ""))]),
    (frame(2, b"x" * 1000), [(2, b"x" * 1000)]),
]


@pytest.mark.parametrize(("stream", "expected"), MESSAGES)
def test_complete_messages_in_any_pieces(stream: bytes, expected: list[Event]) -> None:
    assert judge(Law(1000, 4, 0), [stream]) == (expected, 0, len(stream))
    assert judge(Law(1000, 4, 0), bytewise(stream)) == (expected, 0, len(stream))
    for event in expected:
        assert type(event[1]) in (str, bytes, tuple)


# stream, close code, how many bytes are there when it is clear
VIOLATIONS: list[tuple[str, bytes, int, int]] = [
    ("unknown opcode", frame(3, b"x"), 1002, 2),
    ("unknown control opcode", frame(11), 1002, 2),
    ("reserved bit 1", frame(1, b"x", rsv=4), 1002, 2),
    ("reserved bit 2", frame(1, b"x", rsv=2), 1002, 2),
    ("reserved bit 3 with a long length", frame(1, b"x" * 200, rsv=1), 1002, 4),
    ("fragmented ping", frame(9, fin=False), 1002, 2),
    ("long ping", frame(9, b"x" * 126), 1002, 2),
    ("not masked", b"\x81\x01a", 1002, 2),
    ("length in 2 bytes that fits 1", b"\x81\xfe\x00\x7d" + MASK, 1002, 4),
    ("length in 8 bytes that fits 2", b"\x81\xff" + struct.pack("!Q", 65535) + MASK, 1002, 10),
    ("length with the top bit", b"\x81\xff" + b"\xff" * 8 + MASK, 1002, 10),
    ("continuation of nothing", frame(0, b"x"), 1002, 2),
    ("empty continuation of nothing", frame(0), 1002, 2),
    ("new message inside a message", frame(1, b"x", fin=False) + frame(1, b"y"), 1002, 9),
    ("one byte over the limit", frame(2, b"x" * 1001), 1009, 4),
    ("a length nobody has", frame(2, declared_length=2**63 - 1), 1009, 10),
    ("over the limit in the second fragment", frame(2, b"x" * 990, fin=False) + frame(0, b"y" * 11), 1009, 1000),
    ("a fragment too many", frame(2, fin=False) + frame(0, fin=False) * 3 + frame(0), 1009, 26),
    ("bad lead byte", frame(1, b"ab\xffcd"), 1007, 9),
    ("overlong", frame(1, b"\xc0\x80"), 1007, 7),
    ("surrogate", frame(1, b"\xed\xa0\x80"), 1007, 8),
    ("above U+10FFFF", frame(1, b"\xf4\x90\x80\x80"), 1007, 8),
    ("bad in the second fragment", frame(1, b"\xe2\x82", fin=False) + frame(0, b"(x"), 1007, 15),
    ("message ends inside a character", frame(1, b"\xe2\x82"), 1007, 8),
    ("empty last fragment inside a character", frame(1, b"\xe2", fin=False) + frame(0), 1007, 13),
    ("close of one byte", frame(8, b"\x03"), 1002, 7),
    ("close reason that is no text", frame(8, b"\x03\xe8\xff"), 1007, 9),
    *(
        (f"close code {code}", frame(8, struct.pack("!H", code)), 1002, 8)
        for code in (0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000, 65535)
    ),
]


@pytest.mark.parametrize(
    ("stream", "code", "at"), [case[1:] for case in VIOLATIONS], ids=[case[0] for case in VIOLATIONS]
)
def test_violation_is_clear_at_its_byte(stream: bytes, code: int, at: int) -> None:
    before = frame(2, b"ok") + frame(9, b"p")
    events: list[Event] = [(2, b"ok"), (9, b"p")]
    assert judge(Law(1000, 4, 0), [before + stream]) == (events, code, len(before + stream))
    assert judge(Law(1000, 4, 0), bytewise(before + stream)) == (events, code, len(before) + at)


def test_violation_is_raised_once_with_a_word_of_ours(law: Law) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        law.receive_data(frame(2, b"kept") + frame(1, b"secret \xff"))
    assert (caught.value.code, caught.value.reason) == (1007, "bad UTF-8")
    assert caught.value.__suppress_context__
    assert "secret" not in str(caught.value)
    assert law.events_before == [(2, b"kept")]
    assert law.receive_data(frame(2, b"later")) == []
    assert not law.idle


def test_bytes_after_a_close_frame_are_ignored(law: Law) -> None:
    assert law.receive_data(frame(8)) == [(8, (1005, ""))]
    assert law.receive_data(frame(3) + frame(2, b"x")) == []
    assert not law.idle


def test_limits_start_again_with_each_message() -> None:
    law = Law(10, 2, 0)
    stream = frame(2, b"x" * 5, fin=False) + frame(9, b"p" * 125) + frame(0, b"y" * 5)
    for pieces in ([stream * 3], bytewise(stream * 3)):
        assert judge(law, pieces)[:2] == ([(9, b"p" * 125), (2, b"xxxxxyyyyy")] * 3, 0)


def test_zero_means_no_limit() -> None:
    law = Law(0, 0, 0)
    stream = frame(2, b"x" * 1000, fin=False) + frame(0, b"y" * 70000, fin=False) * 20 + frame(0)
    assert judge(law, [stream]) == ([(2, b"x" * 1000 + b"y" * 1_400_000)], 0, len(stream))


@pytest.mark.parametrize("opcode", [1, 2, 9, 10])
def test_idle_after_the_last_byte_of_a_frame_and_not_before(law: Law, opcode: int) -> None:
    assert law.idle
    stream = frame(opcode, b"abc")
    assert [(law.receive_data(byte), law.idle)[1] for byte in bytewise(stream)] == [False] * (len(stream) - 1) + [True]


def test_idle_needs_no_open_message_and_no_bytes_of_the_next_frame(law: Law) -> None:
    pieces = [
        (frame(2, b"a", fin=False), False),
        (frame(9), False),
        (frame(0, b"b"), True),
        (frame(2, b"a") + frame(2)[:1], False),
        (b"", False),
        (frame(2)[1:], True),
    ]
    assert [(law.receive_data(piece), law.idle)[1] for piece, _ in pieces] == [idle for _, idle in pieces]


@pytest.mark.parametrize("opcode", [1, 2])
def test_a_declared_length_allocates_nothing(opcode: int) -> None:
    law = Law(0, 0, 0)
    tracemalloc.start()
    try:
        assert law.receive_data(frame(opcode, b"abcd", declared_length=2**62)) == []
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("opcode", [1, 2])
def test_a_message_in_tiny_pieces_costs_about_its_size(opcode: int) -> None:
    law = Law(40_000, 0, 0)
    head, payload = frame(opcode, declared_length=40_000), b"ab" * 20_000
    body = xor(payload, MASK)
    law.receive_data(head)
    tracemalloc.start()
    try:
        for i in range(0, 39_998, 2):
            law.receive_data(body[i : i + 2])
        # A list of the pieces would take 1.2 MB.
        assert tracemalloc.get_traced_memory()[0] < 300_000
    finally:
        tracemalloc.stop()
    assert law.receive_data(body[39_998:]) == [(opcode, payload.decode() if opcode == 1 else payload)]


@pytest.mark.parametrize("data", [b"", frame(1, b"half", fin=False), frame(1, b"whole")[:5], b"\xff\xff"])
def test_a_law_that_is_dropped_leaves_nothing_to_the_garbage_collector(data: bytes) -> None:
    law = Law(0, 0, 15)
    with suppress(ProtocolViolation):
        law.receive_data(data)
    inside = weakref.ref(law._protocol)
    gc.disable()
    try:
        del law
        assert inside() is None
    finally:
        gc.enable()
