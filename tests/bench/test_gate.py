"""The gate lets pass what is as it was, and stops what every attempt shows to be slower."""

import pytest

from bench import gate
from bench.load import Latency, LoadResult, Span
from bench.report import PlainProgress, Spread

SECONDS = 0.1


@pytest.fixture(autouse=True)
def one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "ROUNDS", 1)
    monkeypatch.setattr(gate, "ATTEMPTS", 2)


def test_a_third_worse_is_below_every_floor_and_the_baseline_above() -> None:
    for check in gate.CHECKS:
        verdicts = [
            gate.Attempt(check, 1, Spread(ratio, 0.0, 9.0), 1.0).passed
            for ratio in (check.baseline, check.baseline * gate.SLACK, check.baseline * 2 / 3)
        ]
        assert verdicts == [True, True, False]


def result(messages: int) -> LoadResult:
    """A round: so many messages in one CPU-second; none at all in none."""
    latency = Latency(messages, 1, 1, 1, 1, 1, 1)
    span = Span(0.5, messages, messages, float(bool(messages)), 0.1, latency)
    return LoadResult("echo", 1, 1, 1, 0, span, span, {"all": 0}, "")


def test_a_round_in_which_the_machine_had_no_time_is_not_judged() -> None:
    ours, limit = [result(90), result(0), result(60), result(80)], [result(100), result(100), result(100), result(0)]
    assert gate.ratio_of(ours, limit) == Spread(0.75, 0.6, 0.9)
    assert gate.ratio_of([result(0)], [result(100)]) == Spread(0, 0, 0)


def test_what_passes_is_measured_once() -> None:
    table, failed = gate.run(PlainProgress(), [gate.Check("easy", 1, 0.0), gate.Check("easy too", 16, 0.0)], SECONDS)
    assert failed == []
    assert [(row[0], row[1], row[5]) for row in table.rows] == [("easy", "1", "passed"), ("easy too", "1", "passed")]


def test_what_does_not_pass_has_all_its_attempts_and_is_named() -> None:
    table, failed = gate.run(PlainProgress(), [gate.Check("echo --size 1", 1, 99.0)], SECONDS)
    assert failed == ["echo --size 1"]
    assert [row[1] for row in table.rows] == ["1", "2"]
    assert "python -m bench echo --size 1 " in gate.advice(failed)
