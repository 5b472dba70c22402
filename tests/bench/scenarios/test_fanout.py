"""The fan-out scenario, made very short."""

from typing import Any

import pytest

from bench import roster
from bench.load import Latency, LoadResult, Span
from bench.report import PlainProgress, Table
from bench.scenarios import fanout, turns
from bench.scenarios.comparison import Comparison
from tests.bench.windows import long_enough


def test_a_table_for_each_number_of_subscribers_and_burst() -> None:
    def measured(seconds: float) -> tuple[list[Table], dict[str, Any]]:
        options = fanout.FanoutOptions(subscribers=(5, 8), bursts=(3,), rounds=1, seconds=seconds, peers=("c_epoll",))
        return fanout.run(options, PlainProgress())

    tables, results = long_enough(measured, lambda found: all(_happened(own) for own in found[1].values()), 0.4)
    assert [table.title.partition(",")[0] for table in tables] == [f"fanout: {n} subscribers" for n in (5, 8)]
    assert list(results) == ["5x3", "8x3"]
    for table in tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert [row[0] for row in table.rows] == ["fastws", "c_epoll"]
        assert table.rows[1][3] == "1.000 (1.000 to 1.000)"
        assert all(float(row[8]) >= 0 for row in table.rows)


def _happened(results: dict[str, Any]) -> bool:
    """Whether each server has spread something in each round, beside a bystander."""
    return all(
        one["run"]["latency"]["count"] and one["run"]["server_cpu_s"] and one["bystander"] and one["bystander"]["count"]
        for own in results["rounds"].values()
        for one in own
    )


def a_round(bursts: int) -> LoadResult:
    span = Span(1.0, 100, 100, 0.5, 0.5, Latency(bursts, *([2000.0 * bool(bursts)] * 6)))
    return LoadResult("fanout", 1, 1, 1, 0, span, span, {"all": 0}, "")


@pytest.mark.parametrize(("bursts", "cell"), [((0, 0, 0), "-"), ((0, 5, 0), "2.0"), ((5, 5, 5), "2.0")])
def test_no_time_is_told_of_bursts_that_did_not_come_to_their_end(bursts: tuple[int, ...], cell: str) -> None:
    results = {turns.OURS: [a_round(number) for number in bursts]}
    compared = Comparison.of(results, [], {}, fanout.per_cpu_second, fanout.per_second)
    assert fanout._row(turns.OURS, compared)[6:8] == [cell, cell]


def test_peers_that_do_not_spread_are_left_out() -> None:
    silent = next(peer.name for peer in roster.everyone() if peer.fanout is None)
    with pytest.raises(KeyError, match=silent):
        fanout.load_options(silent)
    options = fanout.FanoutOptions(subscribers=(2,), bursts=(1,), rounds=1, seconds=0.2, peers=(silent,))
    ((table,), _) = fanout.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["fastws"]


def test_a_server_that_is_told_the_size_of_a_publication_is_told_the_right_one() -> None:
    for size in (fanout.SIZE, fanout.LEAST_SIZE):
        told = fanout.load_options("nats", size)
        assert told["publish"] == f"PUB bench {size}\r\n{{payload}}\r\n"
        assert told["size"] == size
    assert "{size}" not in str(fanout.load_options(turns.OURS)["publish"])


@pytest.mark.parametrize("size", [fanout.LEAST_SIZE, fanout.MOST_SIZE])
def test_the_smallest_and_the_largest_publication(size: int) -> None:
    def measured(seconds: float) -> tuple[list[Table], dict[str, Any]]:
        options = fanout.FanoutOptions(subscribers=(2,), bursts=(1,), size=size, rounds=1, seconds=seconds)
        return fanout.run(options, PlainProgress())

    ((table,), _) = long_enough(measured, lambda found: _happened(found[1]["2x1"]), 0.4)
    assert f"{size} B" in table.title
