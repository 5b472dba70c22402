"""What tests wait with, and judge time by."""

import subprocess
import sys
import time

import pytest

from tests.support.waiting import Stopwatch, held_up_s, wait_until

BURN = "import time\nend = time.monotonic() + 0.5\nwhile time.monotonic() < end:\n    pass\n"


def test_a_condition_is_asked_until_it_is_met() -> None:
    asked = iter([0, "", [], "met"])
    assert wait_until(lambda: next(asked)) == "met"


def test_a_condition_that_is_never_met() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.01 s: the moon"):
        wait_until(lambda: False, 0.01, "the moon")


def test_time_in_which_somebody_was_held_up_is_not_ones_own() -> None:
    watch, before_s = Stopwatch(), held_up_s()
    burning = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(8)]  # more than there are processors
    for process in burning:
        process.wait()
    held_s = held_up_s() - before_s
    assert watch.s >= 0.5
    assert 0 <= watch.own_s <= watch.s
    if held_s:  # where Linux tells
        assert watch.own_s <= watch.s - held_s / 2
    idle = Stopwatch()
    time.sleep(0.01)
    assert idle.s >= 0.01
