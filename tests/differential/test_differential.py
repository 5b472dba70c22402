"""Shortcut + law = law alone: the same messages, the same pongs, the same close code, at the same byte, in any pieces.

20,000 streams; `FASTWS_TEST_STREAMS` sets another number. A failure names the stream's number and the cuts.
"""

import os
import random
from collections.abc import Iterator
from itertools import cycle, islice, pairwise

import pytest

from tests.differential.streams import Stream, make_stream
from tests.differential.subjects import Timeline, Way, WireRig

STREAMS = int(os.environ.get("FASTWS_TEST_STREAMS", "20000"))
STREAMS_PER_TEST = 1000
SHORT = 24
LONG = 2000


def ways_to_cut(stream: Stream) -> Iterator[list[int]]:
    """Ends of the pieces: whole, byte by byte, in two at every byte if the stream is short, and at random."""
    size = len(stream.data)
    yield [size]
    if 0 < size <= LONG:
        yield list(range(1, size + 1))
    if size <= SHORT:
        for cut in range(1, size):
            yield [cut, size]
    rng = random.Random(stream.number)
    for count in (1, 2, 5):
        yield [*sorted(rng.randrange(size + 1) for _ in range(count)), size]


def check(rig: WireRig, stream: Stream) -> None:
    """Compare both sides after every piece of every way to cut."""
    timeline = Timeline(stream.limits, stream.data)
    for ends, way in zip(ways_to_cut(stream), islice(cycle(Way), stream.number % 3, None), strict=False):
        pieces = [stream.data[a:b] for a, b in pairwise([0, *ends])]
        for end, got in zip(ends, rig.run(stream.limits, pieces, way), strict=True):
            assert got == timeline.after(end), f"{stream} cut at {ends}, {way}: after {end} bytes"


@pytest.mark.parametrize("start", range(0, STREAMS, STREAMS_PER_TEST))
def test_wire_and_law_agree(start: int) -> None:
    rig = WireRig()
    for number in range(start, min(start + STREAMS_PER_TEST, STREAMS)):
        check(rig, make_stream(number))
