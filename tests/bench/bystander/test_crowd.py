"""Crowds: each kind does what it is for, to a real server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import measure, servers
from bench.build import BENCH
from bench.bystander.crowd import KINDS
from bench.bystander.probes import scheduled_s
from tests.support.waiting import wait_until


@contextmanager
def crowd(server: servers.Server, kind: str, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.bystander.crowd", kind, str(server.port), str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=BENCH.parent, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
            yield process
        finally:
            process.kill()


def counts(process: subprocess.Popen[str]) -> dict[str, int]:
    """End it and read what it did."""
    output, errors = process.communicate(timeout=20.0)
    assert process.returncode == 0, errors
    result: dict[str, int] = json.loads(output)
    return result


def used_cpu_s(server: servers.Server) -> float:
    return scheduled_s(server.pid)[0]


def test_fragments_are_answered_again_and_again(server: servers.Server) -> None:
    with crowd(server, "fragments", 5) as process:
        begun = used_cpu_s(server)
        wait_until(lambda: used_cpu_s(server) - begun > 0.1)
        done = counts(process)
    assert done["messages"] >= 5 * 16
    assert (done["begun"], done["ended"]) == (5, 0)


def test_heads_dribble_and_are_begun_again_when_given_up(server: servers.Server) -> None:
    with crowd(server, "heads", 50) as process:
        wait_until(lambda: measure.open_files([server.pid]) >= 50)
        begun = used_cpu_s(server)
        wait_until(lambda: used_cpu_s(server) - begun > 0.02, 20.0)
        done = counts(process)
    assert done["bytes"] >= 50
    assert done["begun"] - done["ended"] == 50


def test_sloths_sleep_through_what_is_published_to_them(server: servers.Server) -> None:
    before = measure.open_files([server.pid])
    with crowd(server, "sloths", 3) as process:
        # The server closes those who do not read; they themselves leave only after seconds.
        wait_until(lambda: measure.open_files([server.pid]) >= before + 4)
        done = counts(process)
    assert done["begun"] - done["ended"] == 3


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_listens(kind: str) -> None:
    command = [sys.executable, "-m", "bench.bystander.crowd", kind, "1", "1"]
    result = subprocess.run(command, cwd=BENCH.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"the crowd of {kind}: ConnectionRefusedError" in result.stderr
