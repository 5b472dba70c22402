"""A restart under load, as it is measured."""

from __future__ import annotations

import os

from bench.cluster import restart
from bench.cluster.restart import RestartOptions
from bench.report import PlainProgress, table_text
from tests.support.redis import redis_binary


def test_a_short_run() -> None:
    redis_binary()
    options = RestartOptions(workers=2, connections=100, passing=2, drain_timeout=5.0, rounds=1)
    with PlainProgress() as progress:
        table, content = restart.run(options, progress)
    (rolled,) = content["rounds"]
    assert rolled["troubles"] == {}
    assert rolled["moved"] >= 100
    assert rolled["descriptor_limit"] >= rolled["descriptors"] > 50
    assert 1 <= rolled["spread"] < 2
    assert "none" in table_text(table)


def test_what_has_ended_counts_for_nothing() -> None:
    assert restart.private_bytes(1 << 30) == 0
    assert restart.open_files({1 << 30}) == {}
    assert restart.private_bytes(os.getpid()) > 1 << 20
