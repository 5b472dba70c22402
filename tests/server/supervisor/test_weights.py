"""Who gets the next connections, and the program that says so to the kernel."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import pytest

from fastws.server.supervisor.weights import LONG_QUEUE, MAX_LISTENERS, SHARED_PART, Load, program, weights


def load(sockets: int, *, room: int = 10_000, queue: int = 0, takes: bool = True) -> Load:
    return Load(sockets, room, queue, takes)


def shares(loads: Sequence[Load], newcomers: int = 100) -> list[float]:
    parts = weights(loads, newcomers)
    return [round(part / sum(parts), 3) for part in parts]


def test_equals_get_the_same() -> None:
    assert shares([load(7)] * 4) == [0.25] * 4


def test_who_has_fewer_gets_more_until_all_have_the_same() -> None:
    # 60 newcomers fill 0 and 20 up to 40; who has 100 gets only what everybody gets.
    first, second, third = shares([load(0), load(20), load(100)], 60)
    assert first / second == pytest.approx(2, abs=0.1)
    assert third == pytest.approx(SHARED_PART / 3, abs=0.001)


def test_nobody_gets_more_than_there_is_room_for() -> None:
    first, second = shares([load(0, room=10), load(0)], 100)
    assert first / second == pytest.approx(10 / 50, abs=0.05)
    assert shares([load(0, room=0), load(5000)]) == [0, 1]


def test_who_does_not_accept_gets_nobody() -> None:
    assert shares([load(0, takes=False), load(50), load(50)]) == [0, 0.5, 0.5]


def test_who_cannot_keep_up_gets_what_everybody_gets() -> None:
    first, second = shares([load(0, queue=LONG_QUEUE), load(300)])
    assert first == pytest.approx(SHARED_PART / 2, abs=0.001)
    assert second > 0.9


def test_where_nobody_can_somebody_says_so() -> None:
    assert weights([load(1, room=0), load(1, room=0)], 10) == [1, 1]
    assert weights([load(1, room=0), load(1, takes=False)], 10) == [1, 0]
    assert weights([load(1, takes=False), load(1, takes=False)], 10) == [1, 1]


def test_weights_are_never_nothing() -> None:
    chance = random.Random(1)
    for _ in range(2000):
        loads = [
            load(
                chance.choice([0, 1, 5, 1000, 10**6]),
                room=chance.choice([-5, 0, 1, 10**6]),
                queue=chance.choice([0, 1, 10**4]),
                takes=chance.random() < 0.7,
            )
            for _ in range(chance.randint(1, 40))
        ]
        parts = weights(loads, chance.choice([1, 64, 10**5]))
        assert len(parts) == len(loads)
        assert min(parts) >= 0
        assert 0 < sum(parts) < 2**31


def run(code: bytes, number: int) -> int:
    """What the kernel would make of a program when it draws this random number."""
    instructions = [struct.unpack_from("HBBI", code, offset) for offset in range(0, len(code), 8)]
    accumulator = at = 0
    while True:
        operation, if_true, if_false, value = instructions[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = number
            case 0x94:
                accumulator %= value
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(operation)


def test_the_program_chooses_in_these_parts() -> None:
    code = program([2, 0, 5, 1])
    assert [run(code, number) for number in range(9)] == [0, 0, 2, 2, 2, 2, 2, 3, 0]


def test_the_program_is_never_too_long() -> None:
    assert len(program([1] * MAX_LISTENERS)) // 8 <= 4096
