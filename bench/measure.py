"""What the machine says: processes and their memory, kernel memory, CPUs, and the facts a report has to name."""

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.build import BENCH

PROC = Path("/proc")
SYSCTLS = (
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_tw_reuse",
)
EXTENSION_MODE = BENCH.parent / "build" / "extension-mode"  # where a build of the extension leaves it
RELEASE, UNKNOWN = "release", "unknown"
TOOLS = ("cc", "go", "cargo", "node")  # what the peers are built with
PACKAGES = ("uvloop", "wsproto", "Cython", "orjson", "hiredis", "redis")


def process_tree(pid: int) -> list[int]:
    """`pid` and all its descendants that are alive."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:  # it ended meanwhile
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, ()))
    return tree


def pss_bytes(pids: Iterable[int]) -> int:
    """Memory of the processes: anonymous pages of their own, and their share of those that they share with others.

    Pages of files are left out: how many of a library's count for a process changes as others that use it come and go,
    by megabytes, and no connection needs any.
    """
    total = 0
    for pid in pids:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                total += int(line.split()[1]) * 1024
    return total


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that the threads of the processes took so far; what has ended counts no more."""
    return _schedstat(pids, 0)


def waited_s(pids: Iterable[int]) -> float:
    """Seconds that threads of the processes were ready to run and had no CPU, so far; what has ended counts no more."""
    return _schedstat(pids, 1)


def _schedstat(pids: Iterable[int], field: int) -> float:
    total_ns = 0
    for pid in pids:
        for path in PROC.glob(f"{pid}/task/*/schedstat"):
            with suppress(OSError):
                total_ns += int(path.read_text(encoding="ascii").split()[field])
    return total_ns / 1e9


def open_files(pids: Iterable[int]) -> int:
    """Descriptors that the processes hold."""
    return sum(len(os.listdir(PROC / str(pid) / "fd")) for pid in pids)


def slab_bytes() -> int:
    """Memory of the kernel's own objects, sockets among them, over the whole machine."""
    for line in (PROC / "meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    return 0


def descriptor_limit() -> int:
    """Descriptors that a process may open (the hard limit, to which `raise_descriptor_limit` raises the soft one)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def raise_descriptor_limit() -> None:
    """Let this process, and the servers that it starts from now on, open as many descriptors as the hard limit allows.

    Most programs raise themselves; those that do not would refuse the thousandth client.
    """
    hard = descriptor_limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def server_and_client_cpus() -> tuple[set[int], set[int]]:
    """The CPU for the server and the one for the load; the same one where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return {allowed[0]}, {allowed[min(1, len(allowed) - 1)]}


@contextmanager
def on_cpus(cpus: set[int] | None) -> Iterator[None]:
    """Processes started in this block run on `cpus` only (None: wherever this one may)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def extension_build() -> str:
    """How the compiled modules of fastws were built last: release, debug, sanitize; unknown where nothing says it."""
    try:
        return EXTENSION_MODE.read_text(encoding="ascii").strip()
    except OSError:
        return UNKNOWN


def machine_facts() -> dict[str, Any]:
    """What a reader needs to know beside the figures."""
    return {
        "python": sys.version.split()[0],
        "extension": extension_build(),
        "packages": {name: _version(name) for name in PACKAGES},
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "descriptors": descriptor_limit(),
        "tools": {tool: version for tool in TOOLS if (version := _tool_version(tool))},
        "commit": _commit(),
        "load_average": round(os.getloadavg()[0], 2),
        "sysctls": {name: _sysctl(name) for name in SYSCTLS},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _tool_version(tool: str) -> str:
    command = [tool, "version" if tool == "go" else "--version"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said[0] if tool != "node" or not said else f"node {said[0]}"


def _cpu_model() -> str:
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.lower().startswith(("model name", "hardware")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _sysctl(name: str) -> str:
    path = PROC / "sys" / name.replace(".", "/")
    return " ".join(path.read_text().split()) if path.exists() else "unknown"


def _commit() -> str:
    command = ["git", "-C", str(BENCH.parent), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
