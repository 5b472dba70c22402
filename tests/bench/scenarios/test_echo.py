"""The echo scenario, made very short."""

from typing import Any

from bench.report import PlainProgress, Table
from bench.scenarios import echo
from tests.bench.windows import long_enough


def test_a_row_for_each_server_with_the_peer_as_one() -> None:
    def measured(seconds: float) -> tuple[Table, dict[str, Any]]:
        options = echo.EchoOptions(connections=4, size=16, inflight=2, rounds=1, seconds=seconds, text=True)
        return echo.run(options, PlainProgress())

    table, results = long_enough(measured, _happened, 0.3)
    assert [row[0] for row in table.rows] == ["fastws", "c_epoll"]
    assert table.rows[1][3] == "1.000 (1.000 to 1.000)"
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert "16 B text, 2 in flight" in table.title
    assert len(results["rounds"]["fastws"]) == 1
    assert any("with all in flight" in note for note in table.notes)


def _happened(found: tuple[Table, dict[str, Any]]) -> bool:
    """Whether each server has answered something, for which it took a time that can be measured."""
    runs = [one["run"] for own in found[1]["rounds"].values() for one in own]
    return all(run["messages"] and run["server_cpu_s"] for run in runs)


def test_latency_is_taken_at_a_rate_below_what_the_server_can_do() -> None:
    options = echo.EchoOptions(connections=4, rounds=1, seconds=0.5)
    table, results = echo.run(options, PlainProgress())
    for name, rounds in results["rounds"].items():
        assert results["rates"][name] == max(1, 0.5 * rounds[0]["run"]["messages"] / rounds[0]["run"]["seconds"])
        assert len(results["latency_us"][name]) == 1
    assert any("from when a message was due" in note for note in table.notes)


def test_a_run_without_rounds_at_a_rate_has_the_latencies_of_those_that_it_has() -> None:
    options = echo.EchoOptions(connections=4, rounds=1, seconds=0.5, peers=(), at_a_rate=False)
    table, results = echo.run(options, PlainProgress())
    assert results["latency_us"]["fastws"] == [results["rounds"]["fastws"][0]["run"]["latency"]]
    assert any("with all in flight" in note for note in table.notes)


def test_without_peers_the_server_is_its_own_measure() -> None:
    options = echo.EchoOptions(connections=4, rounds=1, seconds=0.2, peers=())
    table, _ = echo.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["fastws"]


def test_a_peer_that_does_not_echo_is_left_out() -> None:
    options = echo.EchoOptions(connections=4, rounds=1, seconds=0.2, peers=("nats", "c_epoll"))
    table, results = echo.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["fastws", "c_epoll"]
    assert results["failures"] == {}
