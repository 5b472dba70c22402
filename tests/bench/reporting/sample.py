"""A result file as `python -m bench all` writes it, small and with figures that can be checked by hand."""

from typing import Any


def one(messages: int, *, mode: str = "echo", bystander_us: float | None = None) -> dict[str, Any]:
    """A round: so many messages (upgrades) for one CPU-second."""
    latency = {"count": 1, "mean": 1.0, "p50": 1.0, "p90": 1.0, "p99": bystander_us or 1.0, "p999": 1.0, "max": 1.0}
    span = {"seconds": 1.0, "messages": messages, "bytes": 1, "server_cpu_s": 1.0, "client_cpu_s": 0.5}
    beside = None if bystander_us is None else latency
    return {"mode": mode, "connected": messages, "connect": span, "run": span, "bystander": beside}


def compared(rounds: dict[str, list[dict[str, Any]]], reference: str = "c_epoll") -> dict[str, Any]:
    """Results of servers in turns."""
    ratios = {}
    for name, own in rounds.items():
        each = sorted(a["connected"] / b["connected"] for a, b in zip(own, rounds[reference], strict=True))
        ratios[name] = {"median": each[len(each) // 2], "low": each[0], "high": each[-1]}
    return {"rounds": rounds, "ratios": {"per_cpu_second": ratios}, "reference": reference, "failures": {}}


def part(
    key: str, results: dict[str, Any], tables: list[dict[str, Any]] | None = None, error: str = ""
) -> dict[str, Any]:
    """A part of a result file."""
    return {
        "key": key,
        "label": f"part {key}",
        "options": {},
        "tables": tables or [],
        "results": results,
        "error": error,
    }


def table(*rows: list[str]) -> dict[str, Any]:
    """A table of an echo."""
    columns = ["server", "msg/s", "server CPU", "client CPU"]
    return {"title": "echo <64 B>", "columns": columns, "rows": list(rows), "notes": ["a & b"], "texts": False}


def slowed(ratio: float, kept: float) -> dict[str, Any]:
    """Results of one server beside readers that stop."""
    figures = {"ratio": ratio, "p99_ms": 10 * ratio, "per_stopped_reader": kept}
    spreads = {key: {"median": figure, "low": figure, "high": figure} for key, figure in figures.items()}
    return {"rounds": [], "holds": ratio <= 1.2, **spreads}


def content() -> dict[str, Any]:
    """Everything that a result file can have."""
    echo = compared({"fastws": [one(90), one(96)], "c_epoll": [one(100), one(100)], "picows": [one(50), one(96)]})
    fanout = compared({"fastws": [one(80, bystander_us=7000)], "c_epoll": [one(100)], "gin_gorilla": [one(10)]})
    idle = {"fastws": 240.0, "fastws authenticated": 750.0, "c_epoll": 20.0}
    servers = {name: {"per_connection": {"median": b, "low": b - 5, "high": b + 5}} for name, b in idle.items()}
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "options": {"peers": ["c_epoll", "picows", "gin_gorilla"], "quick": True},
        "skipped": {"gws": "needs go"},
        "peers": {
            "c_epoll": {"title": "C epoll", "language": "C", "version": "1"},
            "picows": {"title": "picows", "language": "Python", "version": "2"},
            "gin_gorilla": {"title": "gin + gorilla", "language": "Go", "version": "3"},
            "gws": {"title": "gws", "language": "Go", "version": "4"},
        },
        "machine": {
            "python": "3.11.7", "packages": {"uvloop": "0.23.0"}, "tools": {"cc": "cc 12"}, "kernel": "6.1",
            "cpu": "Some CPU", "cpus": [0, 1], "descriptors": 20000, "commit": "abc", "load_average": 0.5,
            "sysctls": {"a.b": "1"},
        },
        "load_average_after": 1.5,
        "seconds": 120,
        "parts": [
            part(
                "echo",
                echo,
                [
                    table(
                        ["fastws", "90", "99%", "60%"],
                        ["c_epoll", "100", "70%", "95%"],
                        ["picows", "50", "40%", "30%"],
                    )
                ],
            ),
            part("connect", compared({"fastws": [one(30, mode="connect")], "c_epoll": [one(60, mode="connect")]})),
            part("footprint", {"servers": servers, "failures": {}}),
            part("fanout", {"1000x10": {"subscribers": 1000, "burst": 10, **fanout}}),
            part("rooms", compared({"fastws": [one(90)], "c_epoll": [one(100)], "gin_gorilla": [one(30)]})),
            {
                **part("slow", {"slowed": {"fastws conflate": slowed(1.1, 900), "c_epoll": slowed(3.0, 70_000)}}),
                "options": {"max_outbox": 65536},
            },
            part("variants", {}, error="no <openssl>"),
        ],
    }  # fmt: skip
