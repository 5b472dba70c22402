"""Loads: they are at work inside the block, and whoever is not served is an error."""

import pytest

from bench import servers
from bench.bystander import loads
from bench.bystander.probes import scheduled_s
from bench.load import LoadError
from tests.support.waiting import wait_until


def used_cpu_s(server: servers.Server) -> float:
    return scheduled_s(server.pid)[0]


SMALL: dict[str, loads.LoadFactory] = {
    "echo": lambda server, cpus: loads.engine("echo", server, cpus, {"connections": 5, "path": "/echo"}),
    "crowd": lambda server, cpus: loads.crowd("fragments", server, cpus, 3),
    "fan-out": lambda server, cpus: loads.fan_out(server, cpus, subscribers=20),
    "storm": lambda server, cpus: loads.connect_storm(server, cpus, connections=50),
}


@pytest.mark.parametrize("load", SMALL.values(), ids=SMALL.keys())
def test_a_load_goes_on_until_the_block_is_left(server: servers.Server, load: loads.LoadFactory) -> None:
    with load(server, None):
        begun = used_cpu_s(server)
        wait_until(lambda: used_cpu_s(server) - begun > 0.05, 20.0)


@pytest.mark.parametrize("name", ["echo", "crowd", "storm"])
def test_who_is_not_served_is_an_error(name: str) -> None:
    nobody = servers.Server("nobody", ["true"])
    nobody.port = 1
    with pytest.raises(LoadError), SMALL[name](nobody, None):
        pass


def test_every_load_of_the_bar_is_named_once() -> None:
    assert len(set(loads.LOADS.values())) == len(loads.LOADS) == 6
