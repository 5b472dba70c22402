"""Measuring for a short while, on a machine that may be too busy at the moment for anything to happen in it."""

from collections.abc import Callable
from typing import TypeVar

from bench.load import LoadResult

T = TypeVar("T")
LONGEST_S = 10.0


def long_enough(measure: Callable[[float], T], enough: Callable[[T], bool], seconds: float) -> T:
    """What `measure` finds in a window of so many seconds; in one twice as long, and so on, until that is `enough`.

    :raises AssertionError: it is not enough in a window of ten seconds.
    """
    while True:
        found = measure(seconds)
        if enough(found):
            return found
        assert seconds < LONGEST_S, f"not enough in {seconds} s: {found}"
        seconds = min(2 * seconds, LONGEST_S)


def with_messages(measure: Callable[[float], LoadResult], seconds: float = 0.2) -> LoadResult:
    """A result with at least one message, or with failures: those are not tried again."""
    return long_enough(measure, lambda result: bool(result.run.messages or result.failures["all"]), seconds)
