"""The bystander scenario: what it shows, and that a load is tried again until its attempts are over."""

from contextlib import nullcontext

import pytest

from bench.bystander.probes import Figures
from bench.bystander.watch import Delayed
from bench.report import PlainProgress
from bench.scenarios import bystander

CALM = Figures(100, 0.1, 1.0, 2.0, 3.0, 4.0)
LATE = Figures(100, 0.1, 30.0, 200.0, 300.0, 400.0)
GOOD = bystander.Attempt(Delayed(CALM, CALM, CALM), 0.9, 0.0)
BAD = bystander.Attempt(Delayed(CALM, LATE, CALM), 0.9, 0.0)
OPTIONS = bystander.BystanderOptions(loads=("half-open heads",), seconds=0.2, attempts=3)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [([GOOD], [GOOD]), ([BAD, GOOD], [BAD, GOOD]), ([BAD, BAD, BAD, GOOD], [BAD, BAD, BAD])],
    ids=["at once", "again", "never"],
)
def test_attempts_go_on_until_one_holds(
    attempts: list[bystander.Attempt], expected: list[bystander.Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter(attempts)
    monkeypatch.setattr(bystander, "_attempt", lambda *_: next(made))
    monkeypatch.setitem(bystander.LOADS, "half-open heads", lambda *_: nullcontext())
    monkeypatch.setattr(bystander, "SETTLE_S", 0.0)
    table, results = bystander.run(OPTIONS, PlainProgress())
    assert len(results["loads"]["half-open heads"]) == len(expected)
    assert results["holds"] is (expected[-1] is GOOD)
    first, second, third = table.rows
    assert first[:4] == ["half-open heads", "yes" if expected[-1] is GOOD else "NO", str(len(expected)), "echo"]
    assert (second[3], third[3]) == ("timer", "link")


def test_a_real_load_for_a_moment() -> None:
    _, results = bystander.run(OPTIONS, PlainProgress())
    (attempt, *_) = results["loads"]["half-open heads"]
    assert attempt["delayed"]["echo"]["count"] > 0
    assert attempt["server_cpu"] > 0
    assert attempt["server_waited"] >= 0
