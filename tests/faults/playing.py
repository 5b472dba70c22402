"""Plays scenarios."""

from __future__ import annotations

import asyncio
import importlib
import traceback
from typing import Final

import pytest
import uvloop

from tests.faults.scenarios.common import SCENARIOS, Scenario
from tests.faults.stage import Outcome

MODULES: Final = ("nodes", "workers", "redis", "fleets", "replicas", "links")
RUN_S: Final = 300.0


def load() -> dict[str, Scenario]:
    """All scenarios by name."""
    for module in MODULES:
        importlib.import_module(f"tests.faults.scenarios.{module}")
    return SCENARIOS


def play(scenario: Scenario, seed: int) -> Outcome:
    """One run, in a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(scenario.play(seed), RUN_S))  # type: ignore[arg-type]


def attempt(name: str, seed: int) -> Outcome | str:
    """The outcome, or why there is none: what the scenario needs is not there. A harness that fails breaks a run."""
    try:
        return play(load()[name], seed)
    except pytest.skip.Exception as skipped:
        return str(skipped)
    except Exception as error:
        traceback.print_exc()
        return Outcome(name, seed, violations=[("harness", f"{type(error).__name__}: {error}")])
