"""Subscription tokens of one connection."""

from __future__ import annotations

import pytest

from fastws.gateway.auth.passes import Pass, Passes, arm


class Alarm:
    def __init__(self) -> None:
        self.seconds = -1.0

    def set_deadline(self, seconds: float) -> None:
        self.seconds = seconds


def test_what_ends_first_is_next() -> None:
    passes = Passes(None)
    assert passes.next_s() is None
    passes.note("a", None, may_publish=True)
    assert passes.next_s() is None
    passes.note("b", 50.0, may_publish=False)
    passes.note("c", 40.0, may_publish=False)
    assert passes.next_s() == 40.0
    passes.identity_ends_s = 30.0
    assert passes.next_s() == 30.0
    assert passes.of("a") == Pass(None, may_publish=True)


def test_what_has_ended_is_taken_once() -> None:
    passes = Passes(100.0)
    for key, ends_s in (("a", 10.0), ("b", 20.0), ("c", None)):
        passes.note(key, ends_s, may_publish=False)
    assert passes.take_ended(9.9) == []
    assert passes.take_ended(20.0) == ["a", "b"]
    assert passes.take_ended(20.0) == []
    assert passes.of("a") is None
    assert passes.of("c") is not None
    passes.forget("c")
    passes.forget("c")
    assert passes.of("c") is None


def test_a_newer_token_takes_the_place_of_the_older() -> None:
    passes = Passes(None)
    passes.note("a", 10.0, may_publish=True)
    passes.note("a", 20.0, may_publish=False)
    assert passes.of("a") == Pass(20.0, may_publish=False)


@pytest.mark.parametrize(
    ("ends_s", "at_least", "at_most"), [(None, 0, 0), (50.0, 10, 11), (40.0, 0.05, 1), (1, 0.05, 1)]
)
def test_the_deadline_is_never_early_and_never_off_by_accident(
    ends_s: float | None, at_least: float, at_most: float
) -> None:
    alarm = Alarm()
    arm(alarm, ends_s, 40.0)
    assert at_least <= alarm.seconds <= at_most
