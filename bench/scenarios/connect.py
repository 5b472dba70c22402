"""Connect: a storm of upgrades to one server process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.load import LoadResult, processes_for
from bench.report import ProgressBar, Spread, Table
from bench.scenarios import turns
from bench.scenarios.comparison import Comparison, cpu_cells, median_of

COLUMNS = (
    "server", "upgrades/s", "upgrades/CPU-s", "ratio per CPU-s", "ratio in time", "fastws / it", "p50 ms", "p99 ms",
    "server CPU", "client CPU",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """What the command line says."""

    connections: int = 15000
    concurrency: int = 256  # upgrades on their way
    rounds: int = 5
    peers: Sequence[str] = (turns.REFERENCE,)


def per_cpu_second(result: LoadResult) -> float:
    """Upgrades for each CPU-second of the server."""
    return result.connect.per_cpu_second(result.connected)


def per_second(result: LoadResult) -> float:
    """Upgrades for each second of the clock."""
    return result.connected / result.connect.seconds


def run(options: ConnectOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure; return the table and what belongs into the JSON file. All connections are open at the end of a round."""
    load: dict[str, float | str | bool] = {
        "processes": processes_for(options.connections),
        "connections": options.connections,
        "concurrency": options.concurrency,
    }
    failures: dict[str, str] = {}
    results = turns.in_turns("connect", options.peers, options.rounds, progress, load, failures)
    compared = Comparison.of(results, options.peers, failures, per_cpu_second, per_second)
    title = f"connect: {options.connections} upgrades, {options.concurrency} at once, {options.rounds} rounds"
    notes = [
        "a handshake lasts from connect() to the 101; all connections stay open until the round ends",
        f"p50, p99: {options.concurrency} at once, a closed loop: they follow from the upgrades/s",
        *compared.notes(lambda result: result.connect),
    ]
    return Table(title, COLUMNS, [_row(name, compared) for name in results], notes), compared.as_json()


def _row(name: str, compared: Comparison) -> list[str]:
    results = compared.results[name]
    spans = [result.connect for result in results]
    return [
        name,
        f"{Spread.of([per_second(result) for result in results]).median:,.0f}",
        f"{Spread.of([per_cpu_second(result) for result in results]).median:,.0f}",
        f"{compared.by_cpu[name]:.3f}",
        f"{compared.by_clock[name]:.3f}",
        f"{compared.ours[name]:.2f}",
        f"{median_of(spans, lambda span: span.latency.p50 / 1000):,.1f}",
        f"{median_of(spans, lambda span: span.latency.p99 / 1000):,.1f}",
        *cpu_cells(spans),
    ]
