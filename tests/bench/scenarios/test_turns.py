"""Every server has its turn in every round."""

import dataclasses
import json

import pytest

from bench.load import LoadResult, read_result
from bench.report import PlainProgress, Spread
from bench.scenarios import turns

LATENCY = '{"count":1,"mean":1,"p50":1,"p90":1,"p99":1,"p999":1,"max":1}'
SPAN = '"seconds":1,"messages":%d,"bytes":1,"server_cpu_s":1,"client_cpu_s":1'


def result(messages: int, server_cpu_s: float = 1) -> LoadResult:
    one = read_result(
        '{"mode":"echo","connections":1,"connected":1,"processes":1,"pings":0,'
        f'"connect":{{{SPAN % 0},"handshake_us":{LATENCY}}},"run":{{{SPAN % messages},"latency_us":{LATENCY}}},'
        '"failures":{"all":0},"first_failure":""}'
    )
    return dataclasses.replace(one, run=dataclasses.replace(one.run, server_cpu_s=server_cpu_s))


def test_ratios_are_taken_inside_a_round() -> None:
    results = {"ours": [result(90), result(40)], "limit": [result(100), result(50)]}
    ratios = turns.ratios(results, lambda one: one.run.messages, "limit")
    assert ratios == {"ours": Spread(pytest.approx(0.85), 0.8, 0.9), "limit": Spread(1, 1, 1)}


def test_a_server_that_waited_is_named() -> None:
    results = {"busy": [result(90, 0.95)], "waiting": [result(90, 0.2), result(90, 0.95), result(90, 0.5)]}
    (note,) = turns.idle_notes(results, lambda one: one.run)
    assert note.startswith("waiting was busy for 50% of the time")


def test_everything_goes_into_the_file() -> None:
    results = {"ours": [result(90)]}
    content = turns.as_json(results, by_clock=turns.ratios(results, lambda one: one.run.messages, "ours"))
    assert json.loads(json.dumps(content)) == {
        "rounds": {"ours": [dataclasses.asdict(result(90))]},
        "ratios": {"by_clock": {"ours": {"median": 1, "low": 1, "high": 1}}},
    }


def test_rounds_go_back_and_forth(capsys: pytest.CaptureFixture[str]) -> None:
    results = turns.in_turns("echo", ["c_epoll"], 2, PlainProgress(), {"connections": 2, "seconds": 0.1, "warmup": 0})
    assert {name: len(own) for name, own in results.items()} == {"fastws": 2, "c_epoll": 2}
    assert all(one.run.server_cpu_s > 0 for own in results.values() for one in own)
    order = [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert order == ["fastws", "c_epoll", "c_epoll", "fastws"]
