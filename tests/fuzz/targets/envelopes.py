"""Envelopes that processes send each other: read as their layout says, or counted and left out; nothing is told twice.

Input: what came in the channel of a topic.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from fastws.core.publication import Publication
from fastws.engine.contract import Outgoing
from fastws.engine.redis import envelope
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.common import Common
from fastws.engine.redis.envelope import batch_of, envelope_of, flags_of, pack, tail_of
from fastws.engine.redis.names import TOPIC, Names
from fastws.engine.redis.resp.address import parse_address
from fastws.engine.redis.topic.channels import Channels

MAX_BYTES = 600
WORDS = (
    *(b"\x01\x01", b"\x01\x02", b"\x01\x03", b"\x02\x01", b"\x00\x00", b"\x00\x03", b"\xff\xff", b"\x00\x00\x00\x1d"),
    *(b"\x00" * 8, b"\xff" * 8, b"ann", b"n1-1f", b"e1", b'{"a":1}', b"1", b"\xed\xa0\x80", b"\xc3\xa9", b"\xc3"),
)

# Data, milliseconds, offset, user, connection, who shall not hear it, epoch.
Read = tuple[bytes, int, int, str | None, str, str, str]


class _Hub:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Read] = []

    def on_publication(self, topic: str, publication: Publication, exclude: str, epoch: str) -> None:
        assert topic == "t"
        assert publication.exclude == exclude
        one = publication
        self.told.append((one.data, one.ts_ms, one.offset, one.user, one.conn, exclude, epoch))


class _DamageError(Exception):
    """It is no envelope."""


def run(data: bytes) -> None:
    """Read it twice, hear it, and write it again."""
    expected = _read(data)
    hub = _Hub()
    common = Common(Standalone(parse_address("redis://127.0.0.1:1"), prefix="p"), Names("p"), "n")
    common.events = hub  # type: ignore[assignment]
    channels = Channels(common)
    channel = common.names.of(TOPIC, "t")
    assert not channels.hear(channel, data)
    channels._heard[channel] = "t"
    assert channels.hear(channel, data)
    assert hub.told == (expected or []), (hub.told, expected)
    assert sum(common.unreadable.values()) == (expected is None)
    for one in expected or ():
        _write(*one)
    kind = envelope.unpack(data)
    assert kind is None or pack(*kind) == data


def _read(data: bytes) -> list[Read] | None:
    """What the layout says, in another way than the program's."""
    try:
        if data[:2] == b"\x01\x02":
            return _batch(data[2:])
        return [_publication(data)]
    except _DamageError:
        return None


def _batch(rest: bytes) -> list[Read]:
    found = []
    while rest:
        size, rest = _cut(rest, 4)
        one, rest = _cut(rest, int.from_bytes(size, "big"))
        found.append(_publication(one))
    return found


def _publication(data: bytes) -> Read:
    head, rest = _cut(data, 20)
    version, kind, flags, epoch_size = head[:4]
    if (version, kind) != (1, 1):
        raise _DamageError
    epoch, rest = _cut(rest, epoch_size)
    sizes, rest = _cut(rest, 8)
    names = []
    for size in struct.unpack(">4H", sizes):
        name, rest = _cut(rest, size)
        names.append(name)
    if flags & 1:
        names[0] = b""  # whatever stands there, nobody is its author
    try:
        rest.decode()
        user, conn, exclude, epoch_name = (name.decode("utf-8", "surrogatepass") for name in (*names[:3], epoch))
    except UnicodeDecodeError:
        raise _DamageError from None
    if not rest:
        raise _DamageError
    offset, ts_ms = struct.unpack(">QQ", head[4:])
    return rest, ts_ms, offset, None if flags & 1 else user, conn, exclude, epoch_name


def _cut(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise _DamageError
    return data[:size], data[size:]


def _write(data: bytes, ts_ms: int, offset: int, user: str | None, conn: str, exclude: str, epoch: str) -> None:
    """What was read can be written, and is the same when it is read again."""
    outgoing = Outgoing("t", data, None, user, conn, None, exclude)
    written = envelope_of(flags_of(outgoing), tail_of(outgoing), ts_ms, offset)
    again: Any = envelope.publication_in(written)
    one = again[0]
    assert (one.data, one.ts_ms, one.offset, one.user, one.conn) == (data, ts_ms, offset, user, conn)
    assert again[1:] == (exclude, "")
    assert len(epoch) <= 255


def seeds() -> Mapping[str, bytes]:
    """Publications of all kinds of authors, batches, and what is neither."""
    ann = Outgoing("t", b'{"a":1}', None, "ann", "n1-1f", None, "n1-2")
    server = Outgoing("t", b'"\xc3\xa9"')
    half = Outgoing("t", b"1", None, "\ud800")
    publication = envelope_of(flags_of(ann), tail_of(ann), 1_700_000_000_000, 5, "e1")
    other = envelope_of(flags_of(server), tail_of(server), 1)
    return {
        "publication": publication,
        "server": other,
        "half-a-pair": envelope_of(flags_of(half), tail_of(half), 2),
        "batch": batch_of([publication, other]),
        "empty-batch": batch_of([]),
        "cut-batch": batch_of([publication, other])[:-3],
        "no-data": publication[:-7],
        "wrong-text": publication[:-7] + b'"\xc3"',
        "traced": publication[:28] + b"\x00\x03" + publication[30:],
        "letter": pack(envelope.LETTER, b"letter"),
        "changes": pack(envelope.CHANGES, b"changes"),
        "later-version": b"\x02" + publication[1:],
        "server-with-a-user": b"\x01\x01\x01" + publication[3:30] + b"\xff\xff\xff" + publication[33:],
        "nothing": b"",
    }
