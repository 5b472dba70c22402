"""Restart: HUP, while clients that stay are moved from worker to worker and others come and go all the time.

What counts is what nobody notices: no reset, nobody refused, the connections spread evenly afterwards, no worker at its
limit of descriptors.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

from bench import measure, servers
from bench.cluster.visitors import Visitors
from bench.report import ProgressBar, Table

COLUMNS: Final = (
    "round",
    "s",
    "moved",
    "passed by",
    "troubles",
    "longest connect ms",
    "max/mean",
    "peak max/mean",
    "descriptors",
    "limit",
    "MB idle",
    "MB after",
)
_SAMPLE_S: Final = 0.25
_SETTLE_S: Final = 3.0
_CONNECT_S: Final = 120.0
_LONGEST_S: Final = 900.0
_MB: Final = 1024 * 1024


class RestartError(servers.ServerError):
    """The server does not do what is to be measured."""


@dataclass(frozen=True, slots=True)
class RestartOptions:
    """What the command line says."""

    workers: int = 8
    connections: int = 8000  # that are kept
    passing: int = 32  # clients that come and go
    drain_timeout: float = 10.0  # seconds
    rounds: int = 3


@dataclass(slots=True)
class Rolled:
    """One restart."""

    seconds: float = 0.0  # from HUP until all are new and those before have ended
    moved: int = 0
    served: int = 0
    troubles: dict[str, int] = field(default_factory=dict)
    longest_connect_ms: float = 0.0
    spread: float = 0.0  # max/mean of connections, when it was over
    worst_spread: float = 0.0  # of those who let clients in, meanwhile
    descriptors: int = 0  # the most that one worker had
    descriptor_limit: int = 0
    idle_mb: float = 0.0  # private memory of a worker before anybody came, mean
    after_mb: float = 0.0  # the same of the new ones, with their clients


def run(options: RestartOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure; return the table and what belongs into the JSON file.

    :raises bench.servers.ServerError: the server does not start, or does not come to the end of a restart.
    """
    everywhere = os.sched_getaffinity(0)
    clients = {max(everywhere)}
    progress.start(options.rounds)
    results = []
    for number in range(options.rounds):
        progress.say(f"round {number + 1} of {options.rounds}: {options.workers} workers, HUP")
        arguments = ("--workers", str(options.workers), "--redis", "embedded", "--ping-interval", "0")
        drain = ("--drain-timeout", str(options.drain_timeout), "--backlog", "65535")
        cpus = everywhere - clients or None
        with servers.fastws("bench.apps.echo:app", *arguments, *drain, cpus=cpus) as server, measure.on_cpus(clients):
            results.append(asyncio.run(_roll(server, options)))
        progress.step()
    return _table(options, results), {"rounds": [asdict(rolled) for rolled in results]}


async def _roll(server: servers.Server, options: RestartOptions) -> Rolled:
    rolled = Rolled()
    await asyncio.sleep(1)  # what is written by and by is written
    old = workers_of(server.pid)
    rolled.idle_mb = _mean([private_bytes(pid) / _MB for pid in old])
    rolled.descriptor_limit = _descriptor_limit(min(old))
    async with Visitors(server.port, options.connections, options.passing) as visitors:
        await _until(lambda: visitors.here == options.connections, _CONNECT_S, "its connections")
        await asyncio.sleep(_SETTLE_S)
        visitors.forget()
        begun = monotonic()
        os.kill(server.pid, signal.SIGHUP)
        while not _is_over(server.pid, old, options.workers):
            if monotonic() - begun > _LONGEST_S:
                raise RestartError(f"the restart has not ended within {_LONGEST_S:.0f} s")
            files = open_files(workers_of(server.pid))
            rolled.descriptors = max(rolled.descriptors, *files.values())
            rolled.worst_spread = max(rolled.worst_spread, _spread(list(files.values())))
            await asyncio.sleep(_SAMPLE_S)
        rolled.seconds = monotonic() - begun
        await _until(lambda: visitors.here == options.connections, _CONNECT_S, "its connections again")
        await asyncio.sleep(_SETTLE_S)
        rolled.moved, rolled.served = visitors.outcomes["moved"], visitors.outcomes["served"]
        rolled.troubles = visitors.troubles
        rolled.longest_connect_ms = visitors.longest_s * 1000
        files = open_files(workers_of(server.pid))
        rolled.spread = _spread(list(files.values()))
        rolled.descriptors = max(rolled.descriptors, *files.values())
        rolled.after_mb = _mean([private_bytes(pid) / _MB for pid in files])
    return rolled


def workers_of(supervisor: int) -> set[int]:
    """The processes of a server that serve clients, those that start or drain included."""
    found = set()
    for pid in measure.process_tree(supervisor):
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except OSError:  # it ended meanwhile
            continue
        if name.startswith("fastws-") and name.rpartition("-")[2].isdecimal():
            found.add(pid)
    return found


def open_files(pids: set[int]) -> dict[int, int]:
    """How many descriptors each has open; those that have ended are left out."""
    counts = {}
    for pid in pids:
        try:
            counts[pid] = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
    return counts


def private_bytes(pid: int) -> int:
    """Memory that a process has for itself alone; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    found = [line.split()[1] for line in text.splitlines() if line.startswith(("Private_Clean:", "Private_Dirty:"))]
    return sum(map(int, found)) * 1024


def _is_over(supervisor: int, old: set[int], workers: int) -> bool:
    now = workers_of(supervisor)
    return not now & old and len(now) == workers


def _descriptor_limit(pid: int) -> int:
    for line in Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines():
        if line.startswith("Max open files"):
            return int(line.split()[3])
    return 0


def _spread(counts: list[int]) -> float:
    return max(counts) / _mean(list(map(float, counts))) if counts else 0.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


async def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = monotonic() + seconds
    while not condition():
        if monotonic() > deadline:
            raise RestartError(f"the server has not had {what} within {seconds:.0f} s")
        await asyncio.sleep(0.05)


def _table(options: RestartOptions, results: list[Rolled]) -> Table:
    rows = [
        [
            str(number + 1),
            f"{rolled.seconds:.1f}",
            f"{rolled.moved:,}",
            f"{rolled.served:,}",
            ", ".join(f"{count} {name}" for name, count in rolled.troubles.items()) or "none",
            f"{rolled.longest_connect_ms:,.0f}",
            f"{rolled.spread:.2f}",
            f"{rolled.worst_spread:.2f}",
            f"{rolled.descriptors:,}",
            f"{rolled.descriptor_limit:,}",
            f"{rolled.idle_mb:.1f}",
            f"{rolled.after_mb:.1f}",
        ]
        for number, rolled in enumerate(results)
    ]
    title = (
        f"restart: HUP with {options.workers} workers, {options.connections:,} connections that stay and "
        f"{options.passing} clients that come and go, --drain-timeout {options.drain_timeout:g}"
    )
    notes = [
        "moved: closed with 1012 and back; troubles: resets, refusals, silence, anything that is not that or an echo",
        "max/mean: of open descriptors of the workers when it was over; peak: the same while some were draining or new",
        "MB: private memory of a worker, mean; idle before anybody came, after with its clients",
    ]
    return Table(title, COLUMNS, rows, notes)
