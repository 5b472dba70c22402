"""Samples of a running server."""

import os
import signal
from pathlib import Path

from bench import servers
from bench.bystander.watch import Bystanders
from bench.soaking.sampling import Sampler, memory_bytes
from tests.support.waiting import wait_until


def test_a_sample_each_second_with_its_phase(server: servers.Server) -> None:
    with Bystanders(server) as bystanders, Sampler(server, bystanders) as sampler:
        sampler.phase = "calm"
        wait_until(lambda: len(sampler.samples) >= 2, 20.0)
    first, second = sampler.samples[:2]
    assert first.phase == second.phase == "calm"
    assert second.at_s - first.at_s >= 0.9
    assert 0 < first.own_bytes < first.pss_bytes
    assert first.files > 5
    assert 0 <= first.cpu <= 1.5
    assert first.delayed.timer.count > 0
    assert sampler.failure is None


def test_a_server_that_is_gone_ends_the_samples() -> None:
    with (
        servers.fastws("bench.bystander.app:app") as mortal,
        Bystanders(mortal) as bystanders,
        Sampler(mortal, bystanders) as sampler,
    ):
        os.kill(mortal.pid, signal.SIGKILL)
        wait_until(lambda: sampler.failure is not None, 20.0)
    assert str(sampler.failure)


def test_memory_of_this_process() -> None:
    pss, own = memory_bytes(os.getpid())
    assert 0 < own <= pss
    assert Path(f"/proc/{os.getpid()}/smaps_rollup").exists()
