"""The soak in short: every load in turn, and what a load that fails leads to."""

import itertools
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from bench import servers
from bench.load import LoadError
from bench.report import PlainProgress
from bench.scenarios import soak
from bench.soaking.verdict import QUIET, quiet_phases


def checks(results: dict[str, Any]) -> dict[str, bool]:
    return {check["name"]: check["holds"] for check in results["checks"]}


@pytest.mark.alone
@pytest.mark.slow
def test_cycles_of_everything() -> None:
    options = soak.SoakOptions(minutes=0.05, connections=1000)
    table, results, sampler = soak.run(options, PlainProgress())
    print("\n".join(" | ".join(row) for row in table.rows), *table.notes, sep="\n")
    phases = [phase for phase, _ in itertools.groupby(sample.phase for sample in sampler.samples)]
    assert {phase for phase in phases if phases.count(phase) >= soak.CYCLES} >= {*soak.CYCLE}
    assert {"50 idle", "500 idle", "1000 idle"} <= {*phases}
    assert len(quiet_phases(sampler.samples)) >= soak.CYCLES
    held = checks(results)
    # What bystanders wait has its own test, with more than one attempt.
    assert [name for name, holds in held.items() if not holds and "bystanders" not in name] == []


@pytest.mark.parametrize(
    ("minutes", "phase_s", "interval_s"), [(10, 4.0, 1.0), (1, 2.57, 1.0), (0.25, 0.64, 0.32), (0.01, 0.3, 0.15)]
)
def test_in_less_time_phases_are_shorter_and_sampled_more_often(
    minutes: float, phase_s: float, interval_s: float
) -> None:
    options = soak.SoakOptions(minutes)
    assert (options.phase_s, options.interval_s) == (
        pytest.approx(phase_s, abs=0.01),
        pytest.approx(interval_s, abs=0.01),
    )


def test_loads_that_fail_are_noted_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def never(server: servers.Server, cpus: set[int] | None) -> Any:
        raise LoadError("does not begin")
        yield

    @contextmanager
    def badly(server: servers.Server, cpus: set[int] | None) -> Any:
        yield
        raise LoadError("does not end well")

    cycle: dict[str, AbstractContextManager[Any] | Any] = {"never": never, "badly": badly, QUIET: soak.quiet}
    monkeypatch.setattr(soak, "CYCLE", cycle)
    monkeypatch.setattr(soak, "CYCLES", 1)
    table, results, sampler = soak.run(soak.SoakOptions(minutes=0.02, connections=60), PlainProgress())
    assert not results["passed"]
    assert not checks(results)["failures"]
    found = next(check["found"] for check in results["checks"] if check["name"] == "failures")
    assert found == "never: does not begin; badly: does not end well"
    assert table.rows[-1][-1] == "NO"
    assert sampler.failure is None
