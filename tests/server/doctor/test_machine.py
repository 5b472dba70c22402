"""What the kernel allows."""

from __future__ import annotations

from pathlib import Path

from fastws.server.doctor.machine import read_limits


def machine(root: Path, **files: str) -> Path:
    """A /proc and a /sys with these files; `__` stands for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_one_has_limits() -> None:
    limits = read_limits()
    assert limits.descriptors > 0
    assert limits.somaxconn > 0
    assert limits.ports > 1000
    assert limits.memory is not None
    assert limits.memory > 2**20


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    limits = read_limits(tmp_path)
    assert limits[1:] == (None, None, 4096, 28_232, None, None, None, "the machine")


def test_what_is_left(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        proc__sys__fs__nr_open="1048576\n",
        **{"proc__sys__fs__file-nr": "1000\t0\t5000\n"},
        proc__sys__net__core__somaxconn="128\n",
        proc__sys__net__ipv4__ip_local_port_range="1024\t65535\n",
        proc__sys__net__ipv4__tcp_mem="1\t2\t3\n",
        proc__sys__net__netfilter__nf_conntrack_max="100\n",
        proc__sys__net__netfilter__nf_conntrack_count="30\n",
        proc__meminfo="MemTotal: 9 kB\nMemAvailable:  8 kB\n",
    )
    assert read_limits(root)[1:] == (1048576, 4000, 128, 64512, 3, 70, 8192, "the machine")


def test_a_control_group_may_have_less(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        proc__meminfo="MemAvailable:  8 kB\n",
        proc__self__cgroup="0::/own\n",
        sys__fs__cgroup__own__memory_max="x",
    )
    folder = root / "sys/fs/cgroup/own"
    (folder / "memory.max").write_text("4000\n")
    (folder / "memory.current").write_text("1000\n")
    assert read_limits(root)[-2:] == (3000, "the control group")
    (folder / "memory.max").write_text("max\n")
    assert read_limits(root)[-2:] == (8192, "the machine")
