"""A run in which nothing is broken has nothing to complain of, and one with a server that cheats has."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import uvloop

from tests.faults.stage import Outcome, Plan, Stage

SMALL = Plan(nodes=1, subscribers=20, publishers=4, kept=2, plain=2, before_s=2.0, after_s=0.3)


async def run(plan: Plan = SMALL, **env: str) -> Outcome:
    async with Stage("test", plan, 1, env=env) as stage, stage.fault():
        pass
    return stage.outcome


def outcome_of(plan: Plan = SMALL, **env: str) -> tuple[Outcome, set[str]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(run(plan, **env))
    return outcome, {kind for kind, _ in outcome.violations}


def test_a_server_that_keeps_its_word() -> None:
    outcome, wrong = outcome_of()
    assert not wrong, outcome.violations
    figures = outcome.figures
    assert figures.sent == figures.acked > 50
    assert figures.delivered == 10 * figures.sent
    assert (figures.lost, figures.missed, figures.duplicated, figures.told) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("planted", "found"),
    [("swallow", {"lost"}), ("repeat", {"duplicate"}), ("invent", {"disagreement"}), ("refuse", {"answer"})],
)
def test_a_server_that_does_not(planted: str, found: set[str]) -> None:
    _, wrong = outcome_of(FAULTS_PLANTED=planted)
    assert found <= wrong


def test_who_is_never_told_of_the_end_of_a_connection_notices() -> None:
    """A node that dies alone takes its clients with it; no other can say so."""

    async def kill() -> Outcome:
        async with Stage("test", replace(SMALL, ping_interval_s=0.5, before_s=0.1), 1) as stage:
            stage.is_cluster = True
            async with stage.fault():
                stage.nodes[0].kill()
            await stage.nodes[0].start()
        return stage.outcome

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(kill())
    assert {kind for kind, _ in outcome.violations} == {"disconnects"}
