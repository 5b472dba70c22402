"""permessage-deflate: strict about offers, bounded in memory, exact about limits."""

import itertools
import random
import tracemalloc
import zlib

import pytest

from fastws.core.deflate import compress, negotiate
from fastws.core.law import Law
from tests.differential.judging import bytewise, judge
from tests.support.frames import build_frame as frame

ANSWER = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def deflated(payload: bytes, *, flush: int = zlib.Z_SYNC_FLUSH, wbits: int = -15) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, wbits)
    data = compressor.compress(payload) + compressor.flush(flush)
    return data.removesuffix(b"\x00\x00\xff\xff")


@pytest.mark.parametrize(
    ("offer", "suffix", "window_bits"),
    [
        (b"permessage-deflate", b"", 15),
        (b"permessage-deflate; client_max_window_bits", b"", 15),
        (b"permessage-deflate;client_max_window_bits=8", b"", 15),
        (b"permessage-deflate; server_max_window_bits=15", b"; server_max_window_bits=15", 15),
        (b"permessage-deflate; server_max_window_bits=9", b"; server_max_window_bits=9", 9),
        (b'permessage-deflate; server_max_window_bits="10"', b"; server_max_window_bits=10", 10),
        (b"permessage-deflate ; server_no_context_takeover ;\tclient_no_context_takeover", b"", 15),
        (b" , ,permessage-deflate,", b"", 15),
        (b"x-webkit-deflate-frame, permessage-deflate", b"", 15),
        (b'foo; bar="baz"; qux=1, permessage-deflate; server_max_window_bits = 12', b"; server_max_window_bits=12", 12),
        # the first that fits
        (b"permessage-deflate; server_max_window_bits=8, permessage-deflate", b"", 15),
        (
            b"permessage-deflate; unknown, permessage-deflate; server_max_window_bits=11",
            b"; server_max_window_bits=11",
            11,
        ),
        (b"permessage-deflate; server_max_window_bits=10, permessage-deflate", b"; server_max_window_bits=10", 10),
    ],
)
def test_offers_that_are_taken_up(offer: bytes, suffix: bytes, window_bits: int) -> None:
    assert negotiate(offer) == (ANSWER + suffix, window_bits)


@pytest.mark.parametrize(
    "offer",
    [
        b"",
        b" ",
        b",",
        b"deflate-frame",
        b"permessage-deflate-2",
        b"permessage-deflate; unknown",
        b"permessage-deflate; unknown=1",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; server_max_window_bits=",
        b"permessage-deflate; server_max_window_bits=7",
        b"permessage-deflate; server_max_window_bits=8",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; server_max_window_bits=09",
        b"permessage-deflate; server_max_window_bits=+9",
        b"permessage-deflate; server_max_window_bits=1\xb2",
        b"permessage-deflate; client_max_window_bits=7",
        b"permessage-deflate; client_max_window_bits=x",
        b"permessage-deflate; server_no_context_takeover=1",
        b'permessage-deflate; client_no_context_takeover="true"',
        b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        b"permessage-deflate; client_max_window_bits=10; client_max_window_bits=10",
        # outside the grammar: the whole value counts for nothing
        b"permessage-deflate;",
        b"permessage-deflate;;",
        b"permessage-deflate; =1",
        b"permessage-deflate other",
        b'permessage-deflate, foo; bar="baz',
        b'permessage-deflate, foo; bar="a,b"',
        b'permessage-deflate, foo; bar=""',
        b"permessage-deflate, \x00",
        b"permessage-deflate, f\xc3\xb6",
        b"permessage-deflate, (foo)",
    ],
)
def test_offers_that_are_declined(offer: bytes) -> None:
    assert negotiate(offer) is None


@pytest.mark.parametrize(
    "offer", [b" " * 16000, b"," * 16000, b"a;" * 8000, b'a;b="' * 3000, b"permessage-deflate;a" * 800]
)
def test_long_offers_take_linear_time(offer: bytes) -> None:
    # Quadratic work on 16 KB would be minutes under the trace of the test runs, and shows as the timeout.
    assert negotiate(offer) is None


