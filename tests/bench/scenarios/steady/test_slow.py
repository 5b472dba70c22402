"""The scenario of slow readers, made very short, and what it computes."""

import pytest

from bench.load import Latency
from bench.report import PlainProgress
from bench.scenarios.steady import slow


def latency(p99_ms: float) -> Latency:
    return Latency(1, *([p99_ms * 1000] * 6))


def slowed(without: float, beside: float) -> slow.Slowed:
    return slow.Slowed(latency(without), latency(beside), 1000, 0)


def test_readers_notice_little_or_wait_little() -> None:
    assert slowed(10.0, 12.0).holds
    assert not slowed(10.0, 12.1).holds
    assert slowed(0.1, 5.0).holds
    assert not slowed(0.0, 5.1).ratio


def test_most_rounds_decide() -> None:
    good, bad = slowed(10.0, 10.0), slowed(10.0, 20.0)
    assert slow.holds([good, good, bad])
    assert not slow.holds([good, bad, bad])
    assert not slow.holds([good, bad])


@pytest.mark.parametrize(
    "policies",
    [
        ["fastws conflate"],
        pytest.param(["fastws disconnect", "fastws drop_oldest", "fastws conflate"], marks=pytest.mark.slow),
    ],
)
def test_a_row_for_each_policy_and_peer(policies: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "FASTWS", {name: slow.FASTWS[name] for name in policies})
    options = slow.SlowOptions(
        subscribers=20, stopped=4, rate=400.0, max_outbox=32768, rounds=1, seconds=0.5, peers=("c_epoll", "uvicorn")
    )
    table, results = slow.run(options, PlainProgress())
    names = [*policies, "c_epoll"]
    assert [row[0] for row in table.rows] == names
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert not results["failures"]
    closed = {name: results["slowed"][name]["rounds"][0]["closed"] for name in names}
    # On a machine that is busy with other things not everyone's outbox may be full in time.
    assert closed.pop("fastws disconnect", 4) > 0
    assert not any(closed.values())
    for name in names:
        assert results["slowed"][name]["p99_ms"]["median"] > 0


def test_readers_of_each_policy_hear_a_topic_of_its_namespace() -> None:
    told = slow.load_options("fastws conflate", slow.SlowOptions())
    assert '"conflate:bench"' in str(told["subscribe"])
    assert told["stalled"] == 100
    assert slow.load_options("nats", slow.SlowOptions())["publish"] == "PUB room.{room} 1024\r\n{payload}\r\n"
