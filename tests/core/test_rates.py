"""Token buckets of one connection."""

from fastws.core.rates import MAX_REFUSALS, REFUSAL_WINDOW_S, Meter


def test_the_burst_is_one_second() -> None:
    meter = Meter(3, 0, now_s=10.0)
    assert [meter.take(10**9, 10.0) for _ in range(4)] == [True, True, True, False]
    assert not meter.take(1, 10.3)
    assert meter.take(1, 10.4)
    assert not meter.take(1, 10.4)
    assert [meter.take(1, 100.0) for _ in range(4)] == [True, True, True, False]


def test_bytes_and_messages_are_taken_together_or_not_at_all() -> None:
    meter = Meter(2, 100, now_s=0.0)
    assert not meter.take(101, 0.0)
    assert meter.take(60, 0.0)
    assert not meter.take(60, 0.0)
    assert meter.take(40, 0.0)
    assert not meter.take(0, 0.0)


def test_the_rate_over_a_long_time_is_the_limit() -> None:
    meter = Meter(0, 1000, now_s=0.0)
    taken = sum(meter.take(7, tick / 1000) for tick in range(10_000)) * 7
    assert 10_900 <= taken <= 11_000


def test_too_many_refusals_are_so_many_within_a_window() -> None:
    meter = Meter(1, 0, now_s=0.0)
    assert [meter.refuse(0.0) for _ in range(MAX_REFUSALS)] == [False] * (MAX_REFUSALS - 1) + [True]
    slow = Meter(1, 0, now_s=0.0)
    spaced = REFUSAL_WINDOW_S / (MAX_REFUSALS - 1) * 1.01
    assert not any(slow.refuse(number * spaced) for number in range(3 * MAX_REFUSALS))
