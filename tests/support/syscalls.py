"""Counts the system calls of a running process from outside, with strace."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

SENDS = ("sendto", "sendmsg", "sendmmsg", "write", "writev")


class SyscallCounts(dict[str, int]):
    """Calls by name, filled when the block of `counted_syscalls` ends; a name that was not called counts 0."""

    def __missing__(self, name: str) -> int:
        return 0

    @property
    def sends(self) -> int:
        """Calls that may have sent bytes, whatever the descriptor."""
        return sum(self[name] for name in SENDS)


@contextmanager
def counted_syscalls(pid: int) -> Iterator[SyscallCounts]:
    """Count the system calls of `pid`, all its threads, from here to the end of the block.

    Skips the test, by name, where strace is not installed or may not trace. The traced process is about ten times as
    slow per call, so that time-outs need room.

    ::

        with counted_syscalls(server.pid) as calls:
            client.send(frames)
            client.receive_frames(16)
        assert calls["sendto"] == 1
    """
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    with tempfile.TemporaryDirectory(prefix="fastws-strace-") as directory:
        summary = Path(directory, "summary")
        command = ["strace", "-c", "-f", "-o", str(summary), "-p", str(pid)]
        tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        counts = SyscallCounts()
        try:
            wait_until(lambda: _traced(pid) or tracer.poll() is not None, 10.0, "strace to attach")
            if tracer.poll() is not None:
                pytest.skip(f"strace may not trace here: {tracer.stderr.read().strip()}")
            yield counts
        finally:
            if tracer.poll() is None:
                tracer.send_signal(signal.SIGINT)
            tracer.wait(10.0)
            tracer.stderr.close()
        counts.update(_read(summary))


def _traced(pid: int) -> bool:
    """Whether every thread of the process has a tracer."""
    statuses = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status"))
    return all("\nTracerPid:\t0\n" not in status for status in statuses)


def _read(summary: Path) -> dict[str, int]:
    """The table of `strace -c`: share, seconds, microseconds a call, calls, errors if any, name."""
    counts = {}
    for line in summary.read_text(encoding="utf-8").splitlines():
        columns = line.split()
        if len(columns) in {5, 6} and columns[3].isdigit() and columns[-1] != "total":
            counts[columns[-1]] = int(columns[3])
    return counts
