"""Waiting for a condition instead of sleeping for a guessed time, and judging how long something took."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_PRESSURES = ("cpu", "io")
_STOLEN = 8  # the column of /proc/stat with the time that a virtual machine was not run


def wait_until(condition: Callable[[], T], timeout: float = 30.0, what: str = "") -> T:
    """Ask `condition` until it returns something true, and return that.

    :param timeout: seconds.
    :param what: what is waited for, for the error message; the condition's name by default.
    :raises AssertionError: the condition was not met in time.
    """
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or getattr(condition, '__name__', condition)}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def held_up_s() -> float:
    """Seconds, since the machine was started, in which somebody who could go on had to wait for a processor or a disk.

    It is Linux' pressure stall information, and the time that was taken from a virtual machine. 0.0 where the kernel
    does not tell.
    """
    total_us = 0.0
    for kind in _PRESSURES:
        with suppress(OSError):
            some = Path(f"/proc/pressure/{kind}").read_text(encoding="ascii").partition("\n")[0]
            total_us += int(some.rpartition("total=")[2])
    with suppress(OSError):
        of_all = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()
        total_us += int(of_all[_STOLEN]) * 1e6 / os.sysconf("SC_CLK_TCK")
    return total_us / 1e6


class Stopwatch:
    """Runs from when it is made: `s` are seconds; `own_s` are those in which the machine held up nobody.

    How long something may take at most is asked of `own_s`: where others want the machine as well, it takes longer, and
    that says nothing about what is tested.
    """

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._began_held_up_s = held_up_s()

    @property
    def s(self) -> float:
        """All of the time so far."""
        return time.monotonic() - self._began_s

    @property
    def own_s(self) -> float:
        """The time so far, without that in which somebody was held up."""
        return max(self.s - self.held_up_s, 0.0)

    @property
    def held_up_s(self) -> float:
        """Of the time so far, that in which somebody was held up."""
        return held_up_s() - self._began_held_up_s
