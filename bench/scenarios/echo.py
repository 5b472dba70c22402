"""Echo: messages a second on one core, with a Python callback for each message, beside the limit of the machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.load import LoadResult
from bench.report import ProgressBar, Spread, Table
from bench.scenarios import turns

COLUMNS = (
    "server", "msg/s", "msg/CPU-s", "ratio per CPU-s", "ratio in time", "p50 µs", "p99 µs", "server CPU", "client CPU",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EchoOptions:
    """What the command line says."""

    connections: int = 100
    size: int = 64  # bytes of payload
    inflight: int = 1  # messages on their way, for each connection
    rounds: int = 5
    seconds: float = 3.0  # measured in each round
    text: bool = False
    peers: Sequence[str] = (turns.REFERENCE,)


def per_cpu_second(result: LoadResult) -> float:
    """Messages for each CPU-second of the server."""
    return result.run.messages / result.run.server_cpu_s


def per_second(result: LoadResult) -> float:
    """Messages for each second of the clock."""
    return result.run.messages / result.run.seconds


def run(options: EchoOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure; return the table and what belongs into the JSON file."""
    results = turns.in_turns(
        "echo",
        options.peers,
        options.rounds,
        progress,
        {
            "connections": options.connections,
            "size": options.size,
            "inflight": options.inflight,
            "seconds": options.seconds,
            "text": options.text,
        },
    )
    reference = options.peers[0] if options.peers else turns.OURS
    by_cpu = turns.ratios(results, per_cpu_second, reference)
    by_clock = turns.ratios(results, per_second, reference)
    rows = [_row(name, own, by_cpu[name], by_clock[name]) for name, own in results.items()]
    kind = "text" if options.text else "binary"
    title = (
        f"echo: {options.connections} connections, {options.size} B {kind}, {options.inflight} in flight, "
        f"{options.rounds} rounds of {options.seconds:g} s"
    )
    notes = [f"ratios to {reference}, round by round: median (lowest to highest); other figures are medians"]
    notes += turns.idle_notes(results, lambda result: result.run)
    return Table(title, COLUMNS, rows, notes), turns.as_json(results, per_cpu_second=by_cpu, per_second=by_clock)


def _row(name: str, results: Sequence[LoadResult], by_cpu: Spread, by_clock: Spread) -> list[str]:
    runs = [result.run for result in results]
    return [
        name,
        f"{Spread.of([per_second(result) for result in results]).median:,.0f}",
        f"{Spread.of([per_cpu_second(result) for result in results]).median:,.0f}",
        f"{by_cpu:.3f}",
        f"{by_clock:.3f}",
        f"{Spread.of([span.latency.p50 for span in runs]).median:,.0f}",
        f"{Spread.of([span.latency.p99 for span in runs]).median:,.0f}",
        f"{Spread.of([span.server_cpu_s / span.seconds for span in runs]).median:.0%}",
        f"{Spread.of([span.client_cpu_s / span.seconds for span in runs]).median:.0%}",
    ]
