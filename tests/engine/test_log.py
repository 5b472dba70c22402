"""The history of one topic: the same as a list from which too much and too old is taken away."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.core.publication import Publication, Retention
from fastws.engine.log import COST, RELEASED_AT_ONCE, Log, Stock


def filled(count: int, retention: Retention) -> Log:
    log = Log("e", retention, Stock())
    for _ in range(count):
        log.add(Publication(b"1", 0), 0.0)
    return log


def offsets(publications: list[Publication]) -> list[int]:
    return [publication.offset for publication in publications]


@given(
    st.integers(1, 12),
    st.sampled_from([0.0, 5.0]),
    st.lists(
        st.one_of(st.just("add"), st.just("add"), st.just("give up"), st.floats(0, 9), st.integers(0, 20)), max_size=80
    ),
    st.integers(0, 100),
    st.integers(0, 20),
)
def test_it_is_like_a_list(size: int, ttl_s: float, steps: list[str | float | int], offset: int, limit: int) -> None:
    log, kept, now_s = Log("e", Retention(size, ttl_s), Stock()), list[tuple[float, int]](), 1000.0
    count = 0
    for step in steps:
        if step == "add":
            count += 1
            publication = Publication(b"1", 0)
            log.add(publication, now_s)
            assert publication.offset == log.offset == count
            kept.append((now_s, count))
        elif step == "give up":
            log.give_up(2)
            kept = kept[2:]
        elif isinstance(step, int):
            size = max(1, step)
            log.retention = Retention(size, ttl_s)
            log.trim(now_s)
        else:
            now_s += float(step)
            log.trim(now_s)
        kept = [entry for entry in kept[-size:] if not ttl_s or entry[0] > now_s - ttl_s]
        there = [number for _, number in kept]
        log.release()
        assert log._stock.size == len(there) * (1 + COST)
        assert (len(log), log.trimmed) == (len(there), count - len(there))
        assert offsets(log.after(0)) == there
        assert offsets(log.after(offset)) == [number for number in there if number > offset]
        assert offsets(log.after(offset, limit)) == [number for number in there if number > offset][:limit]
        assert offsets(log.before(None, limit)) == there[::-1][:limit]
        assert offsets(log.before(offset, limit)) == [number for number in there[::-1] if number < offset][:limit]


@pytest.mark.parametrize("size", [1, 3, 100, 1000])
def test_what_is_left_out_takes_no_memory(size: int) -> None:
    log = filled(size * 3 + 100, Retention(size, 0.0))
    assert log.is_released
    assert len(log._entries) <= size * 8 // 7 + 4


def test_memory_of_many_is_given_back_by_and_by() -> None:
    log = filled(1000, Retention(1000, 10.0))
    log.trim(11.0)
    log.release()
    assert (len(log), log.is_released) == (0, False)
    assert offsets(log.after(0)) == offsets(log.before(None, 5)) == []
    assert log.release(10) == 10
    left = 1000 - RELEASED_AT_ONCE - 10
    assert [log.release(500), log.release(500), log.release(500)] == [500, left - 500, 0]
    assert log.is_released
    assert log._entries == []
    assert log._stock.size == 0


def test_pages_of_much_cost_what_is_in_them() -> None:
    log = filled(200_000, Retention(200_000, 10.0))
    begin_s = time.thread_time()
    for offset in range(0, 200_000, 1000):
        log.after(offset, 1)
        log.before(offset, 1)
    log.trim(11.0)
    assert time.thread_time() - begin_s < 0.05  # of all of it: some seconds
