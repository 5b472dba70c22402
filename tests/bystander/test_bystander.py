"""The bystander bar, in short: an echo client, a timer and a link of the loop are served while others load the server.

Each p99 is at most 20 ms and nothing takes more than 100 ms, under each load. What is judged is what the server adds:
time in which a process was ready and had no CPU, as the kernel counts it, is taken off (`bench.bystander.probes`), for
continuous integration has other work. What it cannot count, a machine that stops as a whole, may spoil an attempt:
there are three, and a server that serves somebody for too long fails each of them.
"""

from collections.abc import Iterator

import pytest

from bench import measure, servers
from bench.bystander.loads import LOADS, SPARE_DESCRIPTORS, SUBSCRIBERS
from bench.bystander.watch import Bystanders
from bench.scenarios.bystander import APP, BystanderOptions, bear

OPTIONS = BystanderOptions(seconds=2.5)
CPUS = measure.server_and_client_cpus()

pytestmark = [pytest.mark.alone, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.fastws(APP, cpus=CPUS[0]) as running:
        yield running


@pytest.fixture(scope="module")
def bystanders(server: servers.Server) -> Iterator[Bystanders]:
    with Bystanders(server, CPUS[1]) as running:
        yield running


@pytest.mark.skipif(measure.descriptor_limit() < SUBSCRIBERS + SPARE_DESCRIPTORS, reason="too few descriptors")
@pytest.mark.parametrize("load", LOADS)
def test_nobody_waits_for(load: str, server: servers.Server, bystanders: Bystanders) -> None:
    attempts = bear(load, server, bystanders, CPUS[1], OPTIONS)
    for attempt in attempts:
        print(f"CPU of the server: {attempt.server_cpu:.0%} used, {attempt.server_waited:.0%} waited for")
        for name, figures in attempt.delayed.by_name.items():
            print(f"  {name}: {figures}")
    assert attempts[-1].delayed.holds