@pytest.mark.parametrize("window_bits", range(9, 16))
@pytest.mark.parametrize("size", [0, 1, 128, 250, 500, 4095, 4096, 40_000])
def test_what_is_compressed_fits_the_window(window_bits: int, size: int) -> None:
    words = random.Random(size).choices([b"price", b"topic", b"publication", b"%d" % size], k=size)
    payload = b" ".join(words)[:size]
    data = compress(payload, window_bits)
    assert not data.endswith(b"\x00\x00\xff\xff")
    # A decompressor with the window that was agreed, and not more, understands it.
    inflater = zlib.decompressobj(-window_bits)
    assert inflater.decompress(data + b"\x00\x00\xff\xff") == payload
    assert not inflater.eof
    if size >= 128:
        assert len(data) < size


@pytest.mark.parametrize("payload", [b"", b"x", b"h\xc3\xa9llo " * 100])
@pytest.mark.parametrize("cut", ["whole", "bytes"])
def test_messages_inflate(payload: bytes, cut: str) -> None:
    law = Law(1000, 4, 15)
    stream = frame(1, deflated(payload), rsv=4) + frame(2, b"plain") + frame(2, deflated(payload), rsv=4)
    pieces = [stream] if cut == "whole" else bytewise(stream)
    assert judge(law, pieces) == ([(1, payload.decode()), (2, b"plain"), (2, payload)], 0, len(stream))
    assert law.idle


