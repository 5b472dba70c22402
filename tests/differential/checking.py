"""Compares both sides over one stream, in every way to cut it."""

import random
from collections.abc import Iterator
from itertools import cycle, islice, pairwise

from tests.differential.streams import Stream
from tests.differential.subjects import Timeline, Way, WireRig

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
    """Compare both sides after every piece of every way to cut. Raises `AssertionError` naming stream and cuts."""
    timeline = Timeline(stream.limits, stream.data)
    for ends, way in zip(ways_to_cut(stream), islice(cycle(Way), stream.number % 3, None), strict=False):
        pieces = [stream.data[a:b] for a, b in pairwise([0, *ends])]
        for end, got in zip(ends, rig.run(stream.limits, pieces, way), strict=True):
            assert got == timeline.after(end), f"{stream} cut at {ends}, {way}: after {end} bytes"
