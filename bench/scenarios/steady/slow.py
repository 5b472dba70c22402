"""Slow: some subscribers of a topic stop reading, and the others shall not notice; nor shall the server's memory, much.

All subscribers of one topic speak in turns on a fixed schedule and hear everything. After a window in which everybody
reads, some stop; a second window says what the others then wait, and the server's memory is sampled meanwhile. Those
who stop have little room in their sockets, as over a slow network, so that the server has to do something soon.
"""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from bench import measure, roster, servers
from bench.apps.slow import POLICIES
from bench.build import BuildError
from bench.load import Latency, Load, LoadError
from bench.report import ProgressBar, Spread, Table
from bench.scenarios import turns

APP = "bench.apps.slow:app"
SIZE = 1024  # bytes of payload
COLUMNS = (
    "server", "p99 ms without", "p99 ms with", "with / without", "holds", "memory MB", "B/stopped reader", "closed",
)  # fmt: skip
MOST_RATIO, ENOUGH_MS = 1.2, 5.0  # the p99 with stopped readers: so much of that without, or no more than this
WARMUP_S = 0.5
SAMPLE_EVERY_S = 0.05
CLOSED_WITHIN_S = 8.0  # the close frame that nobody reads has five seconds
FASTWS = {
    f"{turns.OURS} {policy}": roster.Rooms(
        path="/ws",
        subscribe=json.dumps({"id": 1, "cmd": "sub", "topic": f"{policy}:bench"}),
        publish=json.dumps({"cmd": "pub", "topic": f"{policy}:bench", "data": "{payload}"}),
    )
    for policy in POLICIES
}


@dataclass(frozen=True, slots=True)
class SlowOptions:
    """What the command line says."""

    subscribers: int = 1000
    stopped: int = 100  # of them
    rate: float = 60.0  # publications a second
    max_outbox: int = 65536  # bytes, of fastws; peers keep their defaults
    rounds: int = 3
    seconds: float = 4.0  # of each of the two windows
    peers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Slowed:
    """One round of a server."""

    without: Latency  # of all deliveries
    beside: Latency  # of deliveries to those who read, while the others did not
    memory: int  # bytes of PSS by which the server grew at most after some stopped
    closed: int  # connections that the server ended

    @property
    def ratio(self) -> float:
        """By how much the p99 grew."""
        return self.beside.p99 / self.without.p99 if self.without.p99 else 0.0

    @property
    def holds(self) -> bool:
        """Whether those who read noticed too little to complain."""
        return self.ratio <= MOST_RATIO or self.beside.p99 / 1000 <= ENOUGH_MS


class PeakMemory:
    """The largest PSS of a server while the block lasts, beyond what it was before."""

    def __init__(self, server: servers.Server) -> None:
        self.grown = 0
        self._pids = server.pids
        self._before = measure.pss_bytes(self._pids)
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sampler.join()

    def _sample(self) -> None:
        while True:
            over = self._over.wait(SAMPLE_EVERY_S)
            self.grown = max(self.grown, measure.pss_bytes(self._pids) - self._before)
            if over:
                return


