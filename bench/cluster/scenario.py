"""Cluster: what is published at node A is heard at node B.

Two ways. From end to end: a client publishes at A, a subscriber hears it at B; one at a time for how long that takes,
and bursts for how much goes through. And as much as B can hear: publications as they would come from many nodes are put
into Redis as fast as B takes them, one by one or together as a node sends what it has to publish in one turn; beside it
redis-py's client, which does nothing but count, with channels of its own.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from bench import measure, servers
from bench.cluster.flood import Heard, flood, node_commands, plain_commands
from bench.cluster.hearing import Node, RedisPy
from bench.load import Load, LoadResult
from bench.report import ProgressBar, Spread, Table
from fastws.server.engines.binaries import Binary, find_binary
from fastws.server.engines.embedded import EmbeddedRedis

APP = "bench.apps.fanout:app"
PREFIX = "bench"
TO_REACH = 300_000.0  # messages a second of a worker
END_TO_END = ("way", "msg/s", "msg/CPU-s of B", "p50 ms", "p99 ms", "CPU of B", "client CPU")
FLOODED = ("who hears", "msg/s", "msg/CPU-s", "fastws / it", "its CPU", "Redis CPU")
PEER = "redis-py"


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What the command line says."""

    size: int = 128  # bytes of payload
    topics: int = 10
    bursts: Sequence[int] = (1, 100)  # publications in one write, of which the last is heard before the next is sent
    batches: Sequence[int] = (1, 16)  # publications that come together
    rounds: int = 5
    seconds: float = 2.0  # measured in each round


def run(options: ClusterOptions, progress: ProgressBar) -> tuple[list[Table], dict[str, Any]]:
    """Measure; return the tables and what belongs into the JSON file.

    :raises bench.load.LoadError: something was not heard.
    :raises bench.servers.ServerError: a node does not start.
    :raises fastws.errors.StartError: there is no Redis to start.
    """
    cpus, others = measure.server_and_client_cpus()
    progress.start(options.rounds * (len(options.bursts) + len(options.batches) + 1))
    binary = find_binary()
    with ExitStack() as stack:
        with measure.on_cpus(others):
            redis = stack.enter_context(EmbeddedRedis(binary.path))
        ways = _end_to_end(options, redis, progress, cpus, others)
        heard = _flooded(options, redis, progress, cpus, others)
    tables = [_table_of_ways(options, ways, binary), _table_of_floods(options, heard)]
    content: dict[str, Any] = {
        "redis": binary._asdict(),
        "end_to_end": {name: [asdict(result) for result in own] for name, own in ways.items()},
        "flooded": {name: [asdict(one) for one in own] for name, own in heard.items()},
    }
    return tables, content


def _node(redis: EmbeddedRedis, name: str, cpus: set[int]) -> servers.Server:
    options = ("--redis", redis.url, "--prefix", PREFIX, "--node-name", name, "--ping-interval", "0")
    return servers.fastws(APP, *options, cpus=cpus)


def _end_to_end(
    options: ClusterOptions, redis: EmbeddedRedis, progress: ProgressBar, cpus: set[int], others: set[int]
) -> dict[str, list[LoadResult]]:
    results: dict[str, list[LoadResult]] = {_way(burst): [] for burst in options.bursts}
    with _node(redis, "a", others) as a, _node(redis, "b", cpus) as b:
        load: dict[str, float | str | bool] = {
            "path": "/ws",
            "publish_port": a.port,
            "subscribe": json.dumps({"id": 1, "cmd": "sub", "topic": "burst"}),
            "publish": json.dumps({"cmd": "pub", "topic": "burst", "data": "{payload}"}),
            "size": options.size,
            "text": True,
            "connections": 1,
            "seconds": options.seconds,
        }
        for number in range(options.rounds):
            for burst in options.bursts:
                progress.say(f"round {number + 1} of {options.rounds}: from A to B, {_way(burst)}")
                own = {**load, "burst": burst}
                with Load("fanout", b.port, server_pids=b.pids, cpus=others, options=own) as running:
                    results[_way(burst)].append(running.finish().check())
                progress.step()
    return results


