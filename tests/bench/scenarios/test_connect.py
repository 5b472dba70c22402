"""The connect scenario, made very short."""

from bench.report import PlainProgress
from bench.scenarios import connect


def test_all_upgrades_of_each_server_are_counted() -> None:
    options = connect.ConnectOptions(connections=200, concurrency=20, rounds=1)
    table, results = connect.run(options, PlainProgress())
    assert [row[0] for row in table.rows] == ["fastws", "c_epoll"]
    for own in results["rounds"].values():
        assert own[0]["connected"] == 200
        assert own[0]["connect"]["latency"]["count"] == 200
