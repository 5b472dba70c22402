"""Echo: messages a second on one core, with a Python callback for each message, beside the limit of the machine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import roster
from bench.load import Latency, LoadResult
from bench.report import ProgressBar, Spread, Table
from bench.scenarios import turns
from bench.scenarios.comparison import Comparison, cpu_cells

APP = "bench.apps.echo:app"
COLUMNS = (
    "server", "msg/s", "msg/CPU-s", "ratio per CPU-s", "ratio in time", "fastws / it", "p50 µs", "p99 µs",
    "bystander p99 ms", "server CPU", "client CPU",
)  # fmt: skip
LATENCY_LOAD = 0.5  # of the throughput measured before
LATENCY_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class EchoOptions:
    """What the command line says."""

    connections: int = 100
    size: int = 64  # bytes of payload
    inflight: int = 1  # messages on their way, for each connection
    rounds: int = 5
    seconds: float = 3.0  # measured in each round
    text: bool = False
    at_a_rate: bool = True  # whether latencies are taken at a fixed rate, in rounds of their own
    peers: Sequence[str] = (turns.REFERENCE,)

    @property
    def latency_rounds(self) -> int:
        """Rounds at a fixed rate; none with several in flight, whose throughput comes of sending them together."""
        return min(LATENCY_ROUNDS, self.rounds) if self.at_a_rate and self.inflight == 1 else 0


def per_cpu_second(result: LoadResult) -> float:
    """Messages for each CPU-second of the server."""
    return result.run.per_cpu_second(result.run.messages)


def per_second(result: LoadResult) -> float:
    """Messages for each second of the clock."""
    return result.run.messages / result.run.seconds


def run(options: EchoOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure; return the table and what belongs into the JSON file."""
    peers = roster.echoing(options.peers)
    load: dict[str, float | str | bool] = {
        "connections": options.connections,
        "size": options.size,
        "inflight": options.inflight,
        "seconds": options.seconds,
        "text": options.text,
    }
    failures: dict[str, str] = {}
    results = turns.in_turns("echo", peers, options.rounds, progress, load, failures, bystander=True)
    compared = Comparison.of(results, peers, failures, per_cpu_second, per_second)
    rates = {name: _rate(own) for name, own in results.items()}
    latencies: dict[str, list[Latency]] = {name: [one.run.latency for one in own] for name, own in results.items()}
    if options.latency_rounds:
        latencies = _at_a_rate(rates, load, options.latency_rounds, progress, failures)
    rows = [_row(name, compared, latencies.get(name, [])) for name in results]
    kind = "text" if options.text else "binary"
    title = (
        f"echo: {options.connections} connections, {options.size} B {kind}, {options.inflight} in flight, "
        f"{options.rounds} rounds of {options.seconds:g} s"
    )
    table = Table(title, COLUMNS, rows, [_latency_note(options), *compared.notes(lambda result: result.run)])
    at_a_rate = {name: [asdict(latency) for latency in own] for name, own in latencies.items()}
    return table, {**compared.as_json(), "rates": rates, "latency_us": at_a_rate}


def _rate(results: Sequence[LoadResult]) -> float:
    """Messages a second of the rounds for latency."""
    return max(1.0, LATENCY_LOAD * Spread.of([per_second(result) for result in results]).median)


def _at_a_rate(
    rates: dict[str, float],
    load: dict[str, float | str | bool],
    rounds: int,
    progress: ProgressBar,
    failures: dict[str, str],
) -> dict[str, list[Latency]]:
    """Latencies while messages are sent on a fixed schedule, from when each was due: no stall can hide."""
    peers = [name for name in rates if name != turns.OURS]
    results = turns.in_turns("rate", peers, rounds, progress, lambda name: {**load, "rate": rates[name]}, failures)
    return {name: [one.run.latency for one in own] for name, own in results.items()}


def _latency_note(options: EchoOptions) -> str:
    if options.latency_rounds:
        return (
            f"p50, p99: at a fixed rate of {LATENCY_LOAD:.0%} of the server's msg/s, from when a message was due; "
            "bystander: a quiet client's echo while the others send as fast as they can"
        )
    return "p50, p99: from sending to the reply, with all in flight, so they follow from the throughput"


def _row(name: str, compared: Comparison, latencies: Sequence[Latency]) -> list[str]:
    results = compared.results[name]
    return [
        name,
        f"{Spread.of([per_second(result) for result in results]).median:,.0f}",
        f"{Spread.of([per_cpu_second(result) for result in results]).median:,.0f}",
        f"{compared.by_cpu[name]:.3f}",
        f"{compared.by_clock[name]:.3f}",
        f"{compared.ours[name]:.2f}",
        f"{Spread.of([latency.p50 for latency in latencies]).median:,.0f}" if latencies else "-",
        f"{Spread.of([latency.p99 for latency in latencies]).median:,.0f}" if latencies else "-",
        turns.bystander_ms(results),
        *cpu_cells([result.run for result in results]),
    ]
