"""Who came to a topic and who left it, as processes tell each other: the body of an envelope of the kind CHANGES.

An array of MessagePack: the id of the process whose connections they are; how many came and how many left that are not
named; those that are named, each with connection, user, what is public of it in JSON (or nothing), and whether it came.
Scripts make the same for processes that have died.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from fastws.engine.contract import Change
from fastws.types import Member

MAX_NAMED: Final = 100
"""Changes that are named in one message; hubs would not tell the names of more."""

MAX_SIZE: Final = 65_536
"""Bytes of a message above which the rest goes into the next one."""


class Told(NamedTuple):
    """What a message says."""

    node: str
    joined: int
    left: int
    changes: Sequence[Change]


class _Named(msgspec.Struct, array_like=True, frozen=True):
    conn: str
    user: str
    info: str
    joined: bool


class _Body(msgspec.Struct, array_like=True, frozen=True):
    node: str
    joined: int
    left: int
    named: Sequence[_Named]


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    announced: bool
    user: str
    device: str
    info: str


_encoder: Final = msgspec.msgpack.Encoder()
_bodies: Final = msgspec.msgpack.Decoder(_Body)
_entries: Final = msgspec.msgpack.Decoder(_Entry)


def bodies_of(node: str, changes: Sequence[Change]) -> list[bytes]:
    """The messages that tell these changes: as numbers if they are too many."""
    if len(changes) > MAX_NAMED:
        joined = sum(change.joined for change in changes)
        return [_encoder.encode(_Body(node, joined, len(changes) - joined, ()))]
    bodies: list[bytes] = []
    named: list[_Named] = []
    size = 0
    for change in changes:
        info = info_text(change.info)
        size += len(info) + len(change.user) + len(change.conn)
        if named and size > MAX_SIZE:
            bodies.append(_encoder.encode(_Body(node, 0, 0, named)))
            named, size = [], len(info)
        named.append(_Named(change.conn, change.user, info, change.joined))
    if named:
        bodies.append(_encoder.encode(_Body(node, 0, 0, named)))
    return bodies


def unnamed(node: str) -> bytes:
    """The message that somebody may have come or gone: whoever keeps a list asks again."""
    return _encoder.encode(_Body(node, 0, 0, ()))


def told_in(body: bytes) -> Told | None:
    """What a message says; None if it is damaged. More than may be named are counted."""
    try:
        found = _bodies.decode(body)
        if found.joined < 0 or found.left < 0:
            return None
        if len(found.named) > MAX_NAMED:
            joined = sum(one.joined for one in found.named)
            return Told(found.node, found.joined + joined, found.left + len(found.named) - joined, ())
        changes = [Change(one.conn, one.user, _info_in(one.info), joined=one.joined) for one in found.named]
    except (ValueError, RecursionError):
        return None
    return Told(found.node, found.joined, found.left, changes)


def packed(member: Member, *, announced: bool) -> bytes:
    """A member, as Redis keeps it. Raises `ValueError` for one that cannot be told."""
    return _encoder.encode(_Entry(announced, member.user, member.device, info_text(member.info)))


def unpacked(value: bytes) -> Member | None:
    """A member, as Redis has kept it; None if it is damaged."""
    try:
        entry = _entries.decode(value)
        return Member(entry.user, entry.device, _info_in(entry.info))
    except (ValueError, RecursionError):
        return None


def info_text(info: Any) -> str:
    """What is public about a user, in JSON; empty if nothing is."""
    return "" if info is None else msgspec.json.encode(info).decode()


def _info_in(text: str) -> Any:
    return msgspec.json.decode(text) if text else None
