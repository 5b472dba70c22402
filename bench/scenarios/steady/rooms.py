"""Rooms: users in rooms of ten, whose members speak in turns on a fixed schedule, and the highest rate a server keeps.

A rate is kept when the p99 of all deliveries, each counted from when its publication was due, stays within a bound, the
same for every server. It is looked for by doubling and halving, then by halving what is left between a rate that is
kept and one that is not. A window that is late is tried again: what the machine does to one it does not do to each. One
in which server or client were ready and had no CPU for a time says nothing against the server, and is tried more often.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from bench import measure, roster, servers
from bench.build import BuildError
from bench.load import Load, LoadError, LoadResult, processes_for
from bench.report import ProgressBar, Table
from bench.scenarios import turns
from bench.scenarios.comparison import Comparison, cpu_cells, median_of

APP = "bench.apps.fanout:app"
SIZE = 128  # bytes of payload
COLUMNS = (
    "server", "deliveries/s", "deliveries/CPU-s", "ratio per CPU-s", "ratio in time", "fastws / it", "p50 ms", "p99 ms",
    "server CPU", "client CPU",
)  # fmt: skip
FASTWS = roster.Rooms(
    path="/ws",
    subscribe=json.dumps({"id": 1, "cmd": "sub", "topic": "room{room}"}),
    publish=json.dumps({"cmd": "pub", "topic": "room{room}", "data": "{payload}"}),
)
FIRST_RATE = 500.0  # publications a second of all rooms
LEAST_RATE, MOST_RATE = 5.0, 1e6
WARMUP_S = 0.3
WINDOWS = 3  # for a rate before it counts as not kept
MOST_WINDOWS = 6  # of those in which somebody had no CPU
UNDISTURBED = 0.02  # share of the time in which server or client may wait for a CPU
MOST_FAILURES = 3  # of a server whose connections did not survive a rate, in a round
TAKEN_STEPS = 12  # windows of a search, about


@dataclass(frozen=True, slots=True)
class RoomsOptions:
    """What the command line says."""

    users: int = 10000
    room_size: int = 10
    p99_ms: float = 20.0  # the bound
    rounds: int = 3
    seconds: float = 1.0  # of each window
    refinements: int = 4  # the rate found is right within 2 ** (1 / 2 ** refinements)
    peers: Sequence[str] = (turns.REFERENCE,)

    @property
    def rooms(self) -> int:
        """How many there are."""
        return max(1, self.users // self.room_size)


@dataclass(frozen=True, slots=True)
class Step:
    """A rate that was tried."""

    rate: float
    result: LoadResult | None  # None: not everybody was served
    p99_ms: float

    @property
    def kept(self) -> bool:
        """Whether it was served within the bound."""
        return self.result is not None and self.result.run.latency.count > 0 and self.late_ms <= self.p99_ms

    @property
    def late_ms(self) -> float:
        """The p99 of it."""
        return self.result.run.latency.p99 / 1000 if self.result is not None else float("inf")


def highest(attempt: Callable[[float], Step], start: float, refinements: int) -> Step:
    """Find the highest rate that is kept.

    :param attempt: tries a rate.
    :param start: tried first.
    :param refinements: how often what is left between kept and not kept is halved.
    :raises bench.load.LoadError: not even the lowest rate is kept.
    """
    best: Step | None = None
    too_high: float | None = None
    rate = start
    while best is None or too_high is None:
        step = attempt(rate)
        if step.kept:
            best, rate = step, rate * 2
            if rate > MOST_RATE:
                return best
        else:
            too_high, rate = rate, rate / 2
            if rate < LEAST_RATE:
                raise LoadError(f"p99 is {step.late_ms:,.0f} ms at {too_high:g} publications a second")
    for _ in range(refinements):
        step = attempt((best.rate * too_high) ** 0.5)
        if step.kept:
            best = step
        else:
            too_high = step.rate
    return best


class Users:
    """The users of all rooms on one server, connected when the block is entered; again if they were thrown out."""

    def __init__(self, name: str, server: servers.Server, cpus: set[int], options: RoomsOptions) -> None:
        self._server = server
        self._cpus = cpus
        self._options = options
        self._load_options = load_options(name, options)
        self._failures = 0

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *error: object) -> None:
        self._load.__exit__(*error)

    def _connect(self) -> None:
        self._load = Load(
            "rooms", self._server.port, server_pids=self._server.pids, cpus=self._cpus, options=self._load_options
        )
        try:
            self._load.wait_connected()
        except LoadError:
            self._load.__exit__()
            raise

    def attempt(self, rate: float) -> Step:
        """Try a rate, again where it is not kept.

        :raises LoadError: the server throws users out again and again.
        """
        step = Step(rate, None, self._options.p99_ms)
        fair = 0
        for _ in range(MOST_WINDOWS):
            try:
                result, waited = self._window(rate)
            except LoadError:
                self._failures += 1
                if self._failures > MOST_FAILURES:
                    raise
                self._load.__exit__()
                self._connect()
                continue
            step = Step(rate, result, self._options.p99_ms)
            fair += waited <= UNDISTURBED
            if step.kept or fair == WINDOWS:
                break
        return step

    def _window(self, rate: float) -> tuple[LoadResult, float]:
        """What was heard, and the larger share of the time in which the server or the client waited for a CPU."""
        both = (self._server.pids, measure.process_tree(self._load.pid))
        before, begun = [measure.waited_s(pids) for pids in both], time.monotonic()
        result = self._load.step(rate, WARMUP_S, self._options.seconds)
        spent = time.monotonic() - begun
        return result, max(measure.waited_s(pids) - was for pids, was in zip(both, before, strict=True)) / spent

    def leave(self) -> None:
        """Say goodbye.

        :raises LoadError: somebody has not heard what was said, or something twice.
        """
        self._load.release().check()


def load_options(name: str, options: RoomsOptions) -> dict[str, float | str | bool]:
    """How the load engine's users enter their rooms and speak on the server called so.

    :raises KeyError: there is no such peer, or it has no rooms.
    """
    how = FASTWS if name == turns.OURS else roster.read(name).rooms
    if how is None:
        raise KeyError(f"the peer {name!r} has no rooms")
    connections = options.rooms * options.room_size
    return {
        "path": how.path,
        "subscribe": how.subscribe,
        "publish": how.publish.replace("{size}", str(SIZE)),
        "size": SIZE,
        "text": not how.binary,
        "connections": connections,
        "rooms": options.rooms,
        "processes": processes_for(connections),
    }


def able(peers: Sequence[str]) -> list[str]:
    """Those of the peers that have rooms."""
    return [name for name in peers if roster.read(name).rooms is not None]


def run(options: RoomsOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure; return the table and what belongs into the JSON file.

    :raises bench.load.LoadError: fastws did not serve its users. A peer that does not is named in the notes.
    """
    peers = able(options.peers)
    failures: dict[str, str] = {}
    found = _search(options, [turns.OURS, *peers], progress, failures)
    results = {name: [step.result for step in own if step.result is not None] for name, own in found.items()}
    compared = Comparison.of(results, peers, failures, per_cpu_second, per_second)
    title = (
        f"rooms: {options.rooms * options.room_size} users, {options.rooms} rooms, {SIZE} B, the highest rate with "
        f"p99 <= {options.p99_ms:g} ms, {options.rounds} rounds"
    )
    notes = [
        "p50, p99: of all deliveries, counted from when a publication was due, at the highest rate kept",
        f"late windows are tried {WINDOWS} times; up to {MOST_WINDOWS} if server or client had to wait for a CPU",
        f"found by halving, within {2 ** (0.5**options.refinements) - 1:.0%}; windows of {options.seconds:g} s",
        *compared.notes(lambda result: result.run),
    ]
    table = Table(title, COLUMNS, [_row(name, compared) for name in results], notes)
    rates = {name: [step.rate for step in own] for name, own in found.items()}
    return table, {**compared.as_json(), "rates": rates}


