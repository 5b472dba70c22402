"""Footprint: what an idle connection costs, in the server and in the kernel, and whether it is given back."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from bench import measure, roster, servers
from bench.build import BuildError
from bench.load import Load, LoadError, processes_for
from bench.report import ProgressBar, Spread, Table
from bench.scenarios import fanout, turns
from bench.tokens import SECRET, write_tokens

COLUMNS = (
    "server", "connections", "before MB", "open MB", "after close MB", "B/connection", "B/connection, again",
    "kernel slab B/socket",
)  # fmt: skip
GATEWAY = "fastws gateway"  # connections that were welcomed, hear a topic and have been pinged
AUTHENTICATED = "fastws authenticated"  # the same, each another user with a token
OWN = (turns.OURS, GATEWAY, AUTHENTICATED)
GATEWAY_PING_S = 2
WARM_UP_CONNECTIONS = 500  # opened first, for what a process allocates once; at most half of all
SERVER_SPARE = 200  # descriptors that the server keeps for other things
SETTLE_TIMEOUT_S = 20.0
UNCHANGED_S = 2.0  # a number of descriptors that stays so long has settled
HOLD_AT_MOST_S = 300


@dataclass(frozen=True, slots=True)
class FootprintOptions:
    """What the command line says."""

    connections: int = 15000
    batches: int = 3  # times that all are opened and closed
    servers: Sequence[str] = OWN  # or peers' names


@dataclass(frozen=True, slots=True)
class Subject:
    """What connections are opened to."""

    server: servers.Server
    path: str
    subscribe: str = ""  # text that each sends after its upgrade
    hold_s: float = 0.0  # time for all of them to be pinged
    options: turns.Options = dataclasses.field(default_factory=dict)  # of the load engine, beside the usual ones


@dataclass(frozen=True, slots=True)
class Batch:
    """One opening and closing of all connections; bytes of the server's PSS and of the kernel's slab."""

    connections: int
    pss_before: int
    pss_open: int
    pss_closed: int
    slab_before: int
    slab_open: int

    def per_connection(self, few: Self) -> float:
        """Userland bytes of the server for each open connection: what those take that are open now and were not then.

        :param few: the process's first batch, of fewer connections. What it was before anything was open would not do:
            what it allocates once would count. Nor what it was after some were closed: the memory that its allocator
            kept of them would make connections look free.
        """
        return (self.pss_open - few.pss_open) / (self.connections - few.connections)

    @property
    def slab_per_socket(self) -> float:
        """Bytes of kernel objects for each socket; both ends of a connection are on this machine."""
        return (self.slab_open - self.slab_before) / (2 * self.connections)


@dataclass(frozen=True, slots=True)
class Batches:
    """What was measured of one server."""

    few: Batch  # the first of the process
    batches: Sequence[Batch]

    @property
    def per_connection(self) -> list[float]:
        """Userland bytes for each connection, by batch."""
        return [batch.per_connection(self.few) for batch in self.batches]


def run(options: FootprintOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure one server after the other; return the table and what belongs into the JSON file.

    :raises bench.load.LoadError: fastws did not hold its connections. A peer that does not is named in the notes.
    """
    most = measure.descriptor_limit() - SERVER_SPARE
    connections = min(options.connections, most)
    progress.start(options.batches * len(options.servers))
    measured: dict[str, Batches] = {}
    failures: dict[str, str] = {}
    for name in options.servers:
        try:
            with subject_of(name, connections) as subject:
                measured[name] = _batches(subject, name, connections, options.batches, progress)
        except (BuildError, LoadError, roster.PeerError, servers.ServerError) as error:
            if name in OWN:
                raise
            failures[name] = str(error)
    few = few_of(connections, WARM_UP_CONNECTIONS)
    notes = [
        f"B/connection: with {connections} open, less with {few} open in a new process, for each of the difference",
        "PSS: the server's own pages and its share of shared ones; slab: all kernel objects, both ends counted",
        *(f"{name} failed: {' '.join(reason.split())[-200:]}" for name, reason in failures.items()),
    ]
    if AUTHENTICATED in measured:
        notes.append(f"{AUTHENTICATED}: the same, each another user, known by the token in its upgrade")
    if GATEWAY in measured:
        notes.append(f"{GATEWAY}: welcomed, hears a topic, pinged every {GATEWAY_PING_S} s; {turns.OURS}: raw")
    if connections < options.connections:
        notes.append(f"{options.connections} do not fit: this machine allows {measure.descriptor_limit()} descriptors")
    rows = [_row(name, batches) for name, batches in measured.items()]
    table = Table(f"footprint: {connections} idle connections, {options.batches} times", COLUMNS, rows, notes)
    return table, {"servers": {name: _as_json(batches) for name, batches in measured.items()}, "failures": failures}


