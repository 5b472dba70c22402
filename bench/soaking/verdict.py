"""Whether a soak passes: memory and descriptors level, bystanders served, nothing failed."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.bystander.watch import MOST_MS, MOST_P99_MS
from bench.soaking.sampling import Sample

QUIET = "quiet"  # the phase in which what was opened for a load is closed again
MOST_SLOPE_KB_PER_MINUTE = 50.0
MOST_GROWTH = 0.02
SPARE_FILES = 50  # connections that come and go at any time
MOST_LATE = 0.05  # of the samples, with a p99 over the bar: of the 200 delays of a second the third worst
ENOUGH_DELAYS = 100  # of a bystander in a sample: the p99 of fewer is the longest of them, and says nothing of its own
MOST_STUCK = 0.01  # of the samples, with anything over the bar's maximum
MOST_WAITED = 0.5  # of a sample without a CPU: more of it says more about the machine than about the server
ENOUGH_CYCLES = 6  # after the warm-up; fewer say nothing about a slope


@dataclass(frozen=True, slots=True)
class Check:
    """One condition."""

    name: str
    found: str
    allowed: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Quiet:
    """The quiet phase of one cycle: medians of what is judged of it."""

    at_s: float
    own_bytes: float
    files: float


def verdict(samples: Sequence[Sample], failures: Sequence[str]) -> list[Check]:
    """Every condition; the soak passes if all of them hold."""
    steady = settled(quiet_phases(samples))
    failed = Check("failures", "; ".join(failures) or "none", "none", not failures)
    return [_slope(steady), _growth(steady), _files(steady), _bystanders(samples), failed]


def judged_part(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The second half of a quiet phase: in the first one the last load may still end."""
    return samples[len(samples) // 2 :]


def quiet_phases(samples: Sequence[Sample]) -> list[Quiet]:
    """One for each quiet phase of at least two samples."""
    phases = []
    for phase, group in itertools.groupby(samples, lambda sample: sample.phase):
        own = list(group)
        rest = judged_part(own)
        if phase == QUIET and len(own) > 1:
            phases.append(
                Quiet(
                    statistics.median(sample.at_s for sample in rest),
                    statistics.median(sample.own_bytes for sample in rest),
                    statistics.median(sample.files for sample in rest),
                )
            )
    return phases


def settled(phases: Sequence[Quiet]) -> Sequence[Quiet]:
    """Without the warm-up, in which every load comes for the first time: a fifth of them, at least one of several."""
    return phases[max(1, len(phases) // 5) :] or phases


def slope_kb_per_minute(phases: Sequence[Quiet]) -> float:
    """The median of the slopes between any two (Theil and Sen): single outliers do not move it."""
    slopes = [
        (b.own_bytes - a.own_bytes) / 1024 / ((b.at_s - a.at_s) / 60) for a, b in itertools.combinations(phases, 2)
    ]
    return statistics.median(slopes) if slopes else 0.0


def _slope(phases: Sequence[Quiet]) -> Check:
    slope = slope_kb_per_minute(phases)
    enough = len(phases) >= ENOUGH_CYCLES
    found = f"{slope:+.1f} KB/min over {len(phases)} cycles"
    return Check(
        "memory slope in quiet",
        found if enough else f"{found}: too few to judge",
        f"{MOST_SLOPE_KB_PER_MINUTE:g} KB/min",
        slope <= MOST_SLOPE_KB_PER_MINUTE or not enough,
    )


def _growth(phases: Sequence[Quiet]) -> Check:
    """The last third against the first: what the process keeps, not how it got there."""
    third = max(1, len(phases) // 3)
    first = statistics.median(phase.own_bytes for phase in phases[:third]) if phases else 0.0
    last = statistics.median(phase.own_bytes for phase in phases[-third:]) if phases else 0.0
    found = f"{first / 1e6:.2f} to {last / 1e6:.2f} MB ({last / first - 1:+.2%})" if first else "never quiet"
    return Check(
        "memory in quiet at the end, to the beginning",
        found if len(phases) != 1 else "one cycle: nothing to compare",
        f"{MOST_GROWTH:+.0%}",
        len(phases) > 1 and last <= first * (1 + MOST_GROWTH),
    )


def _files(phases: Sequence[Quiet]) -> Check:
    files = [phase.files for phase in phases]
    found = f"{min(files):.0f} to {max(files):.0f}" if files else "never quiet"
    return Check(
        "descriptors in quiet", found, f"{SPARE_FILES} apart", bool(files) and max(files) - min(files) <= SPARE_FILES
    )


def _p99_ms(sample: Sample) -> float:
    """The worst p99 of those bystanders that came often enough; 0 where none did, as in the samples of a short soak."""
    return max((one.p99 for one in sample.delayed.by_name.values() if one.count > ENOUGH_DELAYS), default=0.0)


def _bystanders(samples: Sequence[Sample]) -> Check:
    judged = [sample for sample in samples if sample.waited <= MOST_WAITED]
    late = [sample for sample in judged if _p99_ms(sample) > MOST_P99_MS]
    stuck = [sample for sample in judged if sample.delayed.worst > MOST_MS]
    starved = len(samples) - len(judged)
    return Check(
        f"samples in which bystanders' p99 is over {MOST_P99_MS:g} ms, max over {MOST_MS:g} ms",
        f"{len(late)}, {len(stuck)} of {len(judged)}"
        + (f"; not judged: {starved} in which the server mostly had no CPU" if starved else ""),
        f"{MOST_LATE:.0%}, {MOST_STUCK:.0%}",
        bool(judged) and len(late) <= MOST_LATE * len(judged) and len(stuck) <= MOST_STUCK * len(judged),
    )
