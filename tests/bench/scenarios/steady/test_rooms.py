"""The rooms scenario, made very short, and how it looks for a rate."""

from typing import Any

import pytest

from bench import roster, servers
from bench.load import Latency, LoadError, LoadResult, Span
from bench.report import PlainProgress, Table
from bench.scenarios import turns
from bench.scenarios.steady import rooms
from tests.bench.windows import long_enough

FEW = {"users": 20, "room_size": 5, "p99_ms": 10_000.0, "rounds": 1, "seconds": 0.2, "refinements": 1}


def result(p99_ms: float, count: int = 1) -> LoadResult:
    span = Span(1.0, 100, 100, 0.5, 0.5, Latency(count, *([p99_ms * 1000] * 6)))
    return LoadResult("rooms", 1, 1, 1, 0, span, span, {"all": 0}, "")


def up_to(limit: float, tried: list[float]) -> Any:
    def attempt(rate: float) -> rooms.Step:
        tried.append(rate)
        return rooms.Step(rate, result(1.0 if rate <= limit else 100.0), 20.0)

    return attempt


@pytest.mark.parametrize("start", [1.0, 100.0, 700.0, 50_000.0])
def test_the_highest_rate_is_found_from_anywhere(start: float) -> None:
    tried: list[float] = []
    best = rooms.highest(up_to(700.0, tried), start, 5)
    assert best.kept
    assert 700 / 2 ** (1 / 32) <= best.rate <= 700
    assert len(tried) < 20


def test_a_server_that_keeps_no_rate_is_said_to() -> None:
    with pytest.raises(LoadError, match="p99 is 100 ms at"):
        rooms.highest(up_to(1.0, []), 500.0, 2)


def test_a_rate_without_a_limit_is_not_looked_for_forever() -> None:
    assert rooms.highest(up_to(float("inf"), []), 500.0, 2).rate <= rooms.MOST_RATE


def test_a_step_is_kept_when_something_was_heard_in_time() -> None:
    assert rooms.Step(1.0, result(20.0), 20.0).kept
    assert not rooms.Step(1.0, result(20.1), 20.0).kept
    assert not rooms.Step(1.0, result(1.0, count=0), 20.0).kept
    assert not rooms.Step(1.0, None, 20.0).kept


def happened(results: dict[str, Any]) -> bool:
    """Whether each server had the time to do something, and to do it as fast as was asked for."""
    rounds = [one["run"] for own in results["rounds"].values() for one in own]
    return all(run["server_cpu_s"] for run in rounds) and set(map(tuple, results["rates"].values())) == {(100.0,)}


def test_a_table_of_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "FIRST_RATE", 50.0)
    monkeypatch.setattr(rooms, "MOST_RATE", 150.0)

    def measured(seconds: float) -> tuple[Table, dict[str, Any]]:
        options = rooms.RoomsOptions(**FEW | {"seconds": seconds}, peers=("c_epoll", "uvicorn"))  # type: ignore[arg-type]
        return rooms.run(options, PlainProgress())

    table, results = long_enough(measured, lambda found: happened(found[1]), 0.3)
    assert "20 users, 4 rooms" in table.title
    assert [row[0] for row in table.rows] == ["fastws", "c_epoll"]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert table.rows[1][3] == "1.000 (1.000 to 1.000)"
    assert results["rates"] == {"fastws": [100.0], "c_epoll": [100.0]}
    assert {"per_cpu_second", "per_second", "ours_per_cpu_second"} == set(results["ratios"])


def test_a_peer_that_fails_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt(users: rooms.Users, rate: float) -> rooms.Step:
        if users._load_options["path"] != rooms.FASTWS.path:
            raise LoadError("thrown out")
        return rooms.Step(rate, result(1.0), 20.0)

    monkeypatch.setattr(rooms.Users, "attempt", attempt)
    table, results = rooms.run(rooms.RoomsOptions(**FEW), PlainProgress())  # type: ignore[arg-type]
    assert [row[0] for row in table.rows] == ["fastws"]
    assert results["failures"] == {"c_epoll": "thrown out"}
    assert "c_epoll failed: thrown out" in table.notes


def test_users_who_were_thrown_out_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    options = rooms.RoomsOptions(**FEW)  # type: ignore[arg-type]
    with servers.peer("c_epoll") as server, rooms.Users("c_epoll", server, {0}, options) as users:
        whole, steps = rooms.Load.step, iter([LoadError("thrown out")])

        def step(load: rooms.Load, *arguments: float) -> LoadResult:
            for error in steps:
                raise error
            return whole(load, *arguments)

        monkeypatch.setattr(rooms.Load, "step", step)
        assert users.attempt(50.0).kept
        users.leave()


@pytest.mark.parametrize(
    ("waits", "windows"),
    [([0.0] * 9, rooms.WINDOWS), ([0.5] * 9, rooms.MOST_WINDOWS), ([0.5, 0.0, 0.5, 0.0, 0.0, 0.0], 5)],
)
def test_windows_in_which_somebody_had_no_cpu_are_tried_more_often(
    waits: list[float], windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter(waits)
    tried: list[float] = []

    def window(_: rooms.Users, rate: float) -> tuple[LoadResult, float]:
        tried.append(rate)
        return result(100.0), next(asked)

    monkeypatch.setattr(rooms.Users, "_window", window)
    options = rooms.RoomsOptions(p99_ms=20.0)
    assert not rooms.Users(turns.OURS, servers.Server("some", []), {0}, options).attempt(50.0).kept
    assert len(tried) == windows


def test_peers_without_rooms_are_left_out() -> None:
    silent = next(peer.name for peer in roster.everyone() if peer.rooms is None)
    assert rooms.able([silent, "c_epoll"]) == ["c_epoll"]
    with pytest.raises(KeyError, match=silent):
        rooms.load_options(silent, rooms.RoomsOptions())


def test_a_server_that_is_told_the_size_is_told_the_right_one() -> None:
    options = rooms.RoomsOptions()
    assert rooms.load_options("nats", options)["publish"] == "PUB room.{room} 128\r\n{payload}\r\n"
    assert rooms.load_options(turns.OURS, options)["rooms"] == 1000
