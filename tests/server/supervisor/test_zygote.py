"""What only a zygote and its children do; that workers come of it is tested with the supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from fastws.server.supervisor.nursery import ZygoteProcess
from tests.server.supervisor.workers import is_alive
from tests.support.waiting import wait_until

ENDS_WITH = """
import sys, time
from fastws.server.supervisor.zygote import end_with
end_with(int(sys.argv[1]), 0.5)
print("adopted", flush=True)
time.sleep(60)
"""


def test_a_process_that_belongs_to_nobody_ends() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS_WITH, str(2**30)], timeout=30, check=False)
    assert done.returncode == 1


def test_a_process_ends_with_the_one_it_belongs_to() -> None:
    parent = f"import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', {ENDS_WITH!r}, str(os.getpid())])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "adopted\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        wait_until(lambda: not any(is_alive(int(child)) for child in children))


def test_a_zygote_whose_supervisor_hangs_up_before_it_has_begun() -> None:
    zygote = ZygoteProcess()
    try:
        zygote.hang_up()
        assert wait_until(lambda: zygote.exit_code() is not None, 20)
        assert zygote.exit_code() == 0
    finally:
        zygote.kill()


def test_how_one_that_was_killed_is_told() -> None:
    zygote = ZygoteProcess()
    try:
        assert zygote.pid != os.getpid()
        os.kill(zygote.pid, signal.SIGKILL)
        wait_until(lambda: zygote.exit_code() == 128 + signal.SIGKILL)
    finally:
        zygote.kill()
