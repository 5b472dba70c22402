"""Footprint: what an idle raw connection costs, in the server and in the kernel, and whether it is given back."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bench import measure, servers
from bench.load import Load, processes_for
from bench.report import ProgressBar, Table

COLUMNS = ("batch", "connections", "before MB", "open MB", "after close MB", "B/connection", "kernel slab B/socket")
WARM_UP_CONNECTIONS = 500  # opened and closed first, for what a process allocates once
SERVER_SPARE = 200  # descriptors that the server keeps for other things
SETTLE_TIMEOUT_S = 20.0
HOLD_AT_MOST_S = 300


@dataclass(frozen=True, slots=True)
class FootprintOptions:
    """What the command line says."""

    connections: int = 15000
    batches: int = 3  # times that all are opened and closed
    server: str = "fastws"  # or a peer's name


@dataclass(frozen=True, slots=True)
class Batch:
    """One opening and closing of all connections; bytes of the server's PSS and of the kernel's slab."""

    connections: int
    pss_before: int
    pss_open: int
    pss_closed: int
    slab_before: int
    slab_open: int

    def per_connection(self, base: int) -> float:
        """Userland bytes of the server for each open connection, over `base`: its PSS when nothing was open yet.

        The first batch's `pss_before` is such a base. A later batch's own is not: memory that the allocator kept after
        an earlier one would make the connections look free.
        """
        return (self.pss_open - base) / self.connections

    @property
    def slab_per_socket(self) -> float:
        """Bytes of kernel objects for each socket; both ends of a connection are on this machine."""
        return (self.slab_open - self.slab_before) / (2 * self.connections)


def run(options: FootprintOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure; return the table and what belongs into the JSON file."""
    most = measure.descriptor_limit() - SERVER_SPARE
    connections = min(options.connections, most)
    progress.start(options.batches)
    batches = []
    with _server(options.server) as server:
        progress.say("warming up")
        open_and_close(server, min(connections, WARM_UP_CONNECTIONS))
        for number in range(options.batches):
            progress.say(f"batch {number + 1} of {options.batches}: {connections} connections")
            batches.append(open_and_close(server, connections))
            progress.step()
    base = batches[0].pss_before
    notes = [
        f"after a warm-up of {min(connections, WARM_UP_CONNECTIONS)}; B/connection: open, less before the first batch",
        "PSS: the server's own pages and its share of shared ones; slab: all kernel objects, both ends counted",
    ]
    if connections < options.connections:
        notes.append(f"{options.connections} do not fit: this machine allows {measure.descriptor_limit()} descriptors")
    rows = [_row(number, batch, base) for number, batch in enumerate(batches, 1)]
    table = Table(f"footprint of {options.server}: idle raw connections", COLUMNS, rows, notes)
    derived = [{"per_connection": b.per_connection(base), "slab_per_socket": b.slab_per_socket} for b in batches]
    return table, {"batches": [asdict(batch) | more for batch, more in zip(batches, derived, strict=True)]}


def open_and_close(server: servers.Server, connections: int) -> Batch:
    """Open idle connections, measure, close them, measure again.

    :raises bench.load.LoadError: not all of them opened, or some were closed by the server.
    """
    files_before = measure.open_files(server.pids)
    pss_before, slab_before = measure.pss_bytes(server.pids), measure.slab_bytes()
    options: dict[str, float | str | bool] = {
        "path": server.path,
        "connections": connections,
        "processes": processes_for(connections),
        "seconds": HOLD_AT_MOST_S,
        "until_stdin": True,
    }
    with Load("idle", server.port, options=options) as load:
        if load.wait_connected() < connections:
            load.release().check()
        _wait_until(lambda: measure.open_files(server.pids) >= files_before + connections)
        pss_open, slab_open = measure.pss_bytes(server.pids), measure.slab_bytes()
        load.release().check()
    _wait_until(lambda: measure.open_files(server.pids) <= files_before)
    return Batch(connections, pss_before, pss_open, measure.pss_bytes(server.pids), slab_before, slab_open)


def _server(name: str) -> servers.Server:
    return servers.fastws() if name == "fastws" else servers.peer(name)


def _wait_until(condition: Callable[[], bool]) -> None:
    """Poll until it holds; what is measured after the time-out shows what did not happen."""
    end = time.monotonic() + SETTLE_TIMEOUT_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


def _row(number: int, batch: Batch, base: int) -> list[str]:
    return [
        f"{number}",
        f"{batch.connections:,}",
        f"{batch.pss_before / 1e6:.2f}",
        f"{batch.pss_open / 1e6:.2f}",
        f"{batch.pss_closed / 1e6:.2f}",
        f"{batch.per_connection(base):,.0f}",
        f"{batch.slab_per_socket:,.0f}",
    ]
