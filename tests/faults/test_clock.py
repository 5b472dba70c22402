"""A time of day of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.faults.clock import Clock

ASKED = """
import datetime, sys, time
for line in sys.stdin:
    print(time.time(), datetime.datetime.now().timestamp(), time.monotonic(), flush=True)
"""


def test_a_process_has_another_time_of_day() -> None:
    with Clock() as clock:
        env = {**os.environ, **clock.environment}
        with subprocess.Popen(
            [sys.executable, "-c", ASKED], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for offset in (0, 300, -300):
                clock.step(offset)
                process.stdin.write("now\n")
                process.stdin.flush()
                of_time, of_date, monotonic = map(float, process.stdout.readline().split())
                assert abs(of_time - time.time() - offset) < 5
                assert abs(of_date - time.time() - offset) < 5
                assert abs(monotonic - time.monotonic()) < 5
            process.stdin.close()
