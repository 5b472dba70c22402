"""The frame codec against definitions written in Python."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastws_ext.frames import encode_close, encode_frame, judge, unmask, utf8_feed
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    Frame,
    build_frame,
    parse_frame,
    xor,
)

INCOMPLETE, PLAIN, FOR_LAW, BROKEN, FRAGMENT = range(5)
REJECTED = 8  # state of utf8_feed
BOUNDARIES = (0, 1, 125, 126, 127, 65535, 65536, 65537)

opcodes = st.sampled_from((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
keys = st.binary(min_size=4, max_size=4)
# Near every border of the alphabet of UTF-8: ASCII, continuations, leads of each length, what never occurs.
utf8_bytes = st.sampled_from(
    b"aZ\x00\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xff"
)
nearly_utf8 = st.lists(
    st.one_of(st.text(max_size=12).map(str.encode), st.lists(utf8_bytes, max_size=3).map(bytes)), max_size=6
).map(b"".join)


# Encoding


@given(opcode=opcodes, payload=st.binary(max_size=300), fin=st.booleans(), rsv1=st.booleans())
def test_what_is_encoded_is_read_back(opcode: int, payload: bytes, fin: bool, rsv1: bool) -> None:
    payload = payload[:125] if opcode & 8 else payload
    frame = encode_frame(opcode, payload, fin=fin, rsv1=rsv1)
    assert parse_frame(frame) == (Frame(opcode, payload, fin, 4 * rsv1, masked=False), len(frame))


@pytest.mark.parametrize("size", BOUNDARIES)
def test_length_is_written_in_as_few_bytes_as_it_needs(size: int) -> None:
    frame = encode_frame(BINARY, bytes(size))
    assert frame == build_frame(BINARY, bytes(size), mask=None)
    assert len(frame) == size + (2 if size < 126 else 4 if size < 65536 else 10)


@given(st.text())
def test_text_is_encoded_as_its_utf8(text: str) -> None:
    assert encode_frame(TEXT, text) == encode_frame(TEXT, text.encode())


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_carries_at_most_125_bytes(opcode: int) -> None:
    assert encode_frame(opcode, bytes(125))[1] == 125
    with pytest.raises(ValueError, match="at most 125"):
        encode_frame(opcode, bytes(126))


@pytest.mark.parametrize("opcode", [-1, 16])
def test_an_opcode_out_of_range_is_refused(opcode: int) -> None:
    with pytest.raises(ValueError, match="opcode"):
        encode_frame(opcode, b"")


def test_a_payload_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_frame(TEXT, 5)  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        encode_frame(TEXT, "\ud800")


@given(code=st.integers(1000, 4999), reason=st.text(max_size=200))
def test_the_reason_of_a_close_is_cut_to_123_bytes_of_whole_characters(code: int, reason: str) -> None:
    parsed = parse_frame(encode_close(code, reason))
    assert parsed is not None
    frame = parsed[0]
    assert (frame.opcode, frame.close_code) == (CLOSE, 1005 if code == 1005 else code)
    if code != 1005:
        whole = reason.encode("utf-8", "replace").decode()
        assert whole.startswith(frame.close_reason)
        left = whole[len(frame.close_reason) :]
        assert not left or len(frame.payload) - 2 + len(left[0].encode()) > 123


def test_a_close_without_a_code_is_empty() -> None:
    assert encode_close(1005) == encode_close(1005, "unheard") == b"\x88\x00"
    assert encode_close(1000) == b"\x88\x02\x03\xe8"


# Judging


def expected_judgement(data: bytes) -> tuple[int, int, int]:
    """RFC 6455 5.2 and 5.5, step by step; everything but a plain data frame, a ping or a pong is for the law."""
    if len(data) < 2:
        return INCOMPLETE, 0, 0
    fin, rsv, opcode = data[0] >> 7, data[0] >> 4 & 7, data[0] & 15
    masked, short = data[1] >> 7, data[1] & 127
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG) or (opcode & 8 and (not fin or short > 125)):
        return BROKEN, 0, 0
    extended = {126: 2, 127: 8}.get(short, 0)
    if len(data) < 2 + extended:
        return INCOMPLETE, 0, 0
    length = int.from_bytes(data[2 : 2 + extended], "big") if extended else short
    shortest = {0: 0, 2: 126, 8: 65536}[extended] <= length < 1 << 63
    size = 2 + extended + 4 * masked
    if rsv or not masked or opcode == CLOSE or not shortest:
        return FOR_LAW, size, length
    if not fin or opcode == CONTINUATION:
        return FRAGMENT, size, length
    return (PLAIN, size, length) if len(data) >= size else (INCOMPLETE, 0, 0)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    first = draw(st.one_of(st.integers(0, 255), st.sampled_from((0x81, 0x82, 0x89))))
    masked = draw(st.sampled_from((True, True, True, False)))
    short = draw(st.one_of(st.integers(0, 127), st.sampled_from((125, 126, 127))))
    size = {126: 2, 127: 8}.get(short, 0)
    lengths = st.sampled_from((0, 125, 126, 127, 65535, 65536, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63))
    extended = draw(lengths).to_bytes(8, "big")[8 - size :]
    key = draw(keys) if masked else b""
    whole = bytes([first, masked << 7 | short]) + extended + key + draw(st.binary(max_size=4))
    return whole[: draw(st.integers(0, len(whole)))]


@given(headers())
@example(b"\x81\x7f" + b"\x80" + bytes(7) + MASK)
@example(b"\x81\xff" + b"\xff" * 8 + MASK)
@example(b"\x88\x82" + MASK)
def test_the_judgement_of_any_header(data: bytes) -> None:
    assert judge(data) == expected_judgement(data)


@pytest.mark.parametrize("length_bytes", [2, 8])
@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536, (1 << 63) - 1, 1 << 63])
def test_a_length_in_more_bytes_than_it_needs_is_not_plain(length_bytes: int, length: int) -> None:
    if length < 1 << 8 * length_bytes:
        frame = build_frame(BINARY, length_bytes=length_bytes, declared_length=length)
        shortest = length >= (126 if length_bytes == 2 else 65536) and length < 1 << 63
        assert judge(frame) == (PLAIN if shortest else FOR_LAW, 6 + length_bytes, length)


@pytest.mark.parametrize(
    ("opcode", "size"),
    [(opcode, size) for opcode in (TEXT, BINARY, PING, PONG) for size in BOUNDARIES if size < 126 or not opcode & 8],
)
def test_the_usual_frames_of_a_client_are_plain(opcode: int, size: int) -> None:
    frame = build_frame(opcode, bytes(size))
    head = len(frame) - size
    assert judge(frame) == (PLAIN, head, size)
    assert judge(frame[: head - 1]) == (INCOMPLETE, 0, 0)


def test_a_wrong_header_is_told_with_its_second_byte() -> None:
    for first in range(256):
        for second in range(256):
            told = judge(bytes((first, second)))[0]
            assert (told == BROKEN) == (expected_judgement(bytes((first, second)))[0] == BROKEN)


@pytest.mark.parametrize(
    ("frame", "judgement"),
    [
        (build_frame(TEXT, bytes(5), fin=False), FRAGMENT),
        (build_frame(CONTINUATION, bytes(5)), FRAGMENT),
        (build_frame(CONTINUATION, bytes(5), fin=False), FRAGMENT),
        (build_frame(TEXT, bytes(5), rsv=4), FOR_LAW),
        (build_frame(CLOSE, bytes(5)), FOR_LAW),
    ],
)
def test_a_frame_is_judged_as_soon_as_its_length_is_known_not_when_the_key_is_there(
    frame: bytes, judgement: int
) -> None:
    assert judge(frame[:1]) == (INCOMPLETE, 0, 0)
    assert judge(frame[:2]) == (judgement, 6, 5)


# Masks


@given(payload=st.binary(max_size=80), key=keys, phase=st.integers(0, 11))
def test_masks_are_taken_off_from_any_phase(payload: bytes, key: bytes, phase: int) -> None:
    turned = key[phase & 3 :] + key[: phase & 3]
    assert unmask(payload, key, phase) == xor(payload, turned)


@given(payload=st.binary(max_size=64), key=keys, cuts=st.sets(st.integers(0, 64)))
def test_a_payload_unmasked_in_pieces_is_that_unmasked_at_once(payload: bytes, key: bytes, cuts: set[int]) -> None:
    ends = sorted({0, len(payload)} | {cut for cut in cuts if cut < len(payload)})
    assert b"".join(unmask(payload[a:b], key, a) for a, b in pairwise(ends)) == unmask(payload, key)


def test_a_key_has_four_bytes() -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        unmask(b"abc", b"xyz")


# UTF-8


def right_bytes(data: bytes) -> int | None:
    """The index of the first byte after which no text can begin with `data` any more, or None, by Python's decoder.

    Python names the start of the wrong sequence; which byte of it is wrong is found by trying how it may go on.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        start = error.start
    else:
        return None
    for end in range(start + 1, len(data) + 1):
        if not any(can_end(data[start:end] + tail) for tail in TAILS):
            return end - 1
    return None


