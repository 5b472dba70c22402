r"""Inputs as files that people can read, and how new inputs are made of old ones.

A file holds one input: printable ASCII as it is, every other byte and the backslash escaped as in Python. Line ends of
the file itself count for nothing; they stand behind each `\n` so that a head of several lines looks like one.
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SEEDS = FOLDER / "corpus"
REGRESSIONS = FOLDER / "regressions"
SUFFIX = ".txt"

_ESCAPE = re.compile(rb"\\(?:x[0-9a-f]{2}|[\\nrt])|[\x20-\x5b\x5d-\x7e]")
_NAMED = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r", b"\\t": b"\t"}
_NAMES = {value[0]: name.decode("ascii") for name, value in _NAMED.items()}
_ODD_BYTES = b"\x00\x01\x09\x0a\x0d\x20\x22\x2c\x3a\x5b\x5c\x7d\x7e\x7f\x80\x81\xbf\xc0\xed\xfe\xff"


def escape(data: bytes) -> str:
    """Write an input as the text of a file."""
    text = "".join(_NAMES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data)
    return text.replace("\\n", "\\n\n") + ("" if data.endswith(b"\n") else "\n")


def unescape(text: str) -> bytes:
    """Read it again. Raises `ValueError` for what `escape` does not write."""
    packed = text.replace("\n", "").encode("ascii")
    parts = _ESCAPE.findall(packed)
    if sum(map(len, parts)) != len(packed):
        raise ValueError("this is no escaped input")
    return b"".join(
        _NAMED.get(part) or (bytes.fromhex(part[2:].decode()) if len(part) == 4 else part) for part in parts
    )


def read(folder: Path) -> list[tuple[str, bytes]]:
    """Every (name, input) of a folder, by name; empty if there is no such folder."""
    return [(path.stem, unescape(path.read_text("ascii"))) for path in sorted(folder.glob(f"*{SUFFIX}"))]


def inputs(target: str) -> list[tuple[str, bytes]]:
    """The seeds of a target and the inputs that once broke it."""
    return [*read(SEEDS / target), *read(REGRESSIONS / target)]


def mutate(rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A new input: a seed with up to six changes, half of the time only one or two."""
    from_seed = seeds and rng.random() < 0.97
    data = bytearray(rng.choice(seeds) if from_seed else rng.randbytes(rng.randrange(64)))
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 6))):
        _change(rng, data, seeds, words)
    return bytes(data)


def _change(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 16)))
    match rng.randrange(9):
        case 0 if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 1 if data:
            data[rng.randrange(len(data))] = rng.choice(_ODD_BYTES)
        case 2 if data:
            where = rng.randrange(min(len(data), 4))  # options stand in front
            data[where] = rng.randrange(256)
        case 3:
            data[at:at] = rng.choice(words) if words else rng.randbytes(2)
        case 4:
            data[at:end] = rng.choice(words) if words else rng.randbytes(2)
        case 5:
            del data[at:end]
        case 6:
            data[at:at] = data[at:end] * rng.choice((1, 1, 2, 8))
        case 7 if seeds:
            other = rng.choice(seeds)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        case _:
            data[at:at] = bytes([rng.choice(_ODD_BYTES)])
