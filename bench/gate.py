"""The gate of continuous integration: fails when echo or fan-out got a third slower beside the limit of the machine.

Messages for each CPU-second of the server, divided by those of the bare C loop in the same round, travel from machine
to machine, and hardly depend on what else a machine does. What is left of chance is met by the median of a few rounds,
by a floor between the baseline and a third less, and by more attempts: chance passes one of them, a loss none.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.load import LoadResult
from bench.report import ProgressBar, Spread, Table
from bench.scenarios import echo, fanout, turns
from bench.scenarios.comparison import Figure

SLACK = 0.78  # of the baseline is the floor; a third worse is 0.67
ATTEMPTS = 3
ROUNDS = 5  # of an attempt
SECONDS = 0.5  # measured in each round
WARM_UP_S = 0.15


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of load, put on servers as the scenario of this name does it."""

    mode: str  # of the load engine
    app: str  # that fastws runs
    figure: Figure  # what is compared
    options: Callable[[str], turns.Options]  # of the load engine for a server's name, beside those of a check


ECHO = Kind("echo", echo.APP, echo.per_cpu_second, lambda _: {})
FANOUT = Kind("fanout", fanout.APP, fanout.per_cpu_second, fanout.load_options)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must not get slower."""

    name: str  # as one says it to `python -m bench` to see more of it
    kind: Kind
    load: turns.Options  # of the load engine
    baseline: float  # fastws / C epoll per CPU-second, on the machine of docs/performance.md

    @property
    def floor(self) -> float:
        """The lowest ratio that passes."""
        return SLACK * self.baseline


CHECKS = (
    Check("echo", ECHO, {"connections": 100, "inflight": 1}, 0.92),
    Check("echo --inflight 16", ECHO, {"connections": 100, "inflight": 16}, 0.75),
    # Publications that arrive together and do not leave together would make a quarter of it.
    Check("fanout --subscribers 1000 --burst 10", FANOUT, {"connections": 1000, "burst": 10}, 0.92),
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was measured once."""

    check: Check
    number: int  # from 1
    ratio: Spread
    server_cpu: float  # share of the time that fastws used its CPU

    @property
    def passed(self) -> bool:
        """Whether the median reaches the floor."""
        return self.ratio.median >= self.check.floor


def attempts(checks: Sequence[Check], progress: ProgressBar, seconds: float = SECONDS) -> Iterator[Attempt]:
    """Measure each check until it passes, at most `ATTEMPTS` times; twice will do if no round came up to the floor.

    :param seconds: measured in each round.
    :raises bench.load.LoadError: something failed in a run.
    :raises bench.build.BuildError: the load engine or the C loop does not compile.
    :raises bench.servers.ServerError: a server does not start.
    """
    for check in checks:
        highest = 0.0
        for number in range(1, ATTEMPTS + 1):
            attempt = _attempt(check, number, progress, seconds)
            yield attempt
            highest = max(highest, attempt.ratio.high)
            if attempt.passed or (number > 1 and highest < check.floor):
                break


def _attempt(check: Check, number: int, progress: ProgressBar, seconds: float) -> Attempt:
    kind = check.kind
    load = {**check.load, "seconds": seconds, "warmup": min(WARM_UP_S, seconds)}
    results = turns.in_turns(
        kind.mode, [turns.REFERENCE], ROUNDS, progress, lambda name: {**kind.options(name), **load}, app=kind.app
    )
    ours = results[turns.OURS]
    busy = Spread.of([one.run.server_cpu_s / one.run.seconds for one in ours])
    return Attempt(check, number, ratio_of(ours, results[turns.REFERENCE], kind.figure), busy.median)


def ratio_of(ours: Sequence[LoadResult], limit: Sequence[LoadResult], figure: Figure) -> Spread:
    """Ours to the limit, round by round; 0 when there is no round to judge by.

    A machine can be so busy that nothing happens in a round: such a round says nothing about the server.
    """
    both = [(one, other) for one, other in zip(ours, limit, strict=True) if one.run.messages and other.run.messages]
    results = {turns.OURS: [one for one, _ in both], turns.REFERENCE: [other for _, other in both]}
    return turns.ratios(results, figure, turns.REFERENCE)[turns.OURS]


def run(progress: ProgressBar, checks: Sequence[Check], seconds: float = SECONDS) -> tuple[Table, list[str]]:
    """Measure everything; return a table of all attempts, and the names of the checks that did not pass.

    Raises what `attempts` does.
    """
    made = list(attempts(checks, progress, seconds))
    passed = {attempt.check.name for attempt in made if attempt.passed}
    rows = [
        [
            attempt.check.name,
            f"{attempt.number}",
            f"{attempt.ratio:.3f}",
            f"{attempt.check.floor:.3f}",
            f"{attempt.server_cpu:.0%}",
            "passed" if attempt.passed else "below the floor",
        ]
        for attempt in made
    ]
    title = f"gate: messages per CPU-second, fastws / {turns.REFERENCE}; {ROUNDS} rounds of {seconds:g} s each in turns"
    columns = ("check", "attempt", "ratio", "floor", "server CPU", "verdict")
    baselines = ", ".join(f"{check.name}: {check.baseline}" for check in checks)
    notes = [f"floors: {SLACK} of the baselines ({baselines}); up to {ATTEMPTS} attempts"]
    return Table(title, columns, rows, notes), [check.name for check in checks if check.name not in passed]


def advice(failed: Sequence[str]) -> str:
    """What to do about checks that did not pass."""
    return "\n".join(
        [
            f"slower than it may be: {', '.join(failed)}. Every attempt was below the floor, so it is hardly chance.",
            *(f"  python -m bench {name}   shows more of it" for name in failed),
            "  git bisect run make gate   finds the commit (as long as its start is good)",
            "  a debug or sanitizer build is slower by its nature: `make build` goes back to the release build",
            "  a loss that is meant goes into CHECKS of bench/gate.py and docs/performance.md, with the reason",
        ]
    )
