"""The echo scenario, made very short."""

from bench.report import PlainProgress
from bench.scenarios import echo


def test_a_row_for_each_server_with_the_peer_as_one() -> None:
    options = echo.EchoOptions(connections=4, size=16, inflight=2, rounds=1, seconds=0.2, text=True)
    table, results = echo.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["fastws", "c_epoll"]
    assert table.rows[1][3] == "1.000 (1.000 to 1.000)"
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert "16 B text, 2 in flight" in table.title
    assert results["ratios"]["per_cpu_second"]["fastws"]["median"] > 0
    assert len(results["rounds"]["fastws"]) == 1


def test_without_peers_the_server_is_its_own_measure() -> None:
    options = echo.EchoOptions(connections=4, rounds=1, seconds=0.2, peers=())
    table, _ = echo.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["fastws"]
