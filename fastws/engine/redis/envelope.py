"""What processes say to each other: bytes with a version and a kind.

    version  u8   VERSION
    kind     u8   what follows

A publication goes on, numbers in network order, with what the script that gives it its offset knows,

    flags    u8   FROM_SERVER; unknown ones mean nothing
    epoch    u8   length
    offset   u64  0 without history
    ts       u64  Unix milliseconds
    epoch

and then with what its publisher knows:

    user, connection, connection that shall not hear it, trace: u16 each, lengths
    all four, then the data up to the end

A batch is publications of one topic, each behind its length (u32). What cannot be read, or is of another version or of
an unknown kind, is counted and left out by those who hear it: during an upgrade there are processes that know more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final, TypeAlias

from fastws.core.publication import Publication
from fastws.engine.contract import Outgoing
from fastws.errors import EngineError
from fastws_ext import envelope as compiled

VERSION: Final = 1

PUBLICATION: Final = 1
BATCH: Final = 2
CHANGES: Final = 3
"""Who joined a topic and who left it."""
ANNOUNCEMENT: Final = 4
LETTER: Final = 5
"""From one process to another."""
QUESTION: Final = 6
"""To all processes."""
ANSWER: Final = 7
"""To the one that has asked."""

FROM_SERVER: Final = 1
"""No client is its author."""

Arrived: TypeAlias = tuple[Publication, str, str]
"""A publication as it came, the connection that shall not hear it, its epoch."""

MAX_LENGTH: Final = 0xFFFF
"""Bytes of a name inside an envelope."""

_HEAD: Final = Struct(">BBBBQQ")
_TAIL: Final = Struct(">HHHH")
_LENGTH: Final = Struct(">I")
_BEGINNINGS: Final = {kind: bytes((VERSION, kind)) for kind in range(PUBLICATION, ANSWER + 1)}


def pack(kind: int, body: bytes) -> bytes:
    """An envelope of one of the kinds above."""
    return _BEGINNINGS[kind] + body


def unpack(envelope: bytes) -> tuple[int, bytes] | None:
    """Kind and body; None if there is nothing in it that this process understands."""
    if len(envelope) < 2 or envelope[0] != VERSION or envelope[1] not in _BEGINNINGS:
        return None
    return envelope[1], envelope[2:]


def tail_of(outgoing: Outgoing) -> bytes:
    """What the publisher knows. `EngineError` if the name of the user is too long for any envelope."""
    user = (outgoing.user or "").encode("utf-8", "surrogatepass")
    conn = outgoing.conn.encode("utf-8", "surrogatepass")
    exclude = outgoing.exclude.encode("utf-8", "surrogatepass")
    if len(exclude) > MAX_LENGTH:
        exclude = b""  # no connection is called so
    if len(user) > MAX_LENGTH or len(conn) > MAX_LENGTH:
        raise EngineError("the name of the user is too long to be told to other processes", temporary=False)
    return b"".join((_TAIL.pack(len(user), len(conn), len(exclude), 0), user, conn, exclude, outgoing.data))


def flags_of(outgoing: Outgoing) -> int:
    """The flags of a publication."""
    return FROM_SERVER if outgoing.user is None else 0


def envelope_of(flags: int, tail: bytes, ts_ms: int, offset: int = 0, epoch: str = "") -> bytes:
    """A publication. The script of a topic with history makes the same."""
    name = epoch.encode()
    return b"".join((_HEAD.pack(VERSION, PUBLICATION, flags, len(name), offset, ts_ms), name, tail))


def batch_of(envelopes: Iterable[bytes]) -> bytes:
    """Publications of one topic, in their order."""
    parts = [_BEGINNINGS[BATCH]]
    for envelope in envelopes:
        parts += (_LENGTH.pack(len(envelope)), envelope)
    return b"".join(parts)


def publication_in(envelope: bytes) -> Arrived | None:
    """The publication in an envelope; None if there is none, or it is damaged."""
    return compiled.publication_in(envelope, Publication)


def publications_in(envelope: bytes) -> Sequence[Arrived] | None:
    """The publications in a batch; None if it is damaged anywhere."""
    return compiled.publications_in(envelope, Publication)
