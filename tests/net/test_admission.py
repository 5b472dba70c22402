"""Who may come in: counts, limits, rate, and that everything counted is given back."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest

from fastws.net.admission import DESCRIPTOR_RESERVE, Admission, OwnCounts, descriptor_capacity
from fastws_ext.shared import Board


def reason(admission: Admission, address: str = "1.2.3.4", sockets: int = 1) -> str | None:
    refusal = admission.admit(address, sockets)
    return refusal.reason if refusal is not None else None


def test_without_limits_everyone_comes_in() -> None:
    admission = Admission()
    assert [reason(admission) for _ in range(1000)] == [None] * 1000
    assert admission.admitted == 1000
    for _ in range(1000):
        admission.release("1.2.3.4")
    assert admission.admitted == 0


def test_the_number_of_all() -> None:
    admission = Admission(max_connections=2)
    assert [reason(admission) for _ in range(3)] == [None, None, "max-connections"]
    assert admission.is_full
    admission.release("1.2.3.4")
    assert not admission.is_full
    assert reason(admission) is None


def test_the_number_per_address() -> None:
    admission = Admission(max_per_address=1)
    assert [reason(admission), reason(admission), reason(admission, "1.2.3.5")] == [
        None,
        "max-connections-per-ip",
        None,
    ]
    refusal = admission.admit("1.2.3.4", 1)
    assert refusal is not None
    assert (refusal.status, refusal.retry_after > 0) == (429, True)
    admission.release("1.2.3.4")
    assert reason(admission) is None


def test_nothing_is_kept_for_addresses_that_are_gone() -> None:
    counts = OwnCounts()
    admission = Admission(max_per_address=5, counts=counts)
    for number in range(100):
        for _ in range(2):
            assert reason(admission, f"10.0.0.{number}") is None
    for number in range(100):
        for _ in range(2):
            admission.release(f"10.0.0.{number}")
    assert counts._per_address == {}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", ""])
def test_this_machine_is_exempt_unless_the_limit_was_set(address: str) -> None:
    exempt, counted = Admission(max_per_address=1), Admission(max_per_address=1, loopback_exempt=False)
    assert [reason(exempt, address) for _ in range(3)] == [None] * 3
    second = [reason(counted, address) for _ in range(2)][1]
    assert second == ("max-connections-per-ip" if address else None)


def test_the_rate_is_a_bucket_of_one_second() -> None:
    now = [100.0]
    admission = Admission(connects_per_second=10, clock=lambda: now[0])
    assert [reason(admission) for _ in range(11)] == [None] * 10 + ["connect-rate"]
    now[0] += 0.25
    assert [reason(admission) for _ in range(3)] == [None, None, "connect-rate"]
    now[0] += 60
    assert [reason(admission) for _ in range(11)] == [None] * 10 + ["connect-rate"]


def test_the_refused_take_no_token() -> None:
    now = [0.0]
    admission = Admission(connects_per_second=2, max_per_address=1, clock=lambda: now[0])
    assert reason(admission) is None
    assert [reason(admission) for _ in range(5)] == ["max-connections-per-ip"] * 5
    assert reason(admission, "1.2.3.5") is None


def test_a_rate_below_one_lets_one_in() -> None:
    now = [0.0]
    admission = Admission(connects_per_second=0.5, clock=lambda: now[0])
    assert [reason(admission), reason(admission)] == [None, "connect-rate"]
    now[0] += 2
    assert reason(admission) is None


def test_a_drain_refuses_first() -> None:
    admission = Admission(max_connections=1)
    admission.draining = True
    assert reason(admission) == "drain"
    assert admission.admitted == 0


def test_open_sockets_stay_below_the_descriptor_limit() -> None:
    admission = Admission(capacity=10)
    assert reason(admission, sockets=10) is None
    assert reason(admission, sockets=11) == "overload"
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit > 4 * DESCRIPTOR_RESERVE:
        assert descriptor_capacity() == limit - DESCRIPTOR_RESERVE


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create(4, 64, 16)
    yield board
    os.close(board.fd)


def test_limits_hold_for_all_workers_of_a_node_together(board: Board) -> None:
    workers = [Admission(max_connections=3, max_per_address=2, counts=board.seat(index)) for index in range(2)]
    for index in range(2):
        board.seat(index).open(100 + index, index, 1000)
    first, second = workers
    assert [reason(first), reason(second), reason(first), reason(second)] == [
        None,
        None,
        "max-connections-per-ip",
        "max-connections-per-ip",
    ]
    assert reason(first, "1.2.3.5") is None
    assert [reason(worker, "1.2.3.6") for worker in workers] == ["max-connections"] * 2
    assert first.is_full
    assert second.is_full
    second.release("1.2.3.4")
    assert reason(first) is None
    board.clear(0)
    assert [reason(second), reason(second), reason(second)] == [None, None, "max-connections-per-ip"]


class TakenMeanwhile(OwnCounts):
    """Another worker takes the last place between the question and the answer."""

    def enter(self, limit: int) -> bool:
        del limit
        return False


def test_a_place_that_another_worker_took_meanwhile_costs_the_address_nothing() -> None:
    counts = TakenMeanwhile()
    admission = Admission(max_connections=1, max_per_address=1, counts=counts)
    assert reason(admission) == "max-connections"
    assert counts._per_address == {}
    assert admission.admitted == 0
