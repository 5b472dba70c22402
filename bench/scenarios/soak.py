"""Soak: a server under everything that its clients do, for a time, and whether it is afterwards as it was before.

First a staircase: more and more idle connections, which stay. Then, until the time is over, cycles of the loads that
bystanders have to bear, each for some seconds and the last of each cycle a quiet one, beside a steady echo and
subscribers that come and go and read nothing. Every second is sampled, more often where phases are short;
`bench.soaking.verdict` says what has to hold.
"""

import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from bench import measure, servers
from bench.bystander import loads
from bench.bystander.watch import Bystanders
from bench.load import LoadError
from bench.report import ProgressBar, Table
from bench.scenarios.bystander import APP
from bench.soaking.sampling import INTERVAL_S, Sample, Sampler
from bench.soaking.verdict import QUIET, SPARE_FILES, Check, judged_part, verdict

STEPS = (0, 50, 500, 2000)  # idle connections of the staircase, before the last step
STAIRCASE_SHARE = 0.1  # of the time
PHASE_S = 4.0  # at most: with less time the phases are shorter
SHORTEST_PHASE_S = 0.3
CYCLES = 3  # at least, however long they take: the first one is a warm-up, and two can be compared
PHASE_SAMPLES = 2  # in the time of a phase; at least one has to be there before the next begins
QUIET_SAMPLES = 4  # of a quiet phase, half of which are judged
PATIENCE_S = 20.0  # a phase is longer where there are no samples, or quiet has not settled yet; at most so much
RESERVE = 6000  # descriptors for what comes beside the idle connections
SLOTHS = 20
LEAVING = "everybody leaves"
OPTIONS = ("--max-outbox", "65536", "--ping-interval", "10", "--log-level", "error")
COLUMNS = ("what", "found", "allowed", "holds")


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """What the command line says."""

    minutes: float = 10.0
    connections: int = 8000  # idle ones

    @property
    def phase_s(self) -> float:
        """Seconds of a phase of a cycle."""
        planned = 60 * self.minutes * (1 - STAIRCASE_SHARE) / CYCLES / len(CYCLE)
        return min(PHASE_S, max(SHORTEST_PHASE_S, planned))

    @property
    def interval_s(self) -> float:
        """Seconds from one sample to the next."""
        return min(INTERVAL_S, self.phase_s / PHASE_SAMPLES)


def fan_out(server: servers.Server, cpus: set[int] | None) -> AbstractContextManager[object]:
    """Fan-out to 2,000: the connections that stay take the other descriptors."""
    return loads.fan_out(server, cpus, subscribers=2000)


def quiet(server: servers.Server, cpus: set[int] | None) -> AbstractContextManager[object]:  # noqa: ARG001 - a load
    """Nothing beside what goes on all the time."""
    return nullcontext()


CYCLE: dict[str, loads.LoadFactory] = loads.LOADS | {"fan-out": fan_out, QUIET: quiet}


