"""What is published at one node and heard at another."""

from __future__ import annotations

from bench.cluster import scenario
from bench.cluster.scenario import ClusterOptions
from bench.report import PlainProgress, table_text
from tests.support.redis import redis_binary


def test_a_short_run() -> None:
    redis_binary()
    options = ClusterOptions(topics=2, bursts=(1, 5), batches=(1, 4), rounds=1, seconds=0.3)
    with PlainProgress() as progress:
        (ways, floods), content = scenario.run(options, progress)
    assert [row[0] for row in ways.rows] == ["one at a time", "bursts of 5"]
    assert [row[0] for row in floods.rows] == ["fastws", "fastws, 4 together", "redis-py"]
    assert floods.rows[0][3] == "1.00"
    assert "300,000 a second" in table_text(floods)
    assert content["end_to_end"].keys() == {"one at a time", "bursts of 5"}
    assert all(one["messages"] > 0 for own in content["flooded"].values() for one in own)