def few_of(connections: int, most: int) -> int:
    """How many to open in a new process before so many, of which there are at least two, are."""
    return min(connections // 2, most)


def _batches(subject: Subject, name: str, connections: int, count: int, progress: ProgressBar) -> Batches:
    batches = []
    with subject.server:
        progress.say(f"{name}: warming up")
        few = open_and_close(subject.server, few_of(connections, WARM_UP_CONNECTIONS), subject)
        for number in range(count):
            progress.say(f"{name}, batch {number + 1} of {count}: {connections} connections")
            batches.append(open_and_close(subject.server, connections, subject))
            progress.step()
    return Batches(few, batches)


def open_and_close(server: servers.Server, connections: int, subject: Subject | None = None) -> Batch:
    """Open idle connections, measure, close them, measure again.

    :param subject: how to connect; None: to the server's own path, saying nothing.
    :raises bench.load.LoadError: not all of them opened, or some were closed by the server.
    """
    subject = subject or Subject(server, server.path)
    files_before = measure.open_files(server.pids)
    pss_before, slab_before = measure.pss_bytes(server.pids), measure.slab_bytes()
    options: dict[str, float | str | bool] = {
        "path": subject.path,
        "connections": connections,
        "processes": processes_for(connections),
        "seconds": HOLD_AT_MOST_S,
        "until_stdin": True,
        **subject.options,
    }
    if subject.subscribe:
        options |= {"subscribe": subject.subscribe, "text": True}
    with Load("idle", server.port, options=options) as load:
        if load.wait_connected() < connections:
            load.release().check()
        _wait_until(lambda: measure.open_files(server.pids) >= files_before + connections)
        time.sleep(subject.hold_s)
        pss_open, slab_open = measure.pss_bytes(server.pids), measure.slab_bytes()
        result = load.release().check()
    if subject.hold_s and result.pings < connections:
        raise LoadError(f"{result.pings} pings for {connections} connections: the server was too busy to ping them all")
    _wait_closed(server, files_before)
    return Batch(connections, pss_before, pss_open, measure.pss_bytes(server.pids), slab_before, slab_open)


@contextmanager
def subject_of(name: str, connections: int) -> Iterator[Subject]:
    """What so many connections are opened to, by the name of a server in the table.

    :raises KeyError: there is no such peer.
    """
    if name == AUTHENTICATED:
        with tempfile.TemporaryDirectory() as folder:
            words = Path(folder, "tokens")
            write_tokens(words, connections)
            yield _gateway("?token={word}", {"words": str(words)}, "--jwt-secret", SECRET)
    elif name == GATEWAY:
        yield _gateway("", {})
    else:
        server = servers.fastws() if name == turns.OURS else servers.peer(name)
        yield Subject(server, server.path)


def _gateway(query: str, options: turns.Options, *arguments: str) -> Subject:
    server = servers.fastws(fanout.APP, "--ping-interval", f"{GATEWAY_PING_S}s", *arguments)
    path, subscribe = fanout.FASTWS.path + query, fanout.FASTWS.subscribe
    return Subject(server, path, subscribe, hold_s=2.5 * GATEWAY_PING_S, options=options)


def _wait_closed(server: servers.Server, files_before: int) -> None:
    """Until its connections are gone; a server may keep a descriptor that the first of them made it open."""
    last, since = -1, time.monotonic()

    def gone() -> bool:
        nonlocal last, since
        files = measure.open_files(server.pids)
        if files != last:
            last, since = files, time.monotonic()
        return files <= files_before or time.monotonic() - since > UNCHANGED_S

    _wait_until(gone)


def _wait_until(condition: Callable[[], bool]) -> None:
    """Poll until it holds; what is measured after the time-out shows what did not happen."""
    end = time.monotonic() + SETTLE_TIMEOUT_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


def _row(name: str, measured: Batches) -> list[str]:
    first, last = measured.batches[0], measured.batches[-1]
    again = measured.per_connection[1:]
    return [
        name,
        f"{first.connections:,}",
        f"{first.pss_before / 1e6:.2f}",
        f"{first.pss_open / 1e6:.2f}",
        f"{last.pss_closed / 1e6:.2f}",
        f"{measured.per_connection[0]:,.0f}",
        f"{Spread.of(again):,.0f}" if len(again) > 1 else f"{again[0]:,.0f}" if again else "-",
        f"{Spread.of([batch.slab_per_socket for batch in measured.batches]).median:,.0f}",
    ]


def _as_json(measured: Batches) -> dict[str, Any]:
    derived = [
        {"per_connection": userland, "slab_per_socket": batch.slab_per_socket}
        for batch, userland in zip(measured.batches, measured.per_connection, strict=True)
    ]
    return {
        "few": asdict(measured.few),
        "batches": [asdict(batch) | more for batch, more in zip(measured.batches, derived, strict=True)],
        "per_connection": dataclasses.asdict(Spread.of(measured.per_connection)),
    }