def _flooded(
    options: ClusterOptions, redis: EmbeddedRedis, progress: ProgressBar, cpus: set[int], others: set[int]
) -> dict[str, list[Heard]]:
    topics = [f"topic{number:03}" for number in range(options.topics)]
    path = redis.url.removeprefix("unix://")
    results: dict[str, list[Heard]] = {name: [] for name in [*map(_crowd, options.batches), PEER]}
    for number in range(options.rounds):
        for batch in options.batches:
            progress.say(f"round {number + 1} of {options.rounds}: {_crowd(batch)}")
            commands = node_commands(PREFIX, topics, options.size, batch)
            with _node(redis, "b", cpus) as server, measure.on_cpus(others), Node(server, topics) as node:
                results[_crowd(batch)].append(flood(path, redis.pid, *commands, node, options.seconds))
            progress.step()
        progress.say(f"round {number + 1} of {options.rounds}: {PEER}")
        with measure.on_cpus(others), RedisPy(path, topics, cpus) as peer:
            commands = plain_commands(topics, options.size)
            results[PEER].append(flood(path, redis.pid, *commands, peer, options.seconds))
        progress.step()
    return results


def _way(burst: int) -> str:
    return "one at a time" if burst == 1 else f"bursts of {burst}"


def _crowd(batch: int) -> str:
    return "fastws" if batch == 1 else f"fastws, {batch} together"


def _table_of_ways(options: ClusterOptions, ways: dict[str, list[LoadResult]], binary: Binary) -> Table:
    def median(values: Sequence[float]) -> float:
        return Spread.of(values).median

    rows = []
    for name, results in ways.items():
        spans = [result.run for result in results]
        rows.append(
            [
                name,
                f"{median([span.messages / span.seconds for span in spans]):,.0f}",
                f"{median([span.per_cpu_second(span.messages) for span in spans]):,.0f}",
                f"{median([span.latency.p50 / 1000 for span in spans]):,.2f}",
                f"{median([span.latency.p99 / 1000 for span in spans]):,.2f}",
                f"{median([span.server_cpu_s / span.seconds for span in spans]):.0%}",
                f"{median([span.client_cpu_s / span.seconds for span in spans]):.0%}",
            ]
        )
    title = f"cluster: from a client of A to one of B, {options.size} B, {_rounds(options)}"
    notes = [
        "p50, p99: from the sending of a burst until all of it was heard",
        "of a burst each publication is answered before the next one begins: all of them are one client's",
        f"A, the client and {binary.path} {binary.version}, over its Unix socket and without persistence, share a CPU",
    ]
    return Table(title, END_TO_END, rows, notes)


def _table_of_floods(options: ClusterOptions, heard: dict[str, list[Heard]]) -> Table:
    rows = []
    for name, own in heard.items():
        pairs = zip(heard[_crowd(options.batches[0])], own, strict=True)
        ours = [first.per_cpu_second / one.per_cpu_second for first, one in pairs if one.per_cpu_second]
        rows.append(
            [
                name,
                f"{Spread.of([one.per_second for one in own]).median:,.0f}",
                f"{Spread.of([one.per_cpu_second for one in own]).median:,.0f}",
                f"{Spread.of(ours or [0.0]).median:.2f}",
                f"{Spread.of([one.cpu_s / one.seconds for one in own]).median:.0%}",
                f"{Spread.of([one.redis_cpu_s / one.seconds for one in own]).median:.0%}",
            ]
        )
    title = f"cluster: heard by one process, {options.topics} topics, {options.size} B, {_rounds(options)}"
    notes = [
        f"to reach: {TO_REACH:,.0f} a second of a worker; each message is also delivered to a client",
        "together: as a node sends what it publishes to a topic in one turn of its loop",
        "whose CPU is below 100 % waited for Redis: read its figure per CPU-second",
    ]
    return Table(title, FLOODED, rows, notes)


def _rounds(options: ClusterOptions) -> str:
    return f"{options.rounds} rounds of {options.seconds:g} s"