def run(options: SlowOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure each server, started anew for each round; return the table and what belongs into the JSON file.

    :raises bench.load.LoadError: those who read were not served by fastws. A peer that fails is named in the notes.
    """
    names = [*FASTWS, *(name for name in options.peers if roster.read(name).rooms is not None)]
    found: dict[str, list[Slowed]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    progress.start(options.rounds * len(names))
    for number in range(options.rounds):
        for name in list(found):
            progress.say(f"round {number + 1} of {options.rounds}: {name}")
            try:
                found[name].append(_once(name, options))
            except (BuildError, LoadError, roster.PeerError, servers.ServerError) as error:
                if name in FASTWS:
                    raise
                failures[name] = str(error)
                del found[name]
            progress.step()
    title = (
        f"slow: {options.subscribers} subscribers of a topic, {options.stopped} stop reading, {options.rate:g} "
        f"publications/s of {SIZE} B, {options.rounds} rounds"
    )
    after_s = options.seconds + WARMUP_S
    notes = [
        "p99: of deliveries to those who read, counted from when a publication was due; with: while the others do not",
        f"holds: with / without <= {MOST_RATIO:g}, or p99 with <= {ENOUGH_MS:g} ms",
        f"memory: what the server grew by at most in the {after_s:g} s after they stopped",
        f"meant for each of them meanwhile: {options.rate * SIZE * after_s / 1e3:,.0f} kB",
        f"the outbox of fastws holds {options.max_outbox:,} B; peers have their defaults",
        *(f"{name} failed: {' '.join(reason.split())[-200:]}" for name, reason in failures.items()),
    ]
    table = Table(title, COLUMNS, [_row(name, own, options) for name, own in found.items()], notes)
    return table, {"slowed": {name: _as_json(own, options) for name, own in found.items()}, "failures": failures}


def load_options(name: str, options: SlowOptions) -> dict[str, float | str | bool]:
    """How the load engine's subscribers hear and speak on the server called so.

    :raises KeyError: there is no such peer, or it has no rooms.
    """
    how = FASTWS[name] if name in FASTWS else roster.read(name).rooms
    if how is None:
        raise KeyError(f"the peer {name!r} has no rooms")
    return {
        "path": how.path,
        "subscribe": how.subscribe,
        "publish": how.publish.replace("{size}", str(SIZE)),
        "size": SIZE,
        "text": not how.binary,
        "connections": options.subscribers,
        "rooms": 1,
        "stalled": options.stopped,
    }


def _once(name: str, options: SlowOptions) -> Slowed:
    server_cpus, client_cpus = measure.server_and_client_cpus()
    outbox = ("--max-outbox", str(options.max_outbox))
    one = servers.fastws(APP, *outbox, cpus=server_cpus) if name in FASTWS else servers.peer(name, cpus=server_cpus)
    with one as server, Load("rooms", server.port, cpus=client_cpus, options=load_options(name, options)) as load:
        load.wait_connected()
        files = measure.open_files(server.pids)  # some may be found slow, and be closed, before they stop altogether
        without = load.step(options.rate, WARMUP_S, options.seconds).run.latency
        with PeakMemory(server) as memory:
            load.stall()
            beside = load.step(options.rate, WARMUP_S, options.seconds).run.latency
        closed = _closed(server, files, options.stopped, wait=name == f"{turns.OURS} disconnect")
        load.release().check()
    return Slowed(without, beside, memory.grown, closed)


def _closed(server: servers.Server, files_before: int, stopped: int, *, wait: bool) -> int:
    """How many descriptors the server has let go; `wait`: until it is as many as have stopped, for some seconds."""
    end = time.monotonic() + (CLOSED_WITHIN_S if wait else 0.0)
    while True:
        closed = files_before - measure.open_files(server.pids)
        if closed >= stopped or time.monotonic() >= end:
            return max(0, closed)
        time.sleep(SAMPLE_EVERY_S)


def _row(name: str, rounds: Sequence[Slowed], options: SlowOptions) -> list[str]:
    memory = Spread.of([one.memory for one in rounds])
    return [
        name,
        f"{Spread.of([one.without.p99 / 1000 for one in rounds]):.1f}",
        f"{Spread.of([one.beside.p99 / 1000 for one in rounds]):.1f}",
        f"{Spread.of([one.ratio for one in rounds]):.2f}",
        "yes" if holds(rounds) else "NO",
        f"{memory.median / 1e6:.1f}",
        f"{memory.median / max(1, options.stopped):,.0f}",
        f"{Spread.of([one.closed for one in rounds]).median:.0f}",
    ]


def holds(rounds: Sequence[Slowed]) -> bool:
    """Whether most rounds hold: what the machine does to one it does not do to most."""
    return 2 * sum(one.holds for one in rounds) > len(rounds)


def _as_json(rounds: Sequence[Slowed], options: SlowOptions) -> dict[str, Any]:
    stopped = max(1, options.stopped)
    return {
        "rounds": [asdict(one) for one in rounds],
        "holds": holds(rounds),
        "ratio": asdict(Spread.of([one.ratio for one in rounds])),
        "p99_ms": asdict(Spread.of([one.beside.p99 / 1000 for one in rounds])),
        "per_stopped_reader": asdict(Spread.of([one.memory / stopped for one in rounds])),
    }
