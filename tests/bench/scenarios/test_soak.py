"""The soak in short: every load in turn, and what a load that fails leads to."""

from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from bench import servers
from bench.load import LoadError
from bench.report import PlainProgress
from bench.scenarios import soak
from bench.soaking.verdict import QUIET


def checks(results: dict[str, Any]) -> dict[str, bool]:
    return {check["name"]: check["holds"] for check in results["checks"]}


@pytest.mark.alone
@pytest.mark.slow
def test_a_cycle_of_everything() -> None:
    table, results, sampler = soak.run(soak.SoakOptions(minutes=0.25, connections=1000), PlainProgress())
    print("\n".join(" | ".join(row) for row in table.rows), *table.notes, sep="\n")
    assert {sample.phase for sample in sampler.samples} >= {*soak.CYCLE, "1000 idle"}
    assert len(results["samples"]) >= 12
    held = checks(results)
    # What bystanders wait has its own test, with more than one attempt.
    assert [name for name, holds in held.items() if not holds and "bystanders" not in name] == []


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
    monkeypatch.setattr(soak, "QUIET_S", 1.5)
    table, results, sampler = soak.run(soak.SoakOptions(minutes=0.02, connections=60), PlainProgress())
    assert not results["passed"]
    assert not checks(results)["failures"]
    found = next(check["found"] for check in results["checks"] if check["name"] == "failures")
    assert found == "never: does not begin; badly: does not end well"
    assert table.rows[-1][-1] == "NO"
    assert sampler.failure is None