def _search(
    options: RoomsOptions, names: Sequence[str], progress: ProgressBar, failures: dict[str, str]
) -> dict[str, list[Step]]:
    server_cpus, client_cpus = measure.server_and_client_cpus()
    found: dict[str, list[Step]] = {name: [] for name in names}
    progress.start(len(names) * options.rounds)
    with ExitStack() as stack:
        running: dict[str, servers.Server] = {}
        for number in range(options.rounds):
            for name in list(found) if number % 2 == 0 else list(reversed(found)):
                progress.say(f"round {number + 1} of {options.rounds}: {name}")
                try:
                    if name not in running:
                        running[name] = stack.enter_context(_server(name, server_cpus))
                    with Users(name, running[name], client_cpus, options) as users:
                        start = found[name][-1].rate if found[name] else FIRST_RATE
                        found[name].append(highest(users.attempt, start, options.refinements))
                        users.leave()
                except (BuildError, LoadError, roster.PeerError, servers.ServerError) as error:
                    if name == turns.OURS:
                        raise
                    failures[name] = str(error)
                    del found[name]
                progress.step()
    return found


def _server(name: str, cpus: set[int]) -> servers.Server:
    return servers.fastws(APP, cpus=cpus) if name == turns.OURS else servers.peer(name, cpus=cpus)


def per_cpu_second(result: LoadResult) -> float:
    """Deliveries for each CPU-second of the server."""
    return result.run.per_cpu_second(result.run.messages)


def per_second(result: LoadResult) -> float:
    """Deliveries for each second of the clock."""
    return result.run.messages / result.run.seconds


def _row(name: str, compared: Comparison) -> list[str]:
    runs = [result.run for result in compared.results[name]]
    return [
        name,
        f"{median_of(runs, lambda span: span.messages / span.seconds):,.0f}",
        f"{median_of(runs, lambda span: span.per_cpu_second(span.messages)):,.0f}",
        f"{compared.by_cpu[name]:.3f}",
        f"{compared.by_clock[name]:.3f}",
        f"{compared.ours[name]:.2f}",
        f"{median_of(runs, lambda span: span.latency.p50 / 1000):,.1f}",
        f"{median_of(runs, lambda span: span.latency.p99 / 1000):,.1f}",
        *cpu_cells(runs),
    ]
