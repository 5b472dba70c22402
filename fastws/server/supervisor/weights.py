"""Who gets the next connections: workers with fewer than others, as if water were poured into them.

The kernel asks a program of classic BPF which listener of a group takes a connection (socket(7), SO_REUSEPORT and
SO_ATTACH_REUSEPORT_CBPF). Its own way, a hash of the addresses, gives each listener as much as any other: after a
rolling restart of eight workers the first has more than twice what all have on average, and the last nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

LONG_QUEUE: Final = 512
"""Who has so many waiting to be accepted gets no more than what everybody gets: it cannot keep up."""
SHARED_PART: Final = 0.05
"""Of the newcomers so many are spread over all, so that none stands still while another one fills up."""

_SCALE: Final = 1 << 20
_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_MODULO: Final = 0x94  # BPF_ALU | BPF_MOD | BPF_K
_JUMP_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_RANDOM: Final = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_NOBODY: Final = 0xFFFFFFFF
MAX_LISTENERS: Final = 2000
"""A program has at most 4,096 instructions (BPF_MAXINSNS)."""


class Load(NamedTuple):
    """One worker, as it is now."""

    sockets: int
    """Of clients, those included that wait to be accepted."""
    room: int
    """How many more it may have."""
    queue: int
    """Those that wait."""
    takes: bool
    """Whether it accepts, and its loop goes round."""


def weights(loads: Sequence[Load], newcomers: int) -> list[int]:
    """How many of the next connections each shall get, in parts of their sum, which is never 0.

    `newcomers`: how many are expected before this is asked again.
    """
    able = [index for index, load in enumerate(loads) if load.takes and load.room > 0]
    if not able:
        # Somebody has to say no.
        able = [index for index, load in enumerate(loads) if load.takes] or list(range(len(loads)))
        return [int(index in able) for index in range(len(loads))]
    ready = [index for index in able if loads[index].queue < LONG_QUEUE]
    level = _level([loads[index].sockets for index in ready], newcomers)
    wanted = dict.fromkeys(able, 0.0)
    for index in ready:
        wanted[index] = max(min(level - loads[index].sockets, loads[index].room), 0)
    total = sum(wanted.values()) or 1
    shared = SHARED_PART / len(able)
    parts = {index: (1 - SHARED_PART) * amount / total + shared for index, amount in wanted.items()}
    return [max(int(parts[index] * _SCALE), 1) if index in parts else 0 for index in range(len(loads))]


def _level(counts: Sequence[int], newcomers: int) -> float:
    """How high the water stands where so much is poured over what is there."""
    level = 0.0
    total = 0
    for below, count in enumerate(sorted(counts), 1):
        if below > 1 and level <= count:
            break
        total += count
        level = (total + newcomers) / below
    return level


def program(parts: Sequence[int]) -> bytes:
    """The program that chooses among listeners in the order in which they stand in their group."""
    instructions = [(_LOAD_WORD, 0, 0, _RANDOM), (_MODULO, 0, 0, max(sum(parts), 1))]
    below = 0
    for index, part in enumerate(parts):
        if part:
            below += part
            instructions += [(_JUMP_AT_LEAST, 1, 0, below), (_RETURN, 0, 0, index)]
    instructions.append((_RETURN, 0, 0, _NOBODY))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
