"""Bystander: how long an echo client, a timer and a link of the server's loop wait while others load the server.

The bar: p99 of at most 20 ms and nothing over 100 ms for each of them, under each load. Judged is what the server
added: the time in which a process was ready and had no CPU is taken off (`bench.bystander.probes`), and stands in the
table beside it as wall time. A load that does not pass is tried again, three times in all: what the machine does to
one attempt it does not do to each, what the server does it does always.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import measure, servers
from bench.bystander.loads import LOADS
from bench.bystander.probes import scheduled_s
from bench.bystander.watch import MOST_MS, MOST_P99_MS, Bystanders, Delayed
from bench.report import ProgressBar, Table

COLUMNS = ("load", "holds", "attempts", "bystander", "p50 ms", "p99 ms", "max ms", "wall p99", "wall max", "server CPU")
SETTLE_S = 0.3
BETWEEN_S = 0.2
APP = "bench.bystander.app:app"


@dataclass(frozen=True, slots=True)
class BystanderOptions:
    """What the command line says."""

    loads: tuple[str, ...] = tuple(LOADS)
    seconds: float = 5.0  # of each load
    attempts: int = 3


@dataclass(frozen=True, slots=True)
class Attempt:
    """One stretch of a load."""

    delayed: Delayed
    server_cpu: float  # share of a CPU that the server used
    server_waited: float  # share of the time in which it was ready and had none


def run(options: BystanderOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure; return the table and what belongs into the JSON file.

    :raises bench.load.LoadError: a load was not served.
    :raises bench.bystander.watch.BystanderError: a bystander was not served at all.
    """
    server_cpus, client_cpus = measure.server_and_client_cpus()
    progress.start(len(options.loads))
    results: dict[str, list[Attempt]] = {}
    with servers.fastws(APP, cpus=server_cpus) as server, Bystanders(server, client_cpus) as bystanders:
        for name in options.loads:
            progress.say(name)
            results[name] = bear(name, server, bystanders, client_cpus, options)
            progress.step()
    rows = [row for name, attempts in results.items() for row in _rows(name, attempts)]
    notes = [
        f"the bar: p99 <= {MOST_P99_MS:g} ms and max <= {MOST_MS:g} ms, without the time that ready processes waited",
        "for a CPU, which is the machine's; wall: with that time",
        f"an echo client, a timer and a link of the loop, asked every 5 ms for {options.seconds:g} s of each load",
    ]
    raw = {name: [asdict(attempt) for attempt in attempts] for name, attempts in results.items()}
    holds = all(attempts[-1].delayed.holds for attempts in results.values())
    return Table("bystanders of a load", COLUMNS, rows, notes), {"holds": holds, "loads": raw}


def bear(
    name: str, server: servers.Server, bystanders: Bystanders, cpus: set[int] | None, options: BystanderOptions
) -> list[Attempt]:
    """Put one load on the server, again while the bar does not hold; the last attempt is the one that counts."""
    attempts: list[Attempt] = []
    while len(attempts) < options.attempts and not (attempts and attempts[-1].delayed.holds):
        with LOADS[name](server, cpus):
            time.sleep(SETTLE_S)
            attempts.append(_attempt(server, bystanders, options.seconds))
        time.sleep(BETWEEN_S)
    return attempts


def _attempt(server: servers.Server, bystanders: Bystanders, seconds: float) -> Attempt:
    bystanders.take()
    before, begun = scheduled_s(server.pid), time.monotonic()
    time.sleep(seconds)
    delayed = bystanders.take()
    after, spent = scheduled_s(server.pid), time.monotonic() - begun
    return Attempt(delayed, (after[0] - before[0]) / spent, (after[1] - before[1]) / spent)


def _rows(name: str, attempts: Sequence[Attempt]) -> list[list[str]]:
    last = attempts[-1]
    verdict = "yes" if last.delayed.holds else "NO"
    rows: list[list[str]] = []
    for bystander, figures in last.delayed.by_name.items():
        first = [name, verdict, str(len(attempts))] if not rows else ["", "", ""]
        times = (figures.p50, figures.p99, figures.max, figures.raw_p99, figures.raw_max)
        cpu = f"{last.server_cpu:.0%}" if not rows else ""
        rows.append([*first, bystander, *(f"{value:.1f}" for value in times), cpu])
    return rows
