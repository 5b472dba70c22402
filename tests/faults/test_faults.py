"""One run of the faults that take little time; `make faults` has all of them, several times."""

from __future__ import annotations

import pytest

from tests.faults.playing import load, play

SHORT = ("node-kill", "redis-restart-kept", "sentinel-kill", "cluster-failover", "link-reset")
ON_A_SHARED_MACHINE = "blocked"
"""Beside other tests a loop is late for reasons that are not its own."""


@pytest.mark.parametrize("name", SHORT)
def test_promises_hold(name: str) -> None:
    outcome = play(load()[name], seed=1)
    broken = [violation for violation in outcome.violations if violation[0] != ON_A_SHARED_MACHINE]
    assert not broken, outcome.log[-4000:]
    assert outcome.figures.acked > 100
    assert outcome.figures.delivered > 10 * outcome.figures.acked


def test_every_fault_has_a_title_and_enough_runs() -> None:
    for name, scenario in load().items():
        assert scenario.name == name
        assert scenario.title
        assert scenario.runs >= 5
