"""Runs a test in a process of its own whose monotonic clock can be set forward: hours pass in no time.

::

    @in_shifted_time
    async def test_patience(shift: Callable[[float], None]) -> None:
        shift(3600)
"""

import asyncio
import ctypes
import functools
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60
Shift = Callable[[float], None]

# Everything in the process asks the C library for the time, the event loop included.
SOURCE = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long long shifted_ns;
void shift_clock(double seconds) { shifted_ns += (long long)(seconds * 1e9); }
int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock != CLOCK_REALTIME && clock != CLOCK_PROCESS_CPUTIME_ID) {
        long long ns = now->tv_sec * 1000000000LL + now->tv_nsec + shifted_ns;
        now->tv_sec = ns / 1000000000LL;
        now->tv_nsec = ns % 1000000000LL;
    }
    return (int)result;
}
"""


def in_shifted_time(test: Callable[[Shift], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Make a test of a coroutine function that gets `shift(seconds)`, which sets the monotonic clock forward."""

    @functools.wraps(test)
    def run_test() -> None:
        with tempfile.TemporaryDirectory(prefix="fastws-test-") as directory:
            library = Path(directory, "clock.so")
            compiler = os.environ.get("CC", "cc").split()
            command = [*compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
            subprocess.run(command, input=SOURCE.encode(), check=True, capture_output=True)
            preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(library)]))
            command = [sys.executable, "-m", "tests.fastws_ext.shifted_clock", test.__module__, test.__name__]
            done = subprocess.run(
                [*command, str(library)],
                cwd=ROOT,
                env={**os.environ, "LD_PRELOAD": preload, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        assert done.returncode == 0, done.stdout + done.stderr

    del run_test.__wrapped__  # its parameter is no fixture
    run_test.scenario = test  # type: ignore[attr-defined]
    return run_test


def main() -> None:
    """Run one scenario; called in the process that has the clock."""
    module, name, library = sys.argv[1:]
    shift: Shift = ctypes.CDLL(library).shift_clock
    shift.argtypes = [ctypes.c_double]  # type: ignore[attr-defined]
    scenario = getattr(importlib.import_module(module), name).scenario
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario(shift))


if __name__ == "__main__":
    main()
