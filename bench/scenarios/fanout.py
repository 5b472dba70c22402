"""Fan-out: one publisher, many subscribers of one topic; a burst goes out when everyone has heard the one before."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import roster
from bench.load import LoadResult, processes_for
from bench.report import ProgressBar, Spread, Table
from bench.scenarios import turns

APP = "bench.apps.fanout:app"
TOPIC = "bench"
COLUMNS = (
    "server", "deliveries/s", "deliveries/CPU-s", "ratio per CPU-s", "ratio in time", "last p50 ms", "last p99 ms",
    "bystander p99 ms", "server CPU", "client CPU",
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
    size: int = 128  # bytes of payload
    rounds: int = 5
    seconds: float = 3.0  # measured in each round
    peers: Sequence[str] = (turns.REFERENCE,)


def per_cpu_second(result: LoadResult) -> float:
    """Deliveries for each CPU-second of the server."""
    return result.run.messages / result.run.server_cpu_s


def per_second(result: LoadResult) -> float:
    """Deliveries for each second of the clock."""
    return result.run.messages / result.run.seconds


def load_options(name: str) -> dict[str, float | str | bool]:
    """How the load engine subscribes and publishes on the server called so.

    :raises KeyError: there is no such peer, or it does not spread messages.
    """
    how = FASTWS if name == turns.OURS else roster.read(name).fanout
    if how is None:
        raise KeyError(f"the peer {name!r} does not spread messages")
    return {
        "path": how.path,
        "publish_path": how.publish_path,
        "subscribe": how.subscribe,
        "publish": how.publish,
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
        "size": options.size,
        "seconds": options.seconds,
    }
    failures: dict[str, str] = {}
    results = turns.in_turns(
        "fanout",
        peers,
        options.rounds,
        progress,
        lambda name: {**load_options(name), **load},
        failures,
        bystander=True,
        app=APP,
    )
    reference = next((name for name in peers if name in results), turns.OURS)
    by_cpu = turns.ratios(results, per_cpu_second, reference)
    by_clock = turns.ratios(results, per_second, reference)
    rows = [_row(name, own, by_cpu[name], by_clock[name]) for name, own in results.items()]
    how = "one at a time" if burst == 1 else f"bursts of {burst}"
    title = (
        f"fanout: {subscribers} subscribers, {options.size} B, {how}, {options.rounds} rounds of {options.seconds:g} s"
    )
    notes = [
        "last: from the sending of a burst until the last subscriber has all of it; then the next goes out",
        "bystander: a quiet client's echo on the same server meanwhile, counted from when a message was due",
        f"ratios to {reference}, round by round: median (lowest to highest); other figures are medians",
    ]
    notes += [f"{name} failed: {reason.splitlines()[0]}" for name, reason in failures.items()]
    notes += turns.idle_notes(results, lambda result: result.run)
    content = turns.as_json(results, per_cpu_second=by_cpu, per_second=by_clock)
    return Table(title, COLUMNS, rows, notes), {**content, "failures": failures}


def _row(name: str, results: Sequence[LoadResult], by_cpu: Spread, by_clock: Spread) -> list[str]:
    runs = [result.run for result in results]
    return [
        name,
        f"{Spread.of([per_second(result) for result in results]).median:,.0f}",
        f"{Spread.of([per_cpu_second(result) for result in results]).median:,.0f}",
        f"{by_cpu:.3f}",
        f"{by_clock:.3f}",
        f"{Spread.of([span.latency.p50 / 1000 for span in runs]).median:,.1f}",
        f"{Spread.of([span.latency.p99 / 1000 for span in runs]).median:,.1f}",
        turns.bystander_ms(results),
        f"{Spread.of([span.server_cpu_s / span.seconds for span in runs]).median:.0%}",
        f"{Spread.of([span.client_cpu_s / span.seconds for span in runs]).median:.0%}",
    ]
