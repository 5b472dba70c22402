"""What processes tell each other of joins and leaves, and members as Redis keeps them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.engine.contract import Change
from fastws.engine.redis.changes import MAX_NAMED, MAX_SIZE, Told, bodies_of, packed, told_in, unpacked
from fastws.types import Member


def joins(count: int, info: Any = None) -> list[Change]:
    return [Change(f"c-{number}", "ann", info, joined=number % 3 > 0) for number in range(count)]


def test_what_is_told_is_heard() -> None:
    changes = [
        Change("c-1", "ann", {"name": "Ann", "tags": [1, None, 2**63]}, joined=True),
        Change("c-2", "", None, joined=False),
        Change("c-3", "é\0", "", joined=True),
    ]
    (body,) = bodies_of("n1", changes)
    assert told_in(body) == Told("n1", 0, 0, changes)
    assert bodies_of("n1", []) == []


def test_too_many_are_told_as_numbers() -> None:
    (body,) = bodies_of("n1", joins(MAX_NAMED))
    told = told_in(body)
    assert told is not None
    assert len(told.changes) == MAX_NAMED
    (body,) = bodies_of("n1", joins(MAX_NAMED + 2))
    assert told_in(body) == Told("n1", 68, 34, [])


def test_long_messages_become_several() -> None:
    changes = joins(10, "x" * (MAX_SIZE // 3))
    bodies = bodies_of("n1", changes)
    assert len(bodies) == 5
    assert max(map(len, bodies)) < MAX_SIZE + 1000
    found = [told_in(body) for body in bodies]
    assert [change for told in found if told is not None for change in told.changes] == changes


def test_more_than_may_be_named_are_counted() -> None:
    named = [["c", "u", "", number % 2 == 0] for number in range(MAX_NAMED + 1)]
    assert told_in(msgspec.msgpack.encode(["n1", 1, 2, named])) == Told("n1", 52, 52, ())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["n1", 0, 0]),
        msgspec.msgpack.encode(["n1", -1, 0, []]),
        msgspec.msgpack.encode([1, 0, 0, []]),
        msgspec.msgpack.encode(["n1", 0, 0, [["c", "u", "{", True]]]),
        msgspec.msgpack.encode(["n1", 0, 0, [["c", "u", "[" * 100_000, True]]]),
        msgspec.msgpack.encode(["n1", 0, 0, [["c", b"u", "", True]]]),
        b"\x94\xa2\xff\xff\x00\x00\x90",
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_damaged_messages(body: bytes) -> None:
    assert told_in(body) is None


@given(st.binary(max_size=200))
def test_nothing_that_is_heard_raises(body: bytes) -> None:
    told_in(body)
    unpacked(body)


@pytest.mark.parametrize("info", [None, {"name": "Ann"}, 0, False, "", [], 1.5])
def test_members_come_back(info: Any) -> None:
    member = Member("ann", "phone", info)
    assert unpacked(packed(member, announced=True)) == member
    assert packed(member, announced=True) != packed(member, announced=False)


def test_members_that_cannot_be_told() -> None:
    with pytest.raises(TypeError):
        packed(Member("ann", "", object()), announced=False)
    with pytest.raises(ValueError, match="surrogates"):
        packed(Member("\ud800", "", None), announced=False)
    assert unpacked(msgspec.msgpack.encode([True, "u", "d", "{"])) is None
