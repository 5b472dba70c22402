"""Inflation and compression: what a message becomes is what zlib makes of it, never a byte more than its limit.

Input: a byte that chooses limit and opcode, a byte for the size of the pieces (0: whole), a byte for the frames, then
the payload of a compressed message. The same bytes are compressed as well and have to come back.
"""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

from fastws.core.deflate import BoundedDeflate, compress
from fastws.core.deflate import inflate as inflate_at_once

MAX_BYTES = 2048
LIMITS = (0, 1, 5, 40, 125, 4096, 65536)
UNLIMITED = 1 << 22
WORDS = (
    *(b"\x00\x00\xff\xff", b"\x01\x00\x00\xff\xff", b"\x00", b"\x03\x00", b"\x02\x00", b"\xf2H\xcd\xc9\xc9\x07\x00"),
    *(b"\x00\x05\x00\xfa\xff", b"\x01\x01\x00\xfe\xff", b"\x4a\x04\x02\x00", b"\xed\xc1\x01\x01", b"\x05\xc0\x81"),
    *(zlib.compress(b"a" * 500, wbits=-15), zlib.compress("\u20ac".encode() * 9, wbits=-15)[:-1]),
)
_ENDING = b"\x00\x00\xff\xff"
_RSV1 = RsvBits(True, False, False)
_NONE = RsvBits(False, False, False)


class Outcome(NamedTuple):
    """What a message came to: its content and the code of the refusal, 0 for none."""

    content: bytes
    code: int


