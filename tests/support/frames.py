"""Frames as a client may send them, right or wrong, and frames as a server sends them (RFC 6455 5.2)."""

from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    """One frame as it was received. `rsv` is the three reserved bits as a number: 4 is RSV1."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    masked: bool = False

    @property
    def close_code(self) -> int:
        """The code in a close frame; 1005 when it carries none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005

    @property
    def close_reason(self) -> str:
        """The reason in a close frame."""
        return self.payload[2:].decode()


def build_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length_bytes: int | None = None,
    declared_length: int | None = None,
) -> bytes:
    """A client's frame, every field of the header settable.

    :param rsv: 0 to 7; 4 sets RSV1.
    :param mask: four bytes, or None for a frame that breaks the rule of masking.
    :param length_bytes: 0, 2 or 8 bytes of extended length; the shortest by default, as the RFC demands.
    :param declared_length: what the header says, when that is not the length of `payload`.
    """
    length = len(payload) if declared_length is None else declared_length
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65536 else 8
    short = {0: length, 2: 126, 8: 127}[length_bytes]
    head = bytes([fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short])
    head += length.to_bytes(length_bytes, "big") if length_bytes else b""
    return head + payload if mask is None else head + mask + xor(payload, mask)


def close_frame(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A client's close frame; None for one without a code."""
    return build_frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def xor(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask a payload (RFC 6455 5.3)."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def parse_frame(data: bytes) -> tuple[Frame, int] | None:
    """The first frame in `data` and the bytes that it takes, or None while it is incomplete."""
    if len(data) < 2:
        return None
    extended = {126: 2, 127: 8}.get(data[1] & 127, 0)
    start = 2 + extended
    masked = bool(data[1] & 128)
    length = int.from_bytes(data[2:start], "big") if extended else data[1] & 127
    end = start + 4 * masked + length
    if len(data) < end:
        return None
    payload = data[start + 4 * masked : end]
    if masked:
        payload = xor(payload, data[start : start + 4])
    return Frame(data[0] & 15, payload, bool(data[0] & 128), data[0] >> 4 & 7, masked), end
