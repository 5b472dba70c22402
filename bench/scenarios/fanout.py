"""Fan-out: one publisher, many subscribers of one topic; a burst goes out when everyone has heard the one before."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import roster
from bench.load import LoadResult, processes_for
from bench.report import ProgressBar, Table
from bench.scenarios import turns
from bench.scenarios.comparison import Comparison, cpu_cells, median_of

APP = "bench.apps.fanout:app"
TOPIC = "bench"
SIZE = 128  # bytes of payload
LEAST_SIZE = 24  # the load engine's: a publication has room for its marker and number, and for something to compare
MOST_SIZE = 65000  # in its envelope it is still a message that fastws takes by default
COLUMNS = (
    "server", "deliveries/s", "deliveries/CPU-s", "ratio per CPU-s", "ratio in time", "fastws / it", "last p50 ms",
    "last p99 ms", "bystander p99 ms", "server CPU", "client CPU",
)  # fmt: skip
FASTWS = roster.Fanout(
    path="/ws",
    publish_path="/ws",
    subscribe=json.dumps({"id": 1, "cmd": "sub", "topic": TOPIC}),
    publish=json.dumps({"cmd": "pub", "topic": TOPIC, "data": "{payload}"}),
)


@dataclass(frozen=True, slots=True)
class FanoutOptions:
    """What the command line says. Every number of subscribers is measured with every burst."""

    subscribers: Sequence[int] = (1000, 9000)
    bursts: Sequence[int] = (1, 10)  # publications in one write
    size: int = SIZE  # bytes of payload, from `LEAST_SIZE` to `MOST_SIZE`
    rounds: int = 5
    seconds: float = 3.0  # measured in each round
    peers: Sequence[str] = (turns.REFERENCE,)


def per_cpu_second(result: LoadResult) -> float:
    """Deliveries for each CPU-second of the server."""
    return result.run.per_cpu_second(result.run.messages)


def per_second(result: LoadResult) -> float:
    """Deliveries for each second of the clock."""
    return result.run.messages / result.run.seconds


def load_options(name: str, size: int = SIZE) -> dict[str, float | str | bool]:
    """How the load engine subscribes and publishes on the server called so.

    :param size: bytes of payload, of which some servers are told in front of it (`{size}`).
    :raises KeyError: there is no such peer, or it does not spread messages.
    """
    how = FASTWS if name == turns.OURS else roster.read(name).fanout
    if how is None:
        raise KeyError(f"the peer {name!r} does not spread messages")
    return {
        "path": how.path,
        "publish_path": how.publish_path,
        "subscribe": how.subscribe,
        "publish": how.publish.replace("{size}", str(size)),
        "size": size,
        "text": not how.binary,
    }


def run(options: FanoutOptions, progress: ProgressBar) -> tuple[list[Table], dict[str, Any]]:
    """Measure; return a table for each number of subscribers and burst, and what belongs into the JSON file."""
    able = [name for name in options.peers if roster.read(name).fanout is not None]
    tables, content = [], {}
    for subscribers in options.subscribers:
        for burst in options.bursts:
            table, results = _row_of_servers(options, able, subscribers, burst, progress)
            tables.append(table)
            content[f"{subscribers}x{burst}"] = {"subscribers": subscribers, "burst": burst, **results}
    return tables, content


def _row_of_servers(
    options: FanoutOptions, peers: Sequence[str], subscribers: int, burst: int, progress: ProgressBar
) -> tuple[Table, dict[str, Any]]:
    load = {
        "connections": subscribers,
        "processes": processes_for(subscribers),
        "burst": burst,
        "seconds": options.seconds,
    }
    failures: dict[str, str] = {}
    results = turns.in_turns(
        "fanout",
        peers,
        options.rounds,
        progress,
        lambda name: {**load_options(name, options.size), **load},
        failures,
        bystander=True,
        app=APP,
    )
    compared = Comparison.of(results, peers, failures, per_cpu_second, per_second)
    rows = [_row(name, compared) for name in results]
    how = "one at a time" if burst == 1 else f"bursts of {burst}"
    title = (
        f"fanout: {subscribers} subscribers, {options.size} B, {how}, {options.rounds} rounds of {options.seconds:g} s"
    )
    notes = [
        (
            "last: from the sending of a burst until the last subscriber has all of it; then the next goes out; "
            "-: no burst came to its end"
        ),
        "bystander: a quiet client's echo on the same server meanwhile, counted from when a message was due",
        *compared.notes(lambda result: result.run),
    ]
    return Table(title, COLUMNS, rows, notes), compared.as_json()


def _row(name: str, compared: Comparison) -> list[str]:
    results = compared.results[name]
    runs = [result.run for result in results]
    heard = [span for span in runs if span.latency.count]
    return [
        name,
        f"{median_of(runs, lambda span: span.messages / span.seconds):,.0f}",
        f"{median_of(runs, lambda span: span.per_cpu_second(span.messages)):,.0f}",
        f"{compared.by_cpu[name]:.3f}",
        f"{compared.by_clock[name]:.3f}",
        f"{compared.ours[name]:.2f}",
        f"{median_of(heard, lambda span: span.latency.p50 / 1000):,.1f}" if heard else "-",
        f"{median_of(heard, lambda span: span.latency.p99 / 1000):,.1f}" if heard else "-",
        turns.bystander_ms(results),
        *cpu_cells(runs),
    ]
