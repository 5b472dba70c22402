def encode_frame(opcode: int, payload: str | bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """One unmasked frame as a server sends it (RFC 6455 5.2).

    :param opcode: 0 to 15; control opcodes (8 and above) take at most 125 bytes.
    :param payload: text is sent as its UTF-8.
    :raises ValueError: opcode out of range, or a control frame too long.
    :raises TypeError: the payload is neither str nor bytes.
    """

def encode_close(code: int, reason: str = "") -> bytes:
    """A close frame; code 1005 stands for "no code". The reason is cut to 123 bytes of whole characters."""

def judge(data: bytes) -> tuple[int, int, int]:
    """Judge the frame header at the start of `data`.

    :returns: (judgement, bytes of the header, bytes of the payload); judgement 0 incomplete, 1 plain, 2 for the state
        machine, 3 wrong within its first two bytes, 4 a part of a plain message. Sizes are 0 for judgements 0 and 3.
    """

def unmask(payload: bytes, key: bytes, phase: int = 0) -> bytes:
    """`payload` XOR the 4-byte `key` (RFC 6455 5.3), beginning at byte `phase` of the key."""

def utf8_feed(state: int, data: bytes) -> tuple[int, int]:
    """Validate UTF-8 incrementally: (new state, number of right bytes). State 0 is between characters, 8 rejected."""
