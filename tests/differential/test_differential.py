"""Shortcut + law = law alone: the same messages, the same pongs, the same close code, at the same byte, in any pieces.

20,000 streams; `FASTWS_TEST_STREAMS` sets another number. A failure names the stream's number and the cuts.
"""

import os

import pytest

from tests.differential.checking import check
from tests.differential.streams import make_stream
from tests.differential.subjects import WireRig

STREAMS = int(os.environ.get("FASTWS_TEST_STREAMS", "20000"))
STREAMS_PER_TEST = 1000


@pytest.mark.parametrize("start", range(0, STREAMS, STREAMS_PER_TEST))
def test_wire_and_law_agree(start: int) -> None:
    rig = WireRig()
    for number in range(start, min(start + STREAMS_PER_TEST, STREAMS)):
        check(rig, make_stream(number))
