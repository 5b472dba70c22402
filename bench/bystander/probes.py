"""Delays of bystanders, and a clock that tells what the server added from what the machine did.

On a machine with other work a process may be ready to run and wait for a CPU; whoever measures wall time measures that
too. Linux counts it for each thread, as the second number of `schedstat`. `OwnClock` takes it off, so that it stands
still while one of the processes involved waits for a CPU. It goes on while the server computes, which is what a server
that serves one client for too long does: its own slowness is never taken off.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PERIOD_S = 0.005
PERIOD_NS = int(PERIOD_S * 1e9)


class OwnClock:
    """Reads monotonic time, and the same less the time that processes waited for a CPU, in nanoseconds.

    :param pids: processes (their main threads) beside the calling thread that take part in what is measured.
    """

    def __init__(self, pids: Iterable[int] = ()) -> None:
        paths = [Path("/proc/thread-self/schedstat"), *(Path(f"/proc/{pid}/task/{pid}/schedstat") for pid in pids)]
        self._files = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths if path.exists()]

    def read(self) -> tuple[int, int]:
        """(own, wall): two readings of it, subtracted, are a time."""
        wall = time.monotonic_ns()
        return wall - self.waited_ns(), wall

    def waited_ns(self) -> int:
        """How long all of them waited for a CPU so far; 0 where the kernel does not count it."""
        return sum(int(os.pread(file, 100, 0).split()[1]) for file in self._files)

    def close(self) -> None:
        """Give the descriptors back."""
        for file in self._files:
            os.close(file)
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def scheduled_s(pid: int) -> tuple[float, float]:
    """Seconds that the main thread of a process ran, and that it was ready and had no CPU, so far."""
    ran, waited, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()
    return int(ran) / 1e9, int(waited) / 1e9


def go_first() -> None:
    """Let this process run before others where that is allowed: a bystander sleeps nearly always, and takes little."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds; `raw` ones are wall time, waits for a CPU included."""

    count: int
    p50: float
    p99: float
    max: float
    raw_p99: float
    raw_max: float

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        """From what `Delays.take` gave, through JSON."""
        return cls(**raw)


class Delays:
    """Delays of one bystander since the last `take`.

    A delay of more than one period also stands for those who would have come meanwhile, each of them one period less
    late: otherwise one long stop would count as one sample, whatever its length (coordinated omission). The server's
    part of each of these is as large as of the delay itself: were it the first milliseconds, those who come last would
    have nothing of it, and a machine without time would hide a slow server.
    """

    def __init__(self) -> None:
        self._own: list[int] = []
        self._raw: list[int] = []

    def add(self, own_ns: int, raw_ns: int) -> None:
        """One delay on both clocks."""
        own_ns, raw_ns = max(own_ns, 0), max(raw_ns, 0)
        self._own.append(own_ns)
        self._raw.append(raw_ns)
        for later_ns in range(raw_ns - PERIOD_NS, 0, -PERIOD_NS):
            self._own.append(own_ns * later_ns // raw_ns)
            self._raw.append(later_ns)

    def take(self) -> dict[str, float]:
        """The fields of `Figures`, and begin anew."""
        own, raw = sorted(self._own), sorted(self._raw)
        self._own, self._raw = [], []
        return {
            "count": len(own),
            "p50": _quantile_ms(own, 0.5),
            "p99": _quantile_ms(own, 0.99),
            "max": _quantile_ms(own, 1.0),
            "raw_p99": _quantile_ms(raw, 0.99),
            "raw_max": _quantile_ms(raw, 1.0),
        }


def _quantile_ms(values: list[int], quantile: float) -> float:
    """The smallest value that so many are not above; 0 without values."""
    if not values:
        return 0.0
    return round(values[min(int(quantile * len(values)), len(values) - 1)] / 1e6, 3)
