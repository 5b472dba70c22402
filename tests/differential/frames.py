"""Frames as clients build them, right and wrong, and how the law judges them."""

import struct
from collections.abc import Iterable, Iterator

from fastws.core.law import Event, Law
from fastws.errors import ProtocolViolation

MASK = b"\x01\x9a\x70\xff"


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    declared: int | None = None,
    length_bytes: int | None = None,
) -> bytes:
    """Build a client's frame (RFC 6455 5.2).

    `rsv` is a number of three bits (4 is RSV1), `mask` None leaves it unmasked, `declared` is written in place of the
    payload's size, `length_bytes` (0, 2, 8) in place of the shortest form.
    """
    size = len(payload) if declared is None else declared
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65536 else 8
    bit = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if length_bytes == 0:
        head += bytes([bit | size])
    elif length_bytes == 2:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    return head + payload if mask is None else head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """Apply a client's mask (RFC 6455 5.3)."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def bytewise(data: bytes) -> Iterator[bytes]:
    """Cut into single bytes."""
    return (data[i : i + 1] for i in range(len(data)))


def judge(law: Law, pieces: Iterable[bytes]) -> tuple[list[Event], int, int]:
    """Feed pieces; the events, the code of the violation (0 for none) and how many bytes were taken when it came."""
    events: list[Event] = []
    taken = 0
    for piece in pieces:
        taken += len(piece)
        try:
            events += law.receive_data(piece)
        except ProtocolViolation as violation:
            return events + law.events_before, violation.code, taken
    return events, 0, taken
