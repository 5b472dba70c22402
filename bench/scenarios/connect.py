"""Connect: a storm of upgrades to one server process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.load import LoadResult, processes_for
from bench.report import ProgressBar, Spread, Table
from bench.scenarios import turns

COLUMNS = (
    "server", "upgrades/s", "upgrades/CPU-s", "ratio per CPU-s", "p50 ms", "p99 ms", "server CPU", "client CPU",
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
    return result.connected / result.connect.server_cpu_s


def run(options: ConnectOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure; return the table and what belongs into the JSON file. All connections are open at the end of a round."""
    results = turns.in_turns(
        "connect",
        options.peers,
        options.rounds,
        progress,
        {
            "processes": processes_for(options.connections),
            "connections": options.connections,
            "concurrency": options.concurrency,
        },
    )
    reference = options.peers[0] if options.peers else turns.OURS
    by_cpu = turns.ratios(results, per_cpu_second, reference)
    rows = [_row(name, own, by_cpu[name]) for name, own in results.items()]
    title = f"connect: {options.connections} upgrades, {options.concurrency} at once, {options.rounds} rounds"
    notes = [
        "a handshake lasts from connect() to the 101; all connections stay open until the round ends",
        f"ratios to {reference}, round by round: median (lowest to highest); other figures are medians",
    ]
    notes += turns.idle_notes(results, lambda result: result.connect)
    return Table(title, COLUMNS, rows, notes), turns.as_json(results, per_cpu_second=by_cpu)


def _row(name: str, results: Sequence[LoadResult], by_cpu: Spread) -> list[str]:
    spans = [result.connect for result in results]
    return [
        name,
        f"{Spread.of([result.connected / result.connect.seconds for result in results]).median:,.0f}",
        f"{Spread.of([per_cpu_second(result) for result in results]).median:,.0f}",
        f"{by_cpu:.3f}",
        f"{Spread.of([span.latency.p50 / 1000 for span in spans]).median:,.1f}",
        f"{Spread.of([span.latency.p99 / 1000 for span in spans]).median:,.1f}",
        f"{Spread.of([span.server_cpu_s / span.seconds for span in spans]).median:.0%}",
        f"{Spread.of([span.client_cpu_s / span.seconds for span in spans]).median:.0%}",
    ]
