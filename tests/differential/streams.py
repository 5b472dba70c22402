"""What clients send, made from a number: mostly right, sometimes wrong in one of the ways that frames can be wrong.

`make_stream(n)` gives the same stream for the same `n` on every machine, so a number is all that a failure has to say.
"""

import random
import struct
import zlib
from typing import NamedTuple

from tests.support.frames import build_frame as frame


class Limits(NamedTuple):
    """What a connection allows: bytes and data frames of a message, and whether deflate was negotiated."""

    max_message_size: int
    max_fragments: int
    deflate: bool


class Stream(NamedTuple):
    """All bytes of one client after its upgrade."""

    number: int
    limits: Limits
    data: bytes


_CHARACTERS = "abc xyz09\x00\x7f\u00e9\u07ff\u0800\u20ac\ud7ff\ue000\ufffd\U00010000\U0001f642\U0010ffff"
_NO_TEXT = [
    *(
        b"\x80",
        b"\xbf",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xc2",
        b"\xc2a",
        b"\xdf\xc0",
        b"\xe0\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xe2\x82",
    ),
    *(
        b"\xe2\x28\xa1",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xef\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x9f\x99",
    ),
    *(b"\xf0\x9f\x28\x82", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xfe", b"\xff"),
]
_RIGHT_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999)
_WRONG_CODES = (0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


def make_stream(number: int) -> Stream:
    """Return stream `number`."""
    return _Maker(number).stream()


class _Maker:
    def __init__(self, number: int) -> None:
        self.number = number
        self.rng = random.Random(number)
        large = number % 2500 == 7
        size = 70_000 if large else self.rng.choice((40, 40, 125, 126, 300))
        self.limits = Limits(size, self.rng.choice((2, 3, 6)), self.rng.random() < 0.4)
        self.sizes = (65_535, 65_536, 70_000) if large else (0, 1, 3, 7, 20, *((125, 126, 200) if size > 125 else ()))

    def stream(self) -> Stream:
        rng = self.rng
        parts = [self.right() for _ in range(rng.choice((1, 1, 2, 3, 4)))]
        fate = rng.random()
        if fate < 0.5:
            parts.insert(rng.randrange(len(parts) + 1), self.wrong())
        if rng.random() < 0.25:
            parts.insert(rng.randrange(len(parts), len(parts) + 2), self.close())
        data = b"".join(parts)
        if fate > 0.9 and data:
            data = data[: rng.randrange(len(data))]
        elif fate > 0.75 and data:
            damaged = bytearray(data)
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            data = bytes(damaged)
        return Stream(self.number, self.limits, data)

    # What a client may send.

    def right(self) -> bytes:
        return self.rng.choice(
            (
                self.plain,
                self.plain,
                self.control,
                self.fragmented,
                self.fragmented,
                self.deflated if self.limits.deflate else self.plain,
            )
        )()

    def mask(self) -> bytes:
        return self.rng.choice((b"\x00\x00\x00\x00", self.rng.randbytes(4), self.rng.randbytes(4)))

    def payload(self, opcode: int) -> bytes:
        size = min(self.rng.choice(self.sizes), self.limits.max_message_size)
        if self.rng.random() < 0.05:
            size = self.limits.max_message_size
        if opcode == 2:
            return self.rng.randbytes(size)
        text = "".join(self.rng.choices(_CHARACTERS, k=size)).encode()[:size]
        return text.decode("utf-8", "ignore").encode()

    def plain(self) -> bytes:
        opcode = self.rng.choice((1, 1, 2))
        return frame(opcode, self.payload(opcode), mask=self.mask())

    def control(self) -> bytes:
        size = self.rng.choice((0, 0, 1, 5, 125))
        return frame(self.rng.choice((9, 9, 10)), self.rng.randbytes(size), mask=self.mask())

    def pieces(self, payload: bytes, count: int | None = None) -> list[bytes]:
        count = self.rng.randrange(1, self.limits.max_fragments + 1) if count is None else count
        cuts = sorted(self.rng.randrange(len(payload) + 1) for _ in range(count - 1))
        return [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]

    def frames(self, opcode: int, pieces: list[bytes], rsv: int = 0) -> bytes:
        """A message in these fragments, now and then with control frames between them."""
        stream = b""
        for i, piece in enumerate(pieces):
            if i and self.rng.random() < 0.4:
                stream += self.control()
            last = i == len(pieces) - 1
            stream += frame(0 if i else opcode, piece, fin=last, rsv=0 if i else rsv, mask=self.mask())
        return stream

    def fragmented(self) -> bytes:
        opcode = self.rng.choice((1, 1, 2))
        return self.frames(opcode, self.pieces(self.payload(opcode)))

    def deflate(self, payload: bytes) -> bytes:
        compressor = zlib.compressobj(self.rng.choice((0, 1, 9)), zlib.DEFLATED, -15)
        half = self.rng.randrange(len(payload) + 1)
        data = compressor.compress(payload[:half])
        if self.rng.random() < 0.2:
            data += compressor.flush(self.rng.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)))
        data += compressor.compress(payload[half:])
        if self.rng.random() < 0.1:
            return data + compressor.flush(zlib.Z_FINISH) + self.rng.choice((b"", b"\x00"))
        return (data + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def deflated(self) -> bytes:
        opcode = self.rng.choice((1, 1, 2))
        return self.frames(opcode, self.pieces(self.deflate(self.payload(opcode))), rsv=4)

    def close(self) -> bytes:
        reason = "".join(self.rng.choices(_CHARACTERS, k=self.rng.choice((0, 0, 5)))).encode()
        code = struct.pack("!H", self.rng.choice(_RIGHT_CODES))
        return frame(8, self.rng.choice((b"", code, code + reason)), mask=self.mask())

    # What it may not send.

    def wrong(self) -> bytes:
        ways = [
            *(
                self.bad_opcode,
                self.bad_rsv,
                self.long_form,
                self.unmasked,
                self.bad_text,
                self.bad_text,
                self.too_big,
                self.too_many,
            ),
            *(self.bad_control, self.bad_order, self.bad_close, self.noise),
        ]
        if self.limits.deflate:
            ways += [self.bad_deflate, self.too_big_inflated, self.bad_text_inflated]
        return self.rng.choice(ways)()

    def bad_opcode(self) -> bytes:
        opcode = self.rng.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15))
        return frame(opcode, self.payload(2), fin=self.rng.random() < 0.8, mask=self.mask())

    def bad_rsv(self) -> bytes:
        opcode = self.rng.choice((0, 1, 2, 8, 9, 10))
        return frame(opcode, self.payload(1)[:125], rsv=self.rng.randrange(1, 8), mask=self.mask())

    def long_form(self) -> bytes:
        payload = self.payload(2)[:125]
        return frame(self.rng.choice((0, 1, 2, 9)), payload, mask=self.mask(), length_bytes=self.rng.choice((2, 8)))

    def unmasked(self) -> bytes:
        payload = self.payload(2)
        opcode = self.rng.choice((0, 1, 2, 8, 9, 10)) if len(payload) < 126 else 2
        return frame(opcode, payload, mask=None)

    def no_text(self) -> bytes:
        text = self.payload(1)
        at = self.rng.randrange(len(text) + 1)
        return (text[:at] + self.rng.choice(_NO_TEXT) + text[at:])[: self.limits.max_message_size]

    def bad_text(self) -> bytes:
        pieces = self.pieces(self.no_text(), self.rng.choice((1, None)))
        return self.frames(1, pieces)

    def bad_text_inflated(self) -> bytes:
        return self.frames(1, self.pieces(self.deflate(self.no_text() + b"z" * self.rng.choice((0, 500)))), rsv=4)

    def too_big(self) -> bytes:
        limit = self.limits.max_message_size
        if self.rng.random() < 0.3:
            declared = self.rng.choice((limit + 1, 65_536, 2**31, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1))
            return frame(self.rng.choice((1, 2)), b"xy", declared_length=declared, mask=self.mask())
        payload = b"x" * (limit + self.rng.choice((0, 1, 1, 2, 50)))
        return self.frames(self.rng.choice((1, 2)), self.pieces(payload, self.rng.choice((1, None))))

    def too_big_inflated(self) -> bytes:
        payload = b"x" * (self.limits.max_message_size + self.rng.choice((0, 1, 1, 2, 5000)))
        return self.frames(self.rng.choice((1, 2)), self.pieces(self.deflate(payload)), rsv=4)

    def too_many(self) -> bytes:
        opcode = self.rng.choice((1, 2))
        pieces = self.pieces(self.payload(opcode), self.limits.max_fragments + self.rng.choice((0, 1, 1, 2)))
        return self.frames(opcode, pieces)

    def bad_control(self) -> bytes:
        opcode = self.rng.choice((8, 9, 10))
        if self.rng.random() < 0.5:
            return frame(opcode, b"", fin=False, mask=self.mask())
        return frame(opcode, b"x" * self.rng.choice((126, 130)), mask=self.mask())

    def bad_order(self) -> bytes:
        opcode = self.rng.choice((1, 2))
        if self.rng.random() < 0.5:
            return frame(0, self.payload(opcode), fin=self.rng.random() < 0.5, mask=self.mask())
        return frame(opcode, self.payload(opcode), fin=False, mask=self.mask()) + self.right()

    def bad_close(self) -> bytes:
        code = struct.pack("!H", self.rng.choice(_WRONG_CODES))
        wrong = (b"\x03", code, code + b"reason", struct.pack("!H", 1000) + self.rng.choice(_NO_TEXT))
        return frame(8, self.rng.choice(wrong), mask=self.mask())

    def bad_deflate(self) -> bytes:
        data = bytearray(self.deflate(self.payload(1)) or b"\x00")
        if self.rng.random() < 0.5:
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        else:
            del data[self.rng.randrange(len(data)) :]
        return self.frames(self.rng.choice((1, 2)), self.pieces(bytes(data)), rsv=4)

    def noise(self) -> bytes:
        return self.rng.randbytes(self.rng.choice((1, 2, 10, 30)))
