"""The generator: the same for the same number, mostly right, and no kind of fault left out."""

import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

from fastws.core.law import Law
from tests.differential.judging import bytewise, judge
from tests.differential.streams import make_stream
from tests.differential.subjects import Timeline

SAMPLE = range(1500)


def test_streams_are_the_same_in_every_process() -> None:
    program = "from tests.differential.test_streams import checksum; print(checksum())"
    root = Path(__file__).parents[2]
    there = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=True).stdout
    assert int(there) == checksum()


def checksum() -> int:
    return zlib.crc32(b"".join(make_stream(number).data for number in range(50)))


def test_streams_have_something_of_everything() -> None:
    codes: Counter[int] = Counter()
    opcodes: Counter[int] = Counter()
    late = 0
    for stream in map(make_stream, SAMPLE):
        outcome = Timeline(stream.limits, stream.data).after(len(stream.data))
        codes[outcome.code] += 1
        for message in outcome.messages:
            opcodes[1 if isinstance(message, str) else 2] += 1
        opcodes[9] += len(outcome.pongs)
        late += bool(outcome.code and (outcome.messages or outcome.pongs))
    assert min(codes[0], codes[1002], codes[1007], codes[1009], codes[1005]) >= 20, codes
    assert len(codes) > 15, codes
    assert min(opcodes[1], opcodes[2], opcodes[9]) > 200, opcodes
    assert late > 300


def test_the_law_judges_alike_in_one_piece_and_byte_by_byte() -> None:
    for stream in map(make_stream, SAMPLE):
        limits = stream.limits
        laws = [Law(limits.max_message_size, limits.max_fragments, 15 if limits.deflate else 0) for _ in range(2)]
        assert judge(laws[0], [stream.data])[:2] == judge(laws[1], bytewise(stream.data))[:2], stream
