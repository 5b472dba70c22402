"""The gate lets pass what is as it was, and stops what every attempt shows to be slower."""

import pytest

from bench import gate
from bench.load import Latency, LoadResult, Span
from bench.report import PlainProgress, Spread
from bench.scenarios import echo, fanout, turns
from tests.bench.windows import long_enough

SECONDS = 0.1


def easy(name: str, baseline: float = 0.0) -> gate.Check:
    return gate.Check(name, gate.ECHO, {"connections": 10}, baseline)


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
    assert gate.ratio_of(ours, limit, echo.per_cpu_second) == Spread(0.75, 0.6, 0.9)
    assert gate.ratio_of([result(0)], [result(100)], echo.per_cpu_second) == Spread(0, 0, 0)


def test_what_passes_is_measured_once() -> None:
    table, failed = gate.run(PlainProgress(), [easy("easy"), easy("easy too")], SECONDS)
    assert failed == []
    assert [(row[0], row[1], row[5]) for row in table.rows] == [("easy", "1", "passed"), ("easy too", "1", "passed")]


def test_what_does_not_pass_has_all_its_attempts_and_is_named() -> None:
    table, failed = gate.run(PlainProgress(), [easy("echo --size 1", 99.0)], SECONDS)
    assert failed == ["echo --size 1"]
    assert [row[1] for row in table.rows] == ["1", "2"]
    assert "python -m bench echo --size 1 " in gate.advice(failed)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Attempts that a test makes up: fastws's messages in each round, where the limit has 100."""
    made: list[tuple[int, ...]] = []

    def in_turns(*_: object, **__: object) -> dict[str, list[LoadResult]]:
        rounds = made.pop(0)
        return {turns.OURS: [result(one) for one in rounds], turns.REFERENCE: [result(100)] * len(rounds)}

    monkeypatch.setattr(turns, "in_turns", in_turns)
    monkeypatch.setattr(gate, "ATTEMPTS", 3)
    return made


@pytest.mark.parametrize(
    ("attempts", "passed"),
    [
        ([(70, 80, 90)], True),
        ([(50, 60, 70), (50, 60, 90), (70, 80, 90)], True),
        ([(50, 60, 90), (50, 60, 70), (50, 60, 70)], False),  # the 90 may be what it can do
        ([(15, 16, 17), (15, 16, 17)], False),  # no doubt
    ],
)
def test_attempts_go_on_while_there_is_doubt(
    measured: list[tuple[int, ...]], attempts: list[tuple[int, ...]], passed: bool
) -> None:
    measured += attempts
    table, failed = gate.run(PlainProgress(), [easy("some", 1.0)])
    assert (not failed) == passed
    assert len(table.rows) == len(attempts)
    assert not measured


def test_fan_out_is_put_on_as_its_scenario_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "ATTEMPTS", 1)
    check = gate.Check("fanout --burst 3", gate.FANOUT, {"connections": 5, "burst": 3}, 0.0)
    attempt = long_enough(
        lambda seconds: next(gate.attempts([check], PlainProgress(), seconds)),
        lambda attempt: attempt.ratio.median > 0,
        SECONDS,
    )
    assert attempt.check == check
    assert gate.FANOUT.options(turns.OURS) == fanout.load_options(turns.OURS)


def test_the_checks_are_of_each_kind() -> None:
    """What may be lost in one of them alone: calls for a message, messages of one read, publications of one pass."""
    loads = [(check.kind.mode, check.load.get("inflight", 1), check.load.get("burst", 1)) for check in gate.CHECKS]
    assert loads == [("echo", 1, 1), ("echo", 16, 1), ("fanout", 1, 10)]
