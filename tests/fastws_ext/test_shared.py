"""Numbers that several processes share: what is counted, what limits hold, and what is left of one that died."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from fastws_ext.shared import DRAINING, EMPTY, MAX_SLOTS, READY, STARTING, Board, Seat
from tests.support.waiting import wait_until


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create(8, 1000, 64)
    yield board
    os.close(board.fd)


def seated(board: Board, count: int) -> list[Seat]:
    seats = [board.seat(index) for index in range(count)]
    for seat in seats:
        seat.open(1000 + seat.index, seat.index, 50)
    return seats


def test_what_one_writes_the_others_read(board: Board) -> None:
    seat = board.seat(3)
    assert seat.index == 3
    seat.open(4711, 7, 1234)
    other = Board(board.fd)
    assert other.slots == 8
    assert other.figures(3)[:3] == (STARTING, 4711, 7)
    seat.state = READY
    seat.beat(99, sockets=5, accepted=8, websockets=4, works=True)
    seat.enter(0)
    figures = other.figures(3)
    assert seat.state == figures.state == READY
    assert (figures.admitted, figures.sockets, figures.accepted, figures.websockets) == (1, 5, 8, 4)
    assert (figures.capacity, figures.works, figures.beat_ns) == (1234, True, 99)
    seat.state = DRAINING
    assert [found.pid for found in other.all()] == [4711]
    other.clear(3)
    assert other.all() == []
    assert seat.state == EMPTY


def test_seats_are_taken_in_any_order(board: Board) -> None:
    for index in (5, 2):
        board.seat(index).open(1000 + index, index, 50)
    assert [found.worker for found in board.all()] == [2, 5]


def test_a_limit_over_all(board: Board) -> None:
    first, second = seated(board, 2)
    assert [first.enter(3), second.enter(3), second.enter(3), first.enter(3), second.enter(3)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert first.is_full(3)
    assert not first.is_full(4)
    assert not first.is_full(0)
    second.leave()
    assert board.admitted == 2
    assert first.enter(3)


def test_a_limit_of_each_address_over_all(board: Board) -> None:
    first, second = seated(board, 2)
    assert first.enter_address("1.2.3.4", 2)
    assert second.enter_address("1.2.3.4", 2)
    assert not first.enter_address("1.2.3.4", 2)
    assert first.enter_address("::1", 2)
    second.leave_address("1.2.3.4")
    assert first.enter_address("1.2.3.4", 2)
    assert not second.enter_address("1.2.3.4", 2)


def test_what_a_dead_process_counted_is_given_back_and_nothing_else(board: Board) -> None:
    first, second = seated(board, 2)
    for seat in (first, second):
        for number in range(20):
            assert seat.enter(0)
            assert seat.enter_address(f"10.0.0.{number}", 2)
    board.clear(0)
    assert board.admitted == 20
    for number in range(20):
        assert second.enter_address(f"10.0.0.{number}", 2)
        assert not second.enter_address(f"10.0.0.{number}", 2)


def test_addresses_that_are_gone_leave_room(board: Board) -> None:
    seat = seated(board, 1)[0]
    for number in range(20_000):
        address = f"10.1.{number >> 8}.{number & 255}"
        assert seat.enter_address(address, 1)
        assert not seat.enter_address(address, 1)
        seat.leave_address(address)


def test_where_the_table_is_full_nobody_is_refused_for_that() -> None:
    board = Board.create(1, 4, 4)
    seat = seated(board, 1)[0]
    for number in range(100):
        assert seat.enter_address(f"10.0.0.{number}", 1)
    refused = sum(not seat.enter_address(f"10.0.0.{number}", 1) for number in range(100))
    assert refused == 4
    for number in range(100):
        seat.leave_address(f"10.0.0.{number}")
    assert seat.enter_address("10.0.0.1", 1)
    os.close(board.fd)


def test_what_is_left_that_never_came(board: Board) -> None:
    seat = seated(board, 1)[0]
    seat.leave_address("1.2.3.4")
    assert seat.enter_address("1.2.3.4", 1)


def count_in_child(board: Board, index: int, limit: int, rounds: int) -> int:
    """Start a process that comes and goes, and says by its exit code whether the limit held."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        seat = board.seat(index)
        highest = 0
        for _ in range(rounds):
            if seat.enter(limit):
                highest = max(highest, board.admitted)
                seat.leave()
            if seat.enter_address("1.2.3.4", limit):
                seat.leave_address("1.2.3.4")
        code = 0
    finally:
        os._exit(code)


def test_processes_that_count_at_the_same_time_lose_nothing(board: Board) -> None:
    seats = seated(board, 4)
    children = [count_in_child(board, seat.index, 2, 20_000) for seat in seats]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert board.admitted == 0
    assert seats[0].enter_address("1.2.3.4", 1)


def test_a_process_that_is_killed_anywhere_leaves_nothing_that_cannot_be_given_back(board: Board) -> None:
    survivor, victim = seated(board, 2)
    assert survivor.enter(0)
    assert survivor.enter_address("1.2.3.4", 100)
    for _ in range(20):
        child = count_in_child(board, victim.index, 1000, 10**9)
        wait_until(lambda: board.admitted > 1, what="a process that counts")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        board.clear(victim.index)
        victim.open(1, 1, 1)
        assert board.admitted == 1
        assert survivor.enter_address("1.2.3.4", 2)
        assert not survivor.enter_address("1.2.3.4", 2)
        survivor.leave_address("1.2.3.4")


def test_what_is_no_board() -> None:
    fd = os.memfd_create("other")
    try:
        with pytest.raises(ValueError, match="no board"):
            Board(fd)
        os.write(fd, bytes(4096))
        with pytest.raises(ValueError, match="no board, or one of another version"):
            Board(fd)
    finally:
        os.close(fd)


def test_what_is_out_of_range(board: Board) -> None:
    for slots in (0, MAX_SLOTS + 1):
        with pytest.raises(ValueError, match="slots"):
            Board.create(slots, 16, 16)
    for index in (-1, 8):
        with pytest.raises(IndexError):
            board.seat(index)
        with pytest.raises(IndexError):
            board.figures(index)
        with pytest.raises(IndexError):
            board.clear(index)
    with pytest.raises(UnicodeEncodeError):
        seated(board, 1)[0].enter_address("\ud800", 1)