def test_control_frames_between_the_fragments_of_a_compressed_message() -> None:
    payload = "fragments € of a message ".encode() * 10
    data = deflated(payload)
    for first, second in itertools.combinations(range(len(data) + 1), 2):
        stream = frame(1, data[:first], fin=False, rsv=4) + frame(9, b"1") + frame(0, data[first:second], fin=False)
        stream += frame(10, b"2") + frame(9) + frame(0, data[second:])
        events = [(9, b"1"), (10, b"2"), (9, b""), (1, payload.decode())]
        assert judge(Law(1000, 4, 15), [stream]) == (events, 0, len(stream))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xf2\x48\xcd\xc9\xc9\x07\x00", id="fixed block"),
        pytest.param(b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", id="stored block"),
        pytest.param(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", id="BFINAL, then an empty block"),
        pytest.param(b"\xf3\x48\xcd\xc9\xc9\x07\x00", id="BFINAL and nothing behind it"),
        pytest.param(b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", id="two blocks"),
        pytest.param(deflated(b"He", flush=zlib.Z_FINISH) + deflated(b"llo"), id="a stream behind a final block"),
        pytest.param(deflated(b"He", flush=zlib.Z_FINISH) + deflated(b"llo", flush=zlib.Z_FINISH), id="two streams"),
        pytest.param(b"\x03\x00" * 1000 + deflated(b"Hello"), id="many final blocks"),
    ],
)
def test_every_shape_of_block(data: bytes) -> None:
    stream = frame(1, data, rsv=4)
    assert judge(Law(5, 4, 15), [stream]) == ([(1, "Hello")], 0, len(stream))
    assert judge(Law(5, 4, 15), bytewise(stream)) == ([(1, "Hello")], 0, len(stream))


@pytest.mark.parametrize("data", [b"", b"\x00"])
def test_empty_compressed_messages(data: bytes) -> None:
    assert judge(Law(5, 4, 15), [frame(1, data, rsv=4)])[0] == [(1, "")]
    fragments = frame(2, data, fin=False, rsv=4) + frame(0)
    assert judge(Law(5, 4, 15), [fragments])[0] == [(2, b"")]


def test_messages_do_not_share_a_window() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = b"the same words again and again"
    first = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
    second = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
    stream = frame(1, first[:-4], rsv=4) + frame(1, second[:-4], rsv=4)
    assert judge(Law(1000, 4, 15), [stream])[:2] == ([(1, text.decode())], 1007)


RSV1 = [
    ("without deflate", 0, frame(1, b"\x00", rsv=4), 2),
    ("on a ping", 15, frame(9, rsv=4), 2),
    ("on a close", 15, frame(8, rsv=4), 2),
    ("on a continuation", 15, frame(1, b"\x00", fin=False, rsv=4) + frame(0, b"\x00", rsv=4), 9),
    ("on a continuation of a plain message", 15, frame(1, b"a", fin=False) + frame(0, b"\x00", rsv=4), 9),
    ("with RSV2", 15, frame(1, b"\x00", rsv=6), 2),
]


@pytest.mark.parametrize(("window_bits", "stream", "at"), [case[1:] for case in RSV1], ids=[case[0] for case in RSV1])
def test_rsv1_where_it_may_not_be(window_bits: int, stream: bytes, at: int) -> None:
    assert judge(Law(1000, 4, window_bits), bytewise(stream)) == ([], 1002, at)
    assert judge(Law(1000, 4, window_bits), [stream]) == ([], 1002, len(stream))


CORRUPT = [
    ("reserved block type", b"\x07", 7),
    ("stored length and its complement differ", b"\x00\x05\x00\x00\x00Hello", 11),
    ("distance beyond the start", b"\x4b\x04\x12\x00", 9),
    ("cut inside a block", deflated(b"Hello, Hello, Hello")[:5], 11),
    ("cut inside a stored block", b"\x00\x0a\x00\xf5\xffHello", 16),
    ("tail not stripped", deflated(b"Hello") + b"\x00\x00\xff\xff", None),
    ("rubbish behind a final block", b"\xf3\x48\xcd\xc9\xc9\x07\x00" + b"\x07", 14),
]


@pytest.mark.parametrize(("data", "at"), [case[1:] for case in CORRUPT], ids=[case[0] for case in CORRUPT])
def test_what_is_not_deflate(data: bytes, at: int | None) -> None:
    stream = frame(2, data, rsv=4)
    assert judge(Law(1000, 4, 15), [stream]) == ([], 1007, len(stream))
    assert judge(Law(1000, 4, 15), bytewise(stream)) == ([], 1007, at or len(stream))


def test_a_message_of_exactly_the_limit() -> None:
    for opcode, payload in ((1, b"y" * 70_000), (2, random.Random(1).randbytes(70_000))):
        stream = frame(opcode, deflated(payload), rsv=4)
        assert judge(Law(70_000, 4, 15), [stream])[1] == 0
        assert judge(Law(69_999, 4, 15), [stream]) == ([], 1009, len(stream))


def test_the_limit_is_met_at_its_byte() -> None:
    # Stored blocks show the byte of the message in the byte of the frame.
    stream = frame(2, b"\x00\x0a\x00\xf5\xff0123456789\x00", rsv=4)
    assert judge(Law(10, 4, 15), bytewise(stream)) == ([(2, b"0123456789")], 0, len(stream))
    for limit in range(1, 10):
        assert judge(Law(limit, 4, 15), bytewise(stream)) == ([], 1009, 6 + 5 + limit + 1)


@pytest.mark.parametrize(
    "data",
    [
        b"\xf2H\x01\x00\x00\xff\xff\xcd\xc9",  # two literals and a block of no type
        b"\x4b\x7f\x00\x7d\x4b\x01\x01\x00\x7d\x4b\x01\x00\x00\xff\xff\x04\x00",  # a distance that leads nowhere
    ],
)
def test_too_big_before_malformed_in_any_pieces(data: bytes) -> None:
    """zlib looks one symbol ahead: what is wrong right behind the byte too many must not hide it."""
    stream = frame(2, data, rsv=4)
    whole, bytewise_ = (judge(Law(1, 9, 15), pieces) for pieces in ([stream], bytewise(stream)))
    assert whole[:2] == bytewise_[:2] == ([], 1009)


def test_the_limit_holds_over_fragments() -> None:
    data = deflated(b"x" * 3000)
    half = len(data) // 2
    stream = frame(1, data[:half], fin=False, rsv=4) + frame(9) + frame(0, data[half:])
    assert judge(Law(3000, 4, 15), [stream])[0] == [(9, b""), (1, "x" * 3000)]
    assert judge(Law(2999, 4, 15), [stream])[:2] == ([(9, b"")], 1009)


@pytest.mark.parametrize("wrong", [b"\xff", b"\xed\xa0", b"(\xe2("])
def test_bad_text_before_the_limit_wins_in_any_pieces(wrong: bytes) -> None:
    stream = frame(1, deflated(b"abc" + wrong + b"z" * 100), rsv=4)
    assert judge(Law(10, 4, 15), [stream])[1] == 1007
    assert judge(Law(10, 4, 15), bytewise(stream))[1] == 1007


@pytest.mark.parametrize("wrong", [b"\xff", b"\xed\xa0"])
def test_bad_text_behind_the_limit_is_never_seen(wrong: bytes) -> None:
    stream = frame(1, deflated(b"z" * 9 + b"\xe2\x82" + wrong), rsv=4)
    assert judge(Law(10, 4, 15), [stream])[1] == 1009
    assert judge(Law(10, 4, 15), bytewise(stream))[1] == 1009


@pytest.mark.parametrize("wrong", [b"\xff", b"\xed\xa0\x80", b"\xe2\x82"])
def test_compressed_text_is_text(wrong: bytes) -> None:
    stream = frame(1, deflated(b"abc" + wrong), rsv=4)
    assert judge(Law(1000, 4, 15), [stream]) == ([], 1007, len(stream))


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    bomb = frame(2, deflated(bytes(100_000_000)), rsv=4)
    law = Law(65_536, 4, 15)
    tracemalloc.start()
    try:
        assert judge(law, [bomb])[:2] == ([], 1009)
        # wsproto's buffer and its copies of the 97 KB of input, zlib's own state, one message
        assert tracemalloc.get_traced_memory()[1] < 800_000
    finally:
        tracemalloc.stop()


def test_blocks_that_inflate_to_nothing_do_not_go_on_for_ever() -> None:
    # A compressed size that no honest encoder needs is refused from the header.
    assert judge(Law(1000, 0, 15), [frame(2, declared_length=81_537, rsv=4)])[1] == 1009
    assert judge(Law(1000, 0, 15), [frame(2, declared_length=81_536, rsv=4)])[1] == 0
    empty_blocks = b"\x00\x00\x00\xff\xff" * 100
    stream = frame(2, empty_blocks, fin=False, rsv=4) + frame(0, empty_blocks, fin=False) * 200
    assert judge(Law(1000, 0, 15), [stream])[1] == 1009
    final_blocks = frame(2, b"\x03\x00" * 1025, rsv=4)
    assert judge(Law(1000, 0, 15), [final_blocks])[1] == 1009
    assert judge(Law(1000, 0, 15), bytewise(final_blocks))[1:] == (1009, 8 + 2050)


@pytest.mark.parametrize("opcode", [1, 2])
def test_any_damage_gets_the_same_answer_in_any_pieces(opcode: int) -> None:
    rng = random.Random(opcode)
    for _ in range(400):
        payload = "".join(rng.choices("ab€🙂", k=rng.randrange(60))).encode()
        data = bytearray(deflated(payload, flush=rng.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FINISH))))
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        stream = frame(opcode, bytes(data), rsv=4)
        limit = rng.randrange(1, 200)
        events, code, _ = judge(Law(limit, 4, 15), [stream])
        assert judge(Law(limit, 4, 15), bytewise(stream))[:2] == (events, code), stream.hex()
