"""Frames: a wire says what the law alone says, after every piece.

Input: a byte that chooses the limits, a byte that chooses how the wire is fed, a byte for the size of the pieces (0:
whole), then what a client sends after its upgrade. The wire gets it once whole and once in pieces.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from tests.differential.streams import Limits, make_stream
from tests.differential.subjects import Timeline, Way, WireRig
from tests.support.frames import build_frame

MAX_BYTES = 1024
LIMITS = (
    Limits(40, 3, False),
    Limits(40, 3, True),
    Limits(125, 2, False),
    Limits(126, 6, True),
    Limits(300, 3, False),
    Limits(300, 6, True),
    Limits(70_000, 3, False),
    Limits(2**31 - 1, 0, True),
)
WORDS = (
    *(bytes([fin | rsv | opcode]) for fin in (0, 128) for rsv in (0, 64) for opcode in (0, 1, 2, 8, 9, 10)),
    *(b"\x81\x80", b"\x81\xfe", b"\x81\xff", b"\x88\x82", b"\x89\x80", b"\x8a\x80", b"\x00\x80", b"\x01\x80"),
    *(b"\xc1\x80", b"\x00\x00\x00\x00", b"\x00\x7e", b"\x01\x00\x00", b"\x7f\xff\xff\xff\xff\xff\xff\xff"),
    *(b"\xf0\x9f\x99\x82", b"\xed\xa0\x80", b"\xe2\x82", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xff"),
    *(b"\x03\xe8", b"\x03\xed", b"\x0b\xb8", b"\x13\x87", b"\xf2H\xcd\xc9\xc9\x07\x00", b"\x03\x00", b"\x00"),
)


@cache
def rig() -> WireRig:
    """The wires of all inputs."""
    return WireRig()


def run(data: bytes) -> None:
    """Compare both sides."""
    if len(data) < 3:
        return
    limits = LIMITS[data[0] % len(LIMITS)]
    way = Way(data[1] % len(Way))
    stream = data[3:]
    timeline = Timeline(limits, stream)
    for ends in {(len(stream),), tuple(_ends(len(stream), data[2]))}:
        pieces = [stream[a:b] for a, b in zip((0, *ends), ends, strict=False)]
        for end, got in zip(ends, rig().run(limits, pieces, way), strict=True):
            wanted = timeline.after(end)
            assert got == wanted, f"{way}, cut at {ends}, after {end} bytes: {got}, the law says {wanted}"


def _ends(size: int, step: int) -> Iterator[int]:
    yield from range(step, size, step) if step else ()
    yield size


def seeds() -> Mapping[str, bytes]:
    """One of every kind of frame by hand, and generated streams, whose limits are the nearest here."""
    zero = b"\x00" * 4
    hello = b"\xf2H\xcd\xc9\xc9\x07\x00"
    by_hand = {
        "text": build_frame(1, "h\u00e9 \U0001f642".encode(), mask=zero),
        "ascii": build_frame(1, b"hello", mask=zero) + build_frame(2, b"\xff\x00", mask=zero),
        "longer": build_frame(2, b"x" * 126, mask=zero),
        "longest": b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00" + zero + b"x" * 9,
        "fragments": build_frame(1, b"a\xe2", fin=False, mask=zero)
        + build_frame(9, b"p", mask=zero)
        + build_frame(0, b"\x82", fin=False, mask=zero)
        + build_frame(0, b"\xac", mask=zero),
        "ping": build_frame(9, b"12345678", mask=zero) + build_frame(10, b"", mask=zero),
        "close": build_frame(8, b"\x03\xe8bye", mask=zero) + build_frame(1, b"late", mask=zero),
        "deflated": build_frame(1, hello, rsv=4, mask=zero),
        "deflated-fragments": build_frame(1, hello[:3], rsv=4, fin=False, mask=zero)
        + build_frame(0, hello[3:], mask=zero),
    }
    named = {name: bytes([i % 8, i % 3, i % 5]) + stream for i, (name, stream) in enumerate(by_hand.items())}
    for number in range(60):
        stream = make_stream(number)
        if len(stream.data) <= MAX_BYTES:
            nearest = next(i for i, limits in enumerate(LIMITS) if limits.deflate == stream.limits.deflate)
            named[f"stream-{number:02}"] = bytes([nearest, number % 3, number % 7]) + stream.data
    return named
