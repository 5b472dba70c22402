"""Pauses between attempts: short where an attempt costs nothing, ever longer where it may."""

from __future__ import annotations

import random

import pytest

from fastws.engine.redis.resp.errors import AbsentError, AwayError, ReplyError
from fastws.engine.redis.resp.pauses import ABSENT_S, FIRST_S, LONG_ABSENT_S, LONGEST_S, Pauses


def test_where_nobody_listens_it_is_tried_several_times_a_second() -> None:
    pauses = Pauses(random.Random(1))
    first = [pauses.after(AbsentError("nobody")) for _ in range(40)]
    assert all(ABSENT_S / 2 <= pause_s <= ABSENT_S for pause_s in first)
    assert len(set(first)) == 40, "not all at the same time"
    for _ in range(40):
        pauses.after(AbsentError("nobody"))
    later = [pauses.after(AbsentError("nobody")) for _ in range(10_000)]
    assert max(later) <= LONG_ABSENT_S < 0.5, "what is added to a restart"
    assert 10_000 / (sum(later) / len(later)) < 36_000, "attempts a second of 10,000 processes"


@pytest.mark.parametrize("failure", [AwayError("silent"), ReplyError("LOADING", "still"), None])
def test_everything_else_is_tried_ever_more_slowly(failure: Exception | None) -> None:
    pauses = Pauses(random.Random(1))
    taken = [pauses.after(failure) for _ in range(12)]
    for number, pause_s in enumerate(taken):
        longest_s = min(FIRST_S * 2**number, LONGEST_S)
        assert longest_s / 2 <= pause_s <= longest_s
    assert taken[-1] >= LONGEST_S / 2
    assert pauses.after(AbsentError("nobody")) <= ABSENT_S
    assert pauses.after(failure) >= LONGEST_S / 2
    assert not pauses.is_fresh
    pauses.reset()
    assert pauses.is_fresh
    assert pauses.after(failure) <= FIRST_S


def test_an_attempt_at_once_counts() -> None:
    pauses = Pauses()
    assert pauses.is_fresh
    pauses.note()
    assert not pauses.is_fresh
    assert FIRST_S <= pauses.after(None) <= FIRST_S * 2
    pauses.note()
    assert FIRST_S * 2 <= pauses.after(None) <= FIRST_S * 4


def test_a_server_that_reads_its_data_is_asked_as_often_as_is_of_use() -> None:
    pauses = Pauses(random.Random(1))
    assert 0.2 <= pauses.while_loading(0, 0.75) <= 0.4
    assert 0.25 <= pauses.while_loading(4, 0.75) <= 0.5
    assert 0.375 <= pauses.while_loading(3600, 0.75) <= 0.75
    assert pauses.while_loading(3600, 0.1) <= 0.1
