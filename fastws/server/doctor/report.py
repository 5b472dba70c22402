"""What is found, each with the number of connections that it allows, and whether that is enough."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from fastws.config import Settings
from fastws.net.admission import DESCRIPTOR_RESERVE
from fastws.server.doctor.machine import PAGE_BYTES, Limits
from fastws.server.engines.facts import RedisFacts, doubts

BYTES_PER_CONNECTION: Final = 5500
"""Of one that is idle: up to 700 of fastws, and some 4,500 of the kernel for its socket, plus a reserve."""

_LINKS_OF_A_WORKER: Final = 2
"""Connections to Redis."""
_SAFE_BACKLOG: Final = 4096


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    says: str
    capacity: int | None = None
    """Connections that it allows; None if it is no cap."""
    is_doubtful: bool = False
    """Not a cap, and not as it should be."""


def diagnose(settings: Settings, limits: Limits, engine: str, redis: RedisFacts | None, wanted: int) -> list[Finding]:
    """Look at everything.

    :param engine: what carries messages, for people.
    :param redis: None without one, or if it does not run.
    :param wanted: connections, 0 if nobody said how many.
    """
    found = [*_of_machine(settings, limits, wanted), Finding("engine", engine)]
    if redis is not None:
        found += _of_redis(settings, redis)
    return found


def lines_of(found: Iterable[Finding], wanted: int) -> tuple[list[str], bool]:
    """What is printed, and whether `wanted` connections fit. With 0 everything does."""
    lines = []
    least: Finding | None = None
    for finding in found:
        low = finding.capacity is not None and finding.capacity < wanted
        sign = "LOW " if low else "look" if finding.is_doubtful else "ok  "
        lines.append(f"{sign}  {finding.name:<14} {finding.says}")
        if finding.capacity is not None and (least is None or finding.capacity < (least.capacity or 0)):
            least = finding
    most = least.capacity if least is not None and least.capacity is not None else 0
    fits = least is None or most >= wanted
    if least is not None:
        ending = "" if not wanted else f": {wanted:,} fit" if fits else f": {wanted:,} do not fit"
        lines.append(f"this machine allows {most:,} connections, because of {least.name}{ending}")
    return lines, fits


def _of_machine(settings: Settings, limits: Limits, wanted: int) -> Iterator[Finding]:
    workers = settings.workers
    each = max(limits.descriptors - DESCRIPTOR_RESERVE, 0)
    raised = ""
    if limits.most_descriptors is not None and limits.most_descriptors > limits.descriptors:
        raised = f"; ulimit -n can be raised to {limits.most_descriptors:,}"
    yield Finding(
        "descriptors",
        f"{limits.descriptors:,} for a process: {each:,} connections in each of {workers} "
        f"worker{'s' if workers > 1 else ''}{raised}",
        each * workers,
    )
    if limits.files is not None:
        yield Finding("open files", f"{limits.files:,} more for all processes (fs.file-max)", limits.files)
    waiting = min(settings.backlog, limits.somaxconn)
    yield Finding(
        "backlog",
        f"{waiting:,} connections may wait to be accepted by each worker (net.core.somaxconn is {limits.somaxconn:,})",
        is_doubtful=waiting < min(wanted, _SAFE_BACKLOG),
    )
    yield Finding(
        "ports",
        f"{limits.ports:,} connections of one client address, or of one proxy's (net.ipv4.ip_local_port_range)",
        is_doubtful=wanted > limits.ports,
    )
    if limits.tcp_pages is not None:
        size = limits.tcp_pages * PAGE_BYTES
        yield Finding(
            "tcp_mem",
            f"{size / 2**20:,.0f} MiB for what is on its way in all sockets (net.ipv4.tcp_mem): a page for each of "
            f"{limits.tcp_pages:,}",
            is_doubtful=wanted > limits.tcp_pages,
        )
    if limits.tracked is not None:
        yield Finding(
            "conntrack",
            f"{limits.tracked:,} more connections that the firewall keeps in mind (net.netfilter.nf_conntrack_max)",
            limits.tracked,
        )
    if limits.memory is not None:
        yield Finding(
            "memory",
            f"{limits.memory / 2**20:,.0f} MiB are free of {limits.memory_of}, and an idle connection takes about "
            f"{BYTES_PER_CONNECTION:,} bytes, kernel included",
            limits.memory // BYTES_PER_CONNECTION,
        )


def _of_redis(settings: Settings, redis: RedisFacts) -> Iterator[Finding]:
    one = "; of the cluster one server was asked, look at the others too" if _is_cluster(settings) else ""
    yield Finding("redis", f"version {redis.version or 'unknown'}{one}")
    if redis.max_clients:
        free = redis.max_clients - redis.clients
        needed = _LINKS_OF_A_WORKER * settings.workers
        yield Finding(
            "redis clients",
            f"{redis.clients:,} of {redis.max_clients:,} are connected (maxclients); this node needs {needed}",
            is_doubtful=free < needed,
        )
    most = f"{redis.max_memory / 2**20:,.0f} MiB" if redis.max_memory else "no limit (maxmemory)"
    yield Finding(
        "redis memory",
        f"{redis.used_memory / 2**20:,.0f} MiB of {most}; when it is used up: {redis.policy or 'unknown'}",
        is_doubtful=bool(doubts(redis)) or bool(redis.max_memory and redis.used_memory > 0.9 * redis.max_memory),
    )
    for doubt in doubts(redis):
        yield Finding("redis memory", doubt, is_doubtful=True)
    if settings.min_replicas:
        yield Finding(
            "redis replicas",
            f"{redis.replicas} of the {settings.min_replicas} that --min-replicas asks for"
            + (": what is stored is refused" if redis.replicas < settings.min_replicas else ""),
            is_doubtful=redis.replicas < settings.min_replicas,
        )
    if redis.pubsub_limit is not None:
        yield _of_pubsub(*redis.pubsub_limit)


def _is_cluster(settings: Settings) -> bool:
    return settings.redis.startswith("redis+cluster:")


def _of_pubsub(hard: int, soft: int, soft_s: int) -> Finding:
    """A worker that is slower than its topics for a moment is disconnected beyond these, and misses what has none."""
    shown = [f"{limit / 2**20:,.0f} MiB" if limit else "no limit" for limit in (hard, soft)]
    return Finding(
        "redis pubsub",
        f"a worker may be behind with {shown[0]}, or {shown[1]} for {soft_s} s, before Redis disconnects it "
        "(client-output-buffer-limit pubsub)",
        is_doubtful=0 < hard < 32 * 2**20,
    )
