"""Readings of /proc about this very process, and about one that is known."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import measure
from tests.support.waiting import wait_until


def test_memory_that_is_taken_shows() -> None:
    code = (
        "import sys; print(0, flush=True); input(); kept = bytearray(b'x' * 20_000_000); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        before = measure.pss_bytes([process.pid])
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        assert measure.pss_bytes([process.pid]) - before == pytest.approx(20e6, rel=0.05)


def test_descriptors_that_are_open_are_counted() -> None:
    before = measure.open_files([os.getpid()])
    reader, writer = os.pipe()
    assert measure.open_files([os.getpid()]) == before + 2
    os.close(reader)
    os.close(writer)


def test_children_belong_to_the_tree() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert {os.getpid(), process.pid} <= set(measure.process_tree(os.getpid()))


def test_cpus_are_this_process_s_own_again_afterwards() -> None:
    before = os.sched_getaffinity(0)
    server_cpus, client_cpus = measure.server_and_client_cpus()
    with measure.on_cpus(server_cpus):
        assert os.sched_getaffinity(0) == server_cpus
    assert os.sched_getaffinity(0) == before
    assert server_cpus | client_cpus <= before


def test_the_build_of_the_extension_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "EXTENSION_MODE", tmp_path / "mode")
    assert measure.extension_build() == "unknown"
    (tmp_path / "mode").write_text("debug")
    assert measure.extension_build() == "debug"


def test_the_machine_is_named() -> None:
    facts = measure.machine_facts()
    assert facts["python"] == sys.version.split()[0]
    assert facts["cpu"]
    assert facts["extension"] == measure.extension_build()
    assert facts["descriptors"] == measure.descriptor_limit()
    assert facts["sysctls"]["net.core.somaxconn"].isdigit()
    assert measure.slab_bytes() > 0


def test_who_shares_a_cpu_waits_for_it() -> None:
    spin = [sys.executable, "-c", "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"]
    with measure.on_cpus({min(os.sched_getaffinity(0))}):
        spinning = [subprocess.Popen(spin) for _ in range(2)]
    try:
        wait_until(lambda: measure.waited_s([spinning[0].pid]) > 0.05, 20.0, "one waits for the other")
        assert measure.waited_s([one.pid for one in spinning]) > measure.waited_s([spinning[0].pid])
    finally:
        for one in spinning:
            one.kill()
            one.wait()
    assert measure.waited_s([spinning[0].pid]) == 0
