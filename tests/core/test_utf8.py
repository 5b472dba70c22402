"""UTF-8 in pieces is wrong at its first wrong byte."""

import itertools

import pytest

from fastws.core.utf8 import TextCheck


def first_wrong(data: bytes) -> int | None:
    """Count the bytes after which no text can begin with `data` any more; None if one can."""
    check = TextCheck()
    for i in range(len(data)):
        if not check.accepts(data[i : i + 1]):
            return i + 1
    return None


def can_begin_a_character(data: bytes) -> bool:
    """Tell by trying ways to go on, from the definition."""
    ways = (data + bytes(ending) for size in range(4) for ending in itertools.product((0x80, 0xBF), repeat=size))
    return any(is_one_character(way) for way in ways)


def is_one_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize("lead", range(256))
def test_every_second_byte_is_judged_at_once(lead: int) -> None:
    for second in range(256):
        data = bytes([lead, second])
        if not can_begin_a_character(data[:1]):
            assert first_wrong(data) == 1
        elif is_one_character(data[:1]):
            assert first_wrong(data) == (None if can_begin_a_character(data[1:]) else 2)
        else:
            assert first_wrong(data) == (None if can_begin_a_character(data) else 2)


@pytest.mark.parametrize("text", ["", "ascii", "é€🙂\U0010ffff\ud7ff\ue000\x00"])
def test_text_is_accepted_in_any_two_pieces(text: str) -> None:
    data = text.encode()
    for cut in range(len(data) + 1):
        check = TextCheck()
        assert check.accepts(data[:cut])
        assert check.accepts(data[cut:])


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (b"\xed\xa0\x80", 2),
        (b"ok\xed\xbf", 4),
        (b"\xe2\x82\x28", 3),
        (b"\xf0\x9f\x99\xc0", 4),
        (b"\xf4\x8f\xbf\x7f", 4),
        (b"\x80", 1),
    ],
)
def test_wrong_texts(data: bytes, at: int) -> None:
    assert first_wrong(data) == at
    assert not TextCheck().accepts(data[:at])
