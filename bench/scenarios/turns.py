"""Servers measured in turns: every round visits each of them, so that a busy moment of the machine hits them alike."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from bench import measure, servers
from bench.load import Load, LoadResult, Span
from bench.report import ProgressBar, Spread

OURS = "fastws"
REFERENCE = "c_epoll"
SATURATED = 0.9  # share of the time: below it a server waited for its client, or for the machine


def in_turns(
    mode: str,
    peers: Sequence[str],
    rounds: int,
    progress: ProgressBar,
    options: Mapping[str, float | str | bool],
) -> dict[str, list[LoadResult]]:
    """Run `rounds` of the load against each server; the order turns around from round to round.

    :param options: of the load engine.
    :raises bench.load.LoadError: something failed in a run.
    :raises bench.servers.ServerError: a server does not start.
    """
    server_cpus, client_cpus = measure.server_and_client_cpus()
    results: dict[str, list[LoadResult]] = {name: [] for name in [OURS, *peers]}
    progress.start(rounds * len(results))
    with ExitStack() as stack:
        running = {name: stack.enter_context(server) for name, server in _servers(peers, server_cpus).items()}
        for number in range(rounds):
            names = list(results) if number % 2 == 0 else list(reversed(results))
            for name in names:
                progress.say(f"round {number + 1} of {rounds}: {name}")
                results[name].append(_once(mode, running[name], client_cpus, options))
                progress.step()
    return results


def _servers(peers: Sequence[str], cpus: set[int]) -> dict[str, servers.Server]:
    return {OURS: servers.fastws(cpus=cpus)} | {name: servers.peer(name, cpus=cpus) for name in peers}


def _once(mode: str, server: servers.Server, cpus: set[int], options: Mapping[str, float | str | bool]) -> LoadResult:
    with Load(mode, server.port, server_pids=server.pids, cpus=cpus, options={"path": server.path, **options}) as load:
        return load.finish().check()


def ratios(results: dict[str, list[LoadResult]], figure: Callable[[LoadResult], float], to: str) -> dict[str, Spread]:
    """Each server's figure divided by that of the server `to`, round by round."""
    return {
        name: Spread.of([figure(a) / figure(b) for a, b in zip(own, results[to], strict=True)])
        for name, own in results.items()
    }


def idle_notes(results: Mapping[str, Sequence[LoadResult]], span: Callable[[LoadResult], Span]) -> list[str]:
    """A line for each server that was not busy all the time: there only the figures per CPU-second tell something."""
    notes = []
    for name, own in results.items():
        busy = Spread.of([span(one).server_cpu_s / span(one).seconds for one in own]).median
        if busy < SATURATED:
            notes.append(
                f"{name} was busy for {busy:.0%} of the time: read the figures per CPU-second, not those in time"
            )
    return notes


def as_json(results: dict[str, list[LoadResult]], **ratios_by_name: dict[str, Spread]) -> dict[str, Any]:
    """All rounds and the ratios, for the JSON file."""

    return {
        "rounds": {name: [dataclasses.asdict(result) for result in own] for name, own in results.items()},
        "ratios": {
            label: {name: dataclasses.asdict(spread) for name, spread in table.items()}
            for label, table in ratios_by_name.items()
        },
    }
