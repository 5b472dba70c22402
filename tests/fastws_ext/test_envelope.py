"""Publications are read from the bytes as their layout says."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastws_ext import envelope
from tests.fuzz.targets import envelopes

SEEDS = envelopes.seeds()
WHOLE = SEEDS["publication"]


def noted(*made: Any) -> Any:
    return made


def read(data: bytes) -> Any:
    """As the reference says it."""
    if data[:2] == b"\x01\x02":
        many = envelope.publications_in(data, noted)
        return None if many is None else [(*made[:5], exclude, epoch) for made, exclude, epoch in many]
    one = envelope.publication_in(data, noted)
    return None if one is None else [(*one[0][:5], one[1], one[2])]


@pytest.mark.parametrize("seed", SEEDS)
def test_it_reads_what_the_layout_says(seed: str) -> None:
    assert read(SEEDS[seed]) == envelopes._read(SEEDS[seed])


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x01\x01", b"\x01\x02", WHOLE[:20], WHOLE[:30]]))
@example(b"", b"\x01\x02")
@example(WHOLE[2:], b"\x01\x01")
def test_it_reads_any_bytes_as_the_layout_says(data: bytes, before: bytes) -> None:
    assert read(before + data) == envelopes._read(before + data)


@pytest.mark.parametrize("seed", ["publication", "batch"])
def test_cut_anywhere_and_with_any_byte_wrong(seed: str) -> None:
    data = SEEDS[seed]
    for at in range(len(data)):
        assert read(data[:at]) == envelopes._read(data[:at])
        for byte in (0, 1, 0x7F, 0x80, 0xC3, 0xFF):
            wrong = data[:at] + bytes((byte,)) + data[at + 1 :]
            assert read(wrong) == envelopes._read(wrong)


def test_numbers_are_as_large_as_they_may_be() -> None:
    largest = WHOLE[:4] + b"\xff" * 16 + WHOLE[20:]
    made = envelope.publication_in(largest, noted)
    assert made is not None
    assert made[0][1:3] == (2**64 - 1, 2**64 - 1)


@pytest.mark.parametrize("reader", [envelope.publication_in, envelope.publications_in])
def test_what_is_no_bytes_is_refused(reader: Callable[..., Any]) -> None:
    for other in (None, "text", bytearray(WHOLE), memoryview(WHOLE)):
        with pytest.raises(TypeError):
            reader(other, noted)


def test_what_the_maker_raises_is_raised() -> None:
    def fail(*_made: Any) -> None:
        raise ValueError("no")

    for data in (WHOLE, SEEDS["batch"]):
        reader = envelope.publications_in if data[1] == 2 else envelope.publication_in
        with pytest.raises(ValueError, match="no"):
            reader(data, fail)


def test_a_batch_of_more_than_there_may_be_is_none() -> None:
    small = SEEDS["server"]
    one = len(small).to_bytes(4, "big") + small
    assert len(envelope.publications_in(b"\x01\x02" + one * 65536, noted) or ()) == 65536
    assert envelope.publications_in(b"\x01\x02" + one * 65537, noted) is None
