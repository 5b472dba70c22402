"""Servers measured in turns: every round visits each of them, so that a busy moment of the machine hits them alike."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from bench import measure, servers
from bench.build import BuildError
from bench.load import Load, LoadError, LoadResult, Span
from bench.report import ProgressBar, Spread

Options = Mapping[str, float | str | bool]

OURS = "fastws"
REFERENCE = "c_epoll"
SATURATED = 0.9  # share of the time: below it a server waited for its client, or for the machine


def in_turns(
    mode: str,
    peers: Sequence[str],
    rounds: int,
    progress: ProgressBar,
    options: Options | Callable[[str], Options],
    failures: dict[str, str] | None = None,
) -> dict[str, list[LoadResult]]:
    """Run `rounds` of the load against each server; the order turns around from round to round.

    :param options: of the load engine: the same for every server, or a function from a server's name to its own.
    :param failures: where a peer that fails is named with the reason; it has no results then, and the others go on.
        None: its failure is raised. A failure of fastws always is.
    :raises bench.load.LoadError: something failed in a run.
    :raises bench.build.BuildError: a server does not compile.
    :raises bench.servers.ServerError: a server does not start.
    """
    server_cpus, client_cpus = measure.server_and_client_cpus()
    results: dict[str, list[LoadResult]] = {name: [] for name in [OURS, *peers]}
    progress.start(rounds * len(results))
    with ExitStack() as stack:
        running: dict[str, servers.Server] = {}
        for name in list(results):
            with _its_failure_named(name, results, failures):
                running[name] = stack.enter_context(_server(name, server_cpus))
        for number in range(rounds):
            for name in list(results) if number % 2 == 0 else list(reversed(results)):
                progress.say(f"round {number + 1} of {rounds}: {name}")
                with _its_failure_named(name, results, failures):
                    own = options(name) if callable(options) else options
                    results[name].append(_once(mode, running[name], client_cpus, own))
                progress.step()
    return results


@contextmanager
def _its_failure_named(
    name: str, results: dict[str, list[LoadResult]], failures: dict[str, str] | None
) -> Iterator[None]:
    try:
        yield
    except (BuildError, LoadError, servers.ServerError) as error:
        if name == OURS or failures is None:
            raise
        failures[name] = str(error)
        del results[name]


def _server(name: str, cpus: set[int]) -> servers.Server:
    return servers.fastws(cpus=cpus) if name == OURS else servers.peer(name, cpus=cpus)


def _once(mode: str, server: servers.Server, cpus: set[int], options: Options) -> LoadResult:
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
