"""Servers measured in turns: every round visits each of them, so that a busy moment of the machine hits them alike."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench import measure, roster, servers
from bench.build import BuildError
from bench.load import Load, LoadError, LoadResult, Span
from bench.load import bystander as bystander_of
from bench.report import ProgressBar, Spread

Options = Mapping[str, float | str | bool]

OURS = "fastws"
REFERENCE = "c_epoll"
DEFAULT_SECONDS = 3.0  # of a measured window, when the options name none
BYSTANDER_LEAVES_S = 0.25  # before the end of the window: it takes a moment to come and to go
SATURATED = 0.9  # share of the time: below it a server waited for its client, or for the machine


@dataclass(frozen=True, slots=True)
class Contestant:
    """What has its turn in every round: a server, which is started once, and the load it gets."""

    server: Callable[[set[int]], servers.Server]  # on these CPUs
    options: Options  # of the load engine; `path` is the server's own unless it is among them


def in_turns(
    mode: str,
    peers: Sequence[str],
    rounds: int,
    progress: ProgressBar,
    options: Options | Callable[[str], Options],
    failures: dict[str, str] | None = None,
    *,
    bystander: bool = False,
    app: str = "bench.apps.echo:app",
) -> dict[str, list[LoadResult]]:
    """Run `rounds` of the load against fastws and each peer; the order turns around from round to round.

    :param options: of the load engine: the same for every server, or a function from a server's name to its own.
    :param failures: where a peer that fails is named with the reason; it has no results then, and the others go on.
        None: its failure is raised. A failure of fastws always is.
    :param bystander: whether a quiet client's echo is timed meanwhile, where the server has an echo.
    :param app: that fastws runs.
    :raises bench.load.LoadError: something failed in a run.
    :raises bench.build.BuildError: a server does not build.
    :raises bench.servers.ServerError: a server does not start.
    """

    def contestant(name: str) -> Contestant:
        own = options(name) if callable(options) else options
        if name == OURS:
            return Contestant(lambda cpus: servers.fastws(app, cpus=cpus), own)
        return Contestant(lambda cpus: servers.peer(name, cpus=cpus), own)

    contestants = {name: contestant(name) for name in [OURS, *peers]}
    return rounds_of(mode, contestants, rounds, progress, failures, bystander=bystander)


def rounds_of(
    mode: str,
    contestants: Mapping[str, Contestant],
    rounds: int,
    progress: ProgressBar,
    failures: dict[str, str] | None = None,
    *,
    bystander: bool = False,
) -> dict[str, list[LoadResult]]:
    """The same for contestants of any kind, by name; parameters and errors are those of `in_turns`."""
    server_cpus, client_cpus = measure.server_and_client_cpus()
    results: dict[str, list[LoadResult]] = {name: [] for name in contestants}
    progress.start(rounds * len(results))
    with ExitStack() as stack:
        running: dict[str, servers.Server] = {}
        for name in list(results):
            with _its_failure_named(name, results, failures):
                running[name] = stack.enter_context(contestants[name].server(server_cpus))
        for number in range(rounds):
            for name in list(results) if number % 2 == 0 else list(reversed(results)):
                progress.say(f"round {number + 1} of {rounds}: {name}")
                with _its_failure_named(name, results, failures):
                    one = _once(mode, running[name], client_cpus, contestants[name].options, bystander)
                    results[name].append(one)
                progress.step()
    return results


@contextmanager
def _its_failure_named(
    name: str, results: dict[str, list[LoadResult]], failures: dict[str, str] | None
) -> Iterator[None]:
    try:
        yield
    except (BuildError, LoadError, roster.PeerError, servers.ServerError) as error:
        if name == OURS or failures is None:
            raise
        failures[name] = str(error)
        del results[name]


def _once(mode: str, server: servers.Server, cpus: set[int], options: Options, with_bystander: bool) -> LoadResult:
    options = {"path": server.path, **options}
    with Load(mode, server.port, server_pids=server.pids, cpus=cpus, options=options) as load:
        beside = None
        if with_bystander and server.echo and load.wait_measuring():
            seconds = max(float(options.get("seconds", DEFAULT_SECONDS)) - BYSTANDER_LEAVES_S, BYSTANDER_LEAVES_S)
            beside = bystander_of(server.port, server.path, seconds, cpus)
        return dataclasses.replace(load.finish().check(), bystander=beside)


def bystander_ms(results: Sequence[LoadResult]) -> str:
    """The median p99 of the bystanders, in milliseconds; "-" where there was none."""
    measured = [result.bystander.p99 / 1000 for result in results if result.bystander is not None]
    return f"{Spread.of(measured).median:,.1f}" if measured else "-"


def ratios(results: dict[str, list[LoadResult]], figure: Callable[[LoadResult], float], to: str) -> dict[str, Spread]:
    """Each server's figure divided by that of the server `to`, round by round.

    Rounds in which `to` did nothing are left out: a machine can be so busy. 0 where none is left.
    """
    limit = [figure(one) for one in results[to]]
    return {
        name: Spread.of([figure(one) / it for one, it in zip(own, limit, strict=True) if it] or [0.0])
        for name, own in results.items()
    }


def idle_notes(results: Mapping[str, Sequence[LoadResult]], span: Callable[[LoadResult], Span]) -> list[str]:
    """A line about the servers that were not busy all the time: only their figures per CPU-second tell something."""
    busy = {
        name: Spread.of([span(one).server_cpu_s / span(one).seconds for one in own]) for name, own in results.items()
    }
    idle = [f"{name} {share.median:.0%}" for name, share in busy.items() if share.median < SATURATED]
    if not idle:
        return []
    return [f"not busy all the time: {', '.join(idle)}; of these read the figures per CPU-second, not those in time"]


def as_json(results: dict[str, list[LoadResult]], **ratios_by_name: dict[str, Spread]) -> dict[str, Any]:
    """All rounds and the ratios, for the JSON file."""

    return {
        "rounds": {name: [dataclasses.asdict(result) for result in own] for name, own in results.items()},
        "ratios": {
            label: {name: dataclasses.asdict(spread) for name, spread in table.items()}
            for label, table in ratios_by_name.items()
        },
    }