class Soak:
    """One run."""

    def __init__(self, options: SoakOptions, progress: ProgressBar, server: servers.Server, sampler: Sampler) -> None:
        self.failures: list[str] = []
        self._progress = progress
        self._server = server
        self._sampler = sampler
        self._cpus = measure.server_and_client_cpus()[1]
        self._seconds = options.minutes * 60
        self._phase_s = options.phase_s
        self._connections = min(options.connections, measure.descriptor_limit() - RESERVE)
        self._begun = time.monotonic()

    def run(self) -> None:
        """The whole of it; failures are collected."""
        with ExitStack() as stack:
            self._staircase(stack)
            rate: loads.Options = {"connections": 50, "rate": 500, "size": 64}
            self._enter(stack, "steady echo", loads.engine("rate", self._server, self._cpus, rate))
            self._enter(stack, "sloths", loads.crowd("sloths", self._server, self._cpus, SLOTHS))
            self._cycles()
            self._say(LEAVING)

    def _staircase(self, stack: ExitStack) -> None:
        steps = [step for step in STEPS if step < self._connections]
        for before, after in pairwise([*steps, self._connections]):
            self._say(f"{after} idle")
            idle: loads.Options = {"connections": after - before}
            self._enter(stack, f"{after} idle", loads.engine("idle", self._server, self._cpus, idle))
            self._spend(self._seconds * STAIRCASE_SHARE / len(steps))

    def _cycles(self) -> None:
        done = 0
        while done < CYCLES or time.monotonic() - self._begun < self._seconds:
            for name, load in CYCLE.items():
                self._say(name)
                with ExitStack() as stack:
                    self._enter(stack, name, load(self._server, self._cpus))
                    self._spend(self._phase_s)
            if self._sampler.failure is not None:
                return
            done += 1

    def _enter(self, stack: ExitStack, name: str, load: AbstractContextManager[object]) -> None:
        """Begin a load that ends with the stack; where it fails, that is noted and the others go on."""

        def end(*error: Any) -> None:
            try:
                load.__exit__(*error)
            except LoadError as failure:
                self.failures.append(f"{name}: {failure}")

        try:
            load.__enter__()
        except LoadError as failure:
            self.failures.append(f"{name}: {failure}")
        else:
            stack.push(end)

    def _spend(self, seconds: float) -> None:
        """Let the phase go on for so long, and until it was sampled, however slow the machine is at the moment."""
        phase, first, begun = self._sampler.phase, len(self._sampler.samples), time.monotonic()
        while self._sampler.failure is None and (spent := time.monotonic() - begun) < seconds + PATIENCE_S:
            own = [sample for sample in self._sampler.samples[first:] if sample.phase == phase]
            if spent >= seconds and own and (phase != QUIET or _settled(own)):
                return
            time.sleep(min(0.2, self._phase_s / 4))

    def _say(self, phase: str) -> None:
        self._sampler.phase = phase
        minute = (time.monotonic() - self._begun) / 60
        last = self._sampler.samples[-1] if self._sampler.samples else None
        state = (
            f"; {last.files} files, {last.own_bytes / 1e6:.1f} MB, bystanders' p99 {last.delayed.worst_p99:.1f} ms"
            if last
            else ""
        )
        self._progress.say(f"minute {minute:.1f}{state}; {phase}")


def run(options: SoakOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any], Sampler]:
    """Run it; return the table, what belongs into the JSON file, and the samples for a picture.

    :raises bench.servers.ServerError: the server does not start.
    :raises bench.bystander.watch.BystanderError: the bystanders are not served from the beginning.
    """
    server_cpus, client_cpus = measure.server_and_client_cpus()
    progress.start(1)
    with (
        servers.fastws(APP, *OPTIONS, cpus=server_cpus) as server,
        Bystanders(server, client_cpus) as bystanders,
        Sampler(server, bystanders, options.interval_s) as sampler,
    ):
        soak = Soak(options, progress, server, sampler)
        soak.run()
    progress.step()
    failures = [*soak.failures, *([str(sampler.failure)] if sampler.failure else [])]
    checks = verdict(sampler.samples, failures)
    results = {
        "passed": all(check.holds for check in checks),
        "checks": [asdict(check) for check in checks],
        "samples": [asdict(sample) for sample in sampler.samples],
    }
    table = Table(f"soak of {options.minutes:g} minutes", COLUMNS, _rows(checks), _notes(sampler, options.interval_s))
    return table, results, sampler


def _settled(samples: list[Sample]) -> bool:
    """Whether a quiet phase can end: nobody's connections are still being closed in the part of it that is judged."""
    files = [sample.files for sample in judged_part(samples)]
    return len(samples) >= QUIET_SAMPLES and max(files) - min(files) <= SPARE_FILES


def _rows(checks: list[Check]) -> list[list[str]]:
    return [[check.name, check.found, check.allowed, "yes" if check.holds else "NO"] for check in checks]


def _notes(sampler: Sampler, interval_s: float) -> list[str]:
    """What each phase looked like."""
    notes = [
        f"a sample every {interval_s:.2g} s; of each phase:",
        "samples, most files, most MB, CPU, CPU waited for, worst p99 and max of echo / timer / link in ms",
    ]
    for phase in dict.fromkeys(sample.phase for sample in sampler.samples):
        own = [sample for sample in sampler.samples if sample.phase == phase]
        worst = " / ".join(
            f"{max(s.delayed.by_name[name].p99 for s in own):.1f} {max(s.delayed.by_name[name].max for s in own):.1f}"
            for name in ("echo", "timer", "link")
        )
        notes.append(
            f"{phase}: {len(own)}, {max(s.files for s in own)}, {max(s.own_bytes for s in own) / 1e6:.1f} MB, "
            f"{sum(s.cpu for s in own) / len(own):.0%}, {sum(s.waited for s in own) / len(own):.0%}, {worst}"
        )
    return notes