TAILS = [bytes(tail) for tail in ((), (0x80,), (0xBF,), (0x80, 0x80), (0xBF, 0x80), (0x80,) * 3, (0xBF, 0x80, 0x80))]
TAILS += [b"\x90\x80\x80", b"\x9f\x80", b"\xa0\x80"]


def can_end(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


@given(nearly_utf8)
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"12345678\xc3\xa4" * 3 + b"\x80")
def test_text_is_wrong_at_its_first_wrong_byte(data: bytes) -> None:
    state, right = utf8_feed(0, data)
    wrong = right_bytes(data)
    if wrong is None:
        assert right == len(data)
        assert state != REJECTED
        assert (state == 0) == is_whole(data)
    else:
        assert (state, right) == (REJECTED, wrong)


def is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(data=nearly_utf8, cuts=st.sets(st.integers(0, 40)))
def test_text_in_pieces_is_judged_like_text_at_once(data: bytes, cuts: set[int]) -> None:
    ends = sorted({0, len(data)} | {cut for cut in cuts if cut < len(data)})
    state, right = 0, 0
    for a, b in pairwise(ends):
        state, count = utf8_feed(state, data[a:b])
        right += count
        if state == REJECTED:
            break
    assert (state, right) == utf8_feed(0, data)


def test_every_character_of_unicode_is_right_and_every_surrogate_wrong() -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)])).encode()
    assert utf8_feed(0, everything) == (0, len(everything))
    for code in range(0xD800, 0xE000):
        assert utf8_feed(0, chr(code).encode("utf-8", "surrogatepass")) == (REJECTED, 1)


def test_what_was_rejected_stays_rejected() -> None:
    assert utf8_feed(REJECTED, b"a") == (REJECTED, 0)
