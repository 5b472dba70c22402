"""What one process writes to another."""

from __future__ import annotations

import msgspec
import pytest

from fastws.engine.contract import Order, Outcome
from fastws.engine.redis.envelope import LETTER, pack
from fastws.engine.redis.fleet.letters import OrderLetter, OutcomeLetter, letter_of, read, reply_of
from fastws.errors import EngineError


@pytest.mark.parametrize(
    "order",
    [
        Order("count"),
        Order("disconnect", user="t\0u \ud800", code=4503, reason="é"),
        Order("push", conn="a-1", tenant="", data=b"\x00\xff", ts_ms=1 << 41),
        Order("subscribe", user="", topic="x" * 255, attribute="\ud800"),
    ],
)
def test_orders_arrive_as_they_were(order: Order) -> None:
    letter = read(letter_of(order, 12, "n1.1.ab"))
    assert isinstance(letter, OrderLetter)
    assert letter.order() == order
    assert (letter.number, letter.sender) == (12, b"n1.1.ab")


def test_outcomes_arrive_as_they_were() -> None:
    letter = read(reply_of(7, "n1.1.ab", Outcome(3, 106)))
    assert isinstance(letter, OutcomeLetter)
    assert (letter.number, letter.sender, letter.outcome()) == (7, b"n1.1.ab", Outcome(3, 106))
    assert OutcomeLetter(1, b"", -5, 0).outcome() == Outcome(0)


def test_what_a_later_version_adds_is_passed_over() -> None:
    body = msgspec.msgpack.decode(reply_of(7, "n", Outcome(3))[2:])
    assert isinstance(read(pack(LETTER, msgspec.msgpack.encode([*body, "more"]))), OutcomeLetter)


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"\x01",
        b"\x01\x05",
        b"\x02\x05" + msgspec.msgpack.encode([2, 1, b"n", 1, 0]),
        b"\x01\x04" + msgspec.msgpack.encode([2, 1, b"n", 1, 0]),
        pack(LETTER, msgspec.msgpack.encode([3, 1, b"n", 1, 0])),
        pack(LETTER, msgspec.msgpack.encode([2, "1", b"n", 1, 0])),
        pack(LETTER, msgspec.msgpack.encode([2, 1, b"\xff", 1, 0])),
        pack(LETTER, msgspec.msgpack.encode([2, 1, b"n"])),
        pack(LETTER, msgspec.msgpack.encode([1, 1, b"n", "push", b"\xff", None, None, b"", b"", 0, 0, b"", b""])),
        pack(LETTER, b"\x80"),
        pack(LETTER, b"\x95" * 1000),
    ],
)
def test_what_is_no_letter_is_refused(envelope: bytes) -> None:
    with pytest.raises(EngineError):
        read(envelope)
