"""What passes a soak and what does not."""

import dataclasses

import pytest

from bench.bystander.probes import Figures
from bench.bystander.watch import Delayed
from bench.soaking.sampling import Sample
from bench.soaking.verdict import QUIET, Check, quiet_phases, settled, slope_kb_per_minute, verdict

MB = 1_000_000
CALM = Figures(200, 0.1, 1.0, 2.0, 1.0, 2.0)
SECOND = Sample(0.0, QUIET, 40 * MB, 30 * MB, 100, 0.5, 0.0, Delayed(CALM, CALM, CALM))


def soak(cycles: int = 10, growth: float = 0.0, files: float = 0.0) -> list[Sample]:
    """Cycles of four loud and four quiet seconds; memory and descriptors of the quiet ones grow by so much a minute."""
    samples = []
    for second in range(cycles * 8):
        minutes = second / 60
        quiet = dataclasses.replace(
            SECOND,
            at_s=float(second),
            own_bytes=int(SECOND.own_bytes + growth * minutes),
            files=int(SECOND.files + files * minutes),
        )
        loud = dataclasses.replace(quiet, phase="loud", own_bytes=50 * MB + second % 3 * MB, files=9000)
        samples.append(loud if second % 8 < 4 else quiet)
    return samples


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.holds]


def test_a_level_soak_passes() -> None:
    assert failed(verdict(soak(), [])) == []
    assert failed(verdict(soak(growth=20 * 1024), [])) == []


def test_memory_that_grows_all_the_time() -> None:
    checks = verdict(soak(growth=60 * 1024), [])
    assert failed(checks) == ["memory slope in quiet"]
    assert checks[0].found.startswith("+60.0 KB/min")


def test_memory_that_is_more_at_the_end() -> None:
    assert "memory in quiet at the end, to the beginning" in failed(verdict(soak(growth=2 * MB), []))
    assert failed(verdict(soak(growth=-2 * MB), [])) == []


def test_what_the_warm_up_takes_does_not_count() -> None:
    samples = [
        dataclasses.replace(sample, own_bytes=20 * MB) if sample.at_s < 16 else sample for sample in soak(cycles=10)
    ]
    assert failed(verdict(samples, [])) == []


def test_single_outliers_make_no_slope() -> None:
    phases = quiet_phases(soak(cycles=10))
    odd = [dataclasses.replace(p, own_bytes=p.own_bytes * 2) if i == 5 else p for i, p in enumerate(phases)]
    assert slope_kb_per_minute(odd) == 0.0
    assert slope_kb_per_minute([]) == 0.0


def test_few_cycles_say_nothing_about_a_slope() -> None:
    checks = verdict(soak(cycles=3, growth=100 * 1024), [])
    assert failed(checks) == []
    assert "too few to judge" in checks[0].found
    assert len(settled(quiet_phases(soak(cycles=3)))) == 2


def test_descriptors_that_are_not_given_back() -> None:
    assert failed(verdict(soak(files=60), [])) == ["descriptors in quiet"]


@pytest.mark.parametrize(
    ("late", "worst", "holds"), [(0, 40.0, True), (4, 40.0, True), (5, 40.0, False), (1, 101.0, False)]
)
def test_bystanders_that_wait(late: int, worst: float, holds: bool) -> None:
    bad = Delayed(CALM, Figures(200, 0.1, 30.0, worst, 30.0, worst), CALM)
    samples = [dataclasses.replace(s, delayed=bad) if i < late else s for i, s in enumerate(soak())]
    check = verdict(samples, [])[3]
    assert check.holds is holds
    assert check.found == f"{late}, {late if worst > 100 else 0} of 80"


def test_seconds_without_a_cpu_are_not_judged_and_nothing_else_does_not_pass() -> None:
    bad = Delayed(CALM, CALM, Figures(200, 0.1, 30.0, 400.0, 30.0, 400.0))
    samples = [dataclasses.replace(s, delayed=bad, waited=0.8) if i < 5 else s for i, s in enumerate(soak())]
    check = verdict(samples, [])[3]
    assert check.holds
    assert "not judged: 5" in check.found
    assert not verdict([dataclasses.replace(sample, waited=0.8) for sample in samples], [])[3].holds


def test_failures_are_failures() -> None:
    assert failed(verdict(soak(), ["fan-out: lost"])) == ["failures"]


def test_nothing_sampled_does_not_pass() -> None:
    assert len(failed(verdict([], []))) == 3


def test_one_cycle_has_nothing_to_be_compared_with() -> None:
    checks = verdict(soak(cycles=1), [])
    assert failed(checks) == ["memory in quiet at the end, to the beginning"]
    assert checks[1].found == "one cycle: nothing to compare"


@pytest.mark.parametrize(("worst", "holds"), [(90.0, True), (110.0, False)])
def test_of_short_samples_only_the_longest_delay_is_judged(worst: float, holds: bool) -> None:
    bad = Delayed(CALM, Figures(80, 0.1, worst, worst, worst, worst), CALM)
    assert verdict([dataclasses.replace(sample, delayed=bad) for sample in soak()], [])[3].holds is holds