def run(data: bytes) -> None:
    """Inflate in every cut, ask zlib, and go the way back."""
    if len(data) < 3:
        return
    limit = LIMITS[data[0] >> 1 & 7] if data[0] >> 1 & 7 < len(LIMITS) else 0
    opcode = Opcode.TEXT if data[0] & 1 else Opcode.BINARY
    payload = data[3:]
    whole = inflate(payload, limit, opcode, [len(payload)], 0)
    step, cut = data[1] % 64, min(data[2], len(payload))
    sizes = [step] * (len(payload) // step) + [len(payload) % step] if step else [len(payload)]
    assert inflate(payload, limit, opcode, sizes, cut) == whole, "the pieces make a difference"
    message = inflate_at_once(payload, opcode is Opcode.TEXT, limit or UNLIMITED)
    if message is not None:
        content = message.encode() if isinstance(message, str) else message
        assert whole == Outcome(content, 0), f"at once it was {message!r}, in pieces {whole}"
        assert isinstance(message, str) == (opcode is Opcode.TEXT)
    if len(payload) < 1000:  # a message of more final blocks than may be is refused however small
        wanted = by_zlib(payload, limit, opcode)
        assert whole == wanted, f"{whole}, zlib says {wanted}"
    _go_back(payload, data[1] % 7 + 9, opcode)


def inflate(payload: bytes, limit: int, opcode: Opcode, sizes: list[int], cut: int) -> Outcome:
    """What `BoundedDeflate` makes of a message in two frames (`cut` 0: one), whose bytes come in these sizes."""
    deflate = BoundedDeflate(limit)
    # wsproto's frame decoder is not looked at here.
    proto: Any = None
    content = b""
    frames = [payload[:cut], payload[cut:]] if cut else [payload]
    for number, frame in enumerate(frames):
        said = deflate.frame_inbound_header(
            proto, Opcode.CONTINUATION if number else opcode, _NONE if number else _RSV1, len(frame)
        )
        if isinstance(said, CloseReason):
            return Outcome(b"", int(said))
        at = 0
        for size in sizes if number == len(frames) - 1 else [len(frame)]:
            piece = deflate.frame_inbound_payload_data(proto, frame[at : at + size])
            at += size
            if isinstance(piece, CloseReason):
                return Outcome(b"", int(piece))
            content += piece
            assert not limit or len(content) <= limit, "more was made than the limit allows"
        piece = deflate.frame_inbound_complete(proto, number == len(frames) - 1) or b""
        if isinstance(piece, CloseReason):
            return Outcome(b"", int(piece))
        content += piece
    assert not limit or len(content) <= limit, "more was made than the limit allows"
    return _judged(content, opcode)


def _judged(content: bytes, opcode: Opcode) -> Outcome:
    code = _text_code(content, opcode)
    return Outcome(b"" if code else content, code)


def _text_code(content: bytes, opcode: Opcode) -> int:
    """A text that ends inside a character is for wsproto to refuse; here it is as wrong as any other."""
    if opcode is Opcode.TEXT:
        try:
            content.decode()
        except UnicodeDecodeError:
            return 1007
    return 0


def by_zlib(payload: bytes, limit: int, opcode: Opcode) -> Outcome:
    """The same by RFC 7692 7.2.2, by zlib alone and all at once."""
    content = b""
    rest = payload
    while rest:
        stream = zlib.decompressobj(-15)
        try:
            content += stream.decompress(rest, UNLIMITED)
            if stream.eof:
                rest = stream.unused_data
                continue
            content += stream.decompress(_ENDING, UNLIMITED)
            if not _ends_a_block(stream):
                return Outcome(b"", _first_fault(payload, limit, opcode))
            rest = b""
        except zlib.error:
            return Outcome(b"", _first_fault(payload, limit, opcode))
    if limit and len(content) > limit:
        return Outcome(b"", _first_fault(payload, limit, opcode))
    return _judged(content, opcode)


def _ends_a_block(stream: "zlib._Decompress") -> bool:
    """Where a block ends a further one may begin, or nothing, and nowhere else. Raises `zlib.error` elsewhere."""
    if not stream.eof:
        stream.decompress(b"\x01\x00\x00\xff\xff", 1)
    return stream.eof and not stream.unused_data


def _first_fault(payload: bytes, limit: int, opcode: Opcode) -> int:
    """The code of a message that is wrong in more than one way: what is met first counts, one byte at a time."""
    content = b""
    stream = zlib.decompressobj(-15)
    behind = payload + _ENDING
    for at in range(len(behind)):
        try:
            content += stream.decompress(behind[at : at + 1], limit + 1 - len(content) if limit else UNLIMITED)
        except zlib.error:
            return 1007
        if stream.eof:
            stream = zlib.decompressobj(-15)
        if limit and len(content) > limit:
            break
    if not limit or len(content) <= limit:
        return 1007
    return 1007 if opcode is Opcode.TEXT and not _may_go_on(content[:limit]) else 1009


def _may_go_on(content: bytes) -> bool:
    """Whether it is the beginning of a text."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        half = content[error.start :]
        # CPython waits for the third byte of half a surrogate pair, though no character begins like that.
        return error.reason == "unexpected end of data" and not b"\xed\xa0" <= half[:2] <= b"\xed\xbf"
    return True


def _go_back(payload: bytes, window_bits: int, opcode: Opcode) -> None:
    packed = compress(payload, window_bits)
    stream = zlib.decompressobj(-window_bits)
    assert stream.decompress(packed + _ENDING) == payload, "the window is wider than agreed on"
    wanted = _judged(payload, opcode)
    assert inflate(packed, 0, opcode, [len(packed)], 0) == wanted
    # What we would send ourselves is not left to the slower way.
    at_once = inflate_at_once(packed, opcode is Opcode.TEXT, UNLIMITED)
    assert (at_once is None) == bool(wanted.code)


def seeds() -> Mapping[str, bytes]:
    """Every kind of block, alone and in turn, whole and broken."""

    def packed(content: bytes, level: int, flush: int) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
        return compressor.compress(content) + compressor.flush(flush)

    text = "the quick brown fox, \u00e4\u20ac\U0001f642; ".encode()
    payloads = {
        "empty": b"",
        "nothing": b"\x00",
        "stored": packed(text, 0, zlib.Z_SYNC_FLUSH)[:-4],
        "fixed": packed(b"hello", 9, zlib.Z_SYNC_FLUSH)[:-4],
        "dynamic": packed(text * 9 + bytes(range(128)), 9, zlib.Z_SYNC_FLUSH)[:-4],
        "run": packed(b"a" * 6000, 9, zlib.Z_SYNC_FLUSH)[:-4],
        "final": packed(text, 9, zlib.Z_FINISH),
        "final-and-more": packed(b"a", 9, zlib.Z_FINISH) + packed(b"b", 9, zlib.Z_SYNC_FLUSH)[:-4],
        "final-twice": packed(b"a", 9, zlib.Z_FINISH) * 2,
        "not-stripped": packed(text, 9, zlib.Z_SYNC_FLUSH),
        "cut": packed(text, 9, zlib.Z_SYNC_FLUSH)[:-6],
        "full-flush": packed(text, 9, zlib.Z_FULL_FLUSH) + packed(text, 0, zlib.Z_SYNC_FLUSH)[:-4],
        "bad-text": packed(b"abc\xff", 9, zlib.Z_SYNC_FLUSH)[:-4],
        "half-a-character": packed(b"abc\xe2\x82", 9, zlib.Z_SYNC_FLUSH)[:-4],
    }
    options = (0, 1, 11, 10, 7, 12, 5, 13, 3, 2, 9, 6, 11, 13)
    return {
        name: bytes([options[i % len(options)], i * 5 % 64, i * 3 % 11]) + payload
        for i, (name, payload) in enumerate(payloads.items())
    }
