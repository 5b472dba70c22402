"""What the kernel allows, as numbers: limits of a process, of the network, of memory."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final, NamedTuple

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Limits(NamedTuple):
    """None is what this machine does not have, or does not tell."""

    descriptors: int
    """That one process may open."""
    most_descriptors: int | None
    """To which that may be raised (fs.nr_open)."""
    files: int | None
    """That all processes together may still open (fs.file-max)."""
    somaxconn: int
    """Connections that may wait in one listener's queue."""
    ports: int
    """Of one address, for connections to one listener."""
    tcp_pages: int | None
    """That the buffers of all sockets may take (net.ipv4.tcp_mem)."""
    tracked: int | None
    """Connections that the firewall can still keep in mind; None where it keeps none."""
    memory: int | None
    """Bytes that are free for this process: the machine's, or the control group's."""
    memory_of: str
    """Whose."""


def read_limits(root: Path = Path("/")) -> Limits:
    """Look at the limits that hold for a process that is started here and now; `root` is where /proc and /sys are."""
    sys = root / "proc/sys"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _numbers(sys / "fs/nr_open")
    files = _numbers(sys / "fs/file-nr")
    tcp = _numbers(sys / "net/ipv4/tcp_mem")
    tracked_most = _numbers(sys / "net/netfilter/nf_conntrack_max")
    tracked = _numbers(sys / "net/netfilter/nf_conntrack_count")
    ports = _numbers(sys / "net/ipv4/ip_local_port_range")
    memory, whose = _memory(root)
    return Limits(
        descriptors=hard if hard != resource.RLIM_INFINITY else 2**31,
        most_descriptors=most[0] if most else None,
        files=files[2] - files[0] if len(files) == 3 else None,
        somaxconn=(_numbers(sys / "net/core/somaxconn") or [4096])[0],
        ports=ports[1] - ports[0] + 1 if len(ports) == 2 else 28_232,
        tcp_pages=tcp[2] if len(tcp) == 3 else None,
        tracked=tracked_most[0] - (tracked or [0])[0] if tracked_most else None,
        memory=memory,
        memory_of=whose,
    )


def _memory(root: Path) -> tuple[int | None, str]:
    """What is free, of the machine or of the control group (version 2), whichever is less."""
    available: int | None = None
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable" and rest.split():
            available = int(rest.split()[0]) * 1024
    whose = "the machine"
    folder = root / "sys/fs/cgroup" / _text(root / "proc/self/cgroup").rpartition("::")[2].strip().lstrip("/")
    for group in (folder, root / "sys/fs/cgroup"):
        most, used = _numbers(group / "memory.max"), _numbers(group / "memory.current")
        if most and used and (available is None or most[0] - used[0] < available):
            available, whose = max(most[0] - used[0], 0), "the control group"
    return available, whose


def _numbers(path: Path) -> list[int]:
    """The numbers in a file; empty if there is no such file, or something else in it."""
    words = _text(path).split()
    return [int(word) for word in words] if all(word.isdigit() for word in words) else []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
