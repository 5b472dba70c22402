"""What is found, and whether it is enough."""

from __future__ import annotations

import pytest

from fastws.config import Settings
from fastws.net.admission import DESCRIPTOR_RESERVE
from fastws.server.doctor import diagnose, lines_of
from fastws.server.doctor.machine import Limits
from fastws.server.engines.facts import RedisFacts

PLENTY = Limits(
    descriptors=2_000_000,
    most_descriptors=2_000_000,
    files=9_000_000,
    somaxconn=65_535,
    ports=3_000_000,
    tcp_pages=3_000_000,
    tracked=None,
    memory=2**40,
    memory_of="the machine",
)
REDIS = RedisFacts("7.2.0", 10_000, 4, 0, 2**20, "noeviction", (256 * 2**20, 128 * 2**20, 60))


def report(limits: Limits, redis: RedisFacts | None = None, wanted: int = 0, workers: int = 1) -> tuple[str, bool]:
    lines, fits = lines_of(diagnose(Settings(workers=workers), limits, "memory", redis, wanted), wanted)
    return "\n".join(lines), fits


def test_a_machine_that_is_large_enough() -> None:
    text, fits = report(PLENTY, REDIS, 1_000_000)
    assert fits
    assert "LOW" not in text
    assert "look" not in text
    assert "conntrack" not in text
    assert text.endswith("because of descriptors: 1,000,000 fit")
    assert "ok    engine         memory" in text
    assert "a worker may be behind with 256 MiB, or 128 MiB for 60 s" in text


@pytest.mark.parametrize(
    ("name", "limits", "allowed"),
    [
        ("descriptors", {"descriptors": 1000 + DESCRIPTOR_RESERVE}, "1,000"),
        ("open files", {"files": 500}, "500"),
        ("conntrack", {"tracked": 600}, "600"),
        ("memory", {"memory": 5500 * 700}, "700"),
    ],
)
def test_what_caps_it(name: str, limits: dict[str, int], allowed: str) -> None:
    text, fits = report(PLENTY._replace(**limits), wanted=10_000)
    assert not fits
    assert f"\nLOW   {name} " in f"\n{text}"
    assert text.endswith(f"this machine allows {allowed} connections, because of {name}: 10,000 do not fit")
    text, fits = report(PLENTY._replace(**limits))
    assert fits
    assert "LOW" not in text
    assert text.endswith(f"this machine allows {allowed} connections, because of {name}")


def test_descriptors_are_those_of_each_worker() -> None:
    limits = PLENTY._replace(descriptors=1000 + DESCRIPTOR_RESERVE)
    assert report(limits, wanted=4000, workers=4)[1]
    text, fits = report(limits, wanted=4001, workers=4)
    assert not fits
    assert "1,000 connections in each of 4 workers; ulimit -n can be raised to 2,000,000" in text


@pytest.mark.parametrize(
    ("name", "limits"), [("backlog", {"somaxconn": 128}), ("ports", {"ports": 28_232}), ("tcp_mem", {"tcp_pages": 9})]
)
def test_what_is_worth_a_look(name: str, limits: dict[str, int]) -> None:
    text, fits = report(PLENTY._replace(**limits), wanted=100_000)
    assert fits
    assert f"\nlook  {name} " in f"\n{text}"


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"clients": 9_999}, "look  redis clients  9,999 of 10,000 are connected"),
        ({"max_memory": 2**21, "policy": "allkeys-lru"}, "look  redis memory   Redis throws data away"),
        ({"max_memory": 2**20}, "look  redis memory   1 MiB of 1 MiB"),
        ({"pubsub_limit": (8 * 2**20, 2**20, 60)}, "look  redis pubsub   a worker may be behind with 8 MiB"),
        ({"pubsub_limit": (0, 0, 0)}, "ok    redis pubsub   a worker may be behind with no limit"),
        ({"version": ""}, "ok    redis          version unknown"),
    ],
)
def test_redis(facts: dict[str, object], line: str) -> None:
    assert line in report(PLENTY, REDIS._replace(**facts))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_replicas_that_are_asked_for(count: int) -> None:
    settings = Settings(redis="redis://h", min_replicas=2)
    findings = diagnose(settings, PLENTY, "redis", REDIS._replace(replicas=count), 0)
    (finding,) = [finding for finding in findings if finding.name == "redis replicas"]
    assert finding.is_doubtful == (count < 2)
    assert finding.says.startswith(f"{count} of the 2 that --min-replicas asks for")


def test_of_a_cluster_one_server_is_asked() -> None:
    findings = diagnose(Settings(redis="redis+cluster://h"), PLENTY, "redis", REDIS, 0)
    (finding,) = [finding for finding in findings if finding.name == "redis"]
    assert finding.says.endswith("of the cluster one server was asked, look at the others too")


def test_a_redis_that_tells_nothing() -> None:
    text, fits = report(PLENTY, RedisFacts())
    assert fits
    assert "redis clients" not in text
