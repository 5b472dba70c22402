"""Every server has its turn in every round."""

import dataclasses
import json

import pytest

from bench import servers
from bench.load import LoadError, LoadResult, read_result
from bench.report import PlainProgress, Spread
from bench.scenarios import turns
from tests.bench.windows import long_enough

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


def test_a_round_without_anything_to_divide_by_is_left_out() -> None:
    results = {"ours": [result(90), result(40)], "limit": [result(0), result(50)], "none": [result(0), result(0)]}
    figures = turns.ratios(results, lambda one: one.run.messages, "limit")
    assert figures == {"ours": Spread(0.8, 0.8, 0.8), "limit": Spread(1, 1, 1), "none": Spread(0, 0, 0)}
    assert turns.ratios(results, lambda one: one.run.messages, "none")["ours"] == Spread(0, 0, 0)
    assert result(0, server_cpu_s=0).run.per_cpu_second(5) == 0


def test_a_server_that_waited_is_named() -> None:
    results = {"busy": [result(90, 0.95)], "waiting": [result(90, 0.2), result(90, 0.95), result(90, 0.5)]}
    (note,) = turns.idle_notes(results, lambda one: one.run)
    assert note.startswith("not busy all the time: waiting 50%;")


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
    order = [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert order == ["fastws", "c_epoll", "c_epoll", "fastws"]


def test_the_cpu_of_each_server_is_counted() -> None:
    def measured(seconds: float) -> dict[str, list[LoadResult]]:
        options = {"connections": 2, "seconds": seconds, "warmup": 0}
        return turns.in_turns("echo", ["c_epoll"], 1, PlainProgress(), options)

    results = long_enough(measured, lambda found: all(one.run.server_cpu_s > 0 for (one,) in found.values()), 0.2)
    assert list(results) == ["fastws", "c_epoll"]


def test_each_server_may_have_options_of_its_own() -> None:
    options = {"fastws": {"connections": 3}, "c_epoll": {"connections": 5}}
    results = turns.in_turns("connect", ["c_epoll"], 1, PlainProgress(), options.__getitem__)
    assert {name: own[0].connected for name, own in results.items()} == {"fastws": 3, "c_epoll": 5}


def test_a_bystander_visits_only_those_that_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = servers.peer

    def mute(name: str, *, cpus: set[int] | None = None) -> servers.Server:
        server = whole(name, cpus=cpus)
        server.echo = False
        return server

    monkeypatch.setattr(servers, "peer", mute)
    options = {"connections": 2, "seconds": 0.6, "warmup": 0}
    results = turns.in_turns("echo", ["c_epoll"], 1, PlainProgress(), options, bystander=True)
    assert {name: one.bystander is not None for name, (one,) in results.items()} == {"fastws": True, "c_epoll": False}


@pytest.fixture
def peers_of_all_kinds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One that works, one that does not start, one that has no such endpoint."""
    whole = servers.peer

    def peer(name: str, *, cpus: set[int] | None = None) -> servers.Server:
        if name == "not starting":
            return servers.Server(name, ["false"])
        server = servers.fastws(cpus=cpus) if name == "without echo" else whole(name, cpus=cpus)
        server.path = "/nowhere" if name == "without echo" else server.path
        return server

    monkeypatch.setattr(servers, "peer", peer)
    return ["not starting", "without echo", "c_epoll"]


def test_a_peer_that_fails_is_named_and_the_others_go_on(peers_of_all_kinds: list[str]) -> None:
    failures: dict[str, str] = {}
    results = turns.in_turns("connect", peers_of_all_kinds, 2, PlainProgress(), {"connections": 2}, failures)
    assert {name: len(own) for name, own in results.items()} == {"fastws": 2, "c_epoll": 2}
    assert "does not listen" in failures["not starting"]
    assert "404" in failures["without echo"]


def test_nobody_asked_for_failures_so_they_are_raised(peers_of_all_kinds: list[str]) -> None:
    with pytest.raises(servers.ServerError):
        turns.in_turns("connect", peers_of_all_kinds[:1], 1, PlainProgress(), {"connections": 2})


def test_a_failure_of_our_own_is_always_raised() -> None:
    with pytest.raises(LoadError):
        turns.in_turns("connect", ["c_epoll"], 1, PlainProgress(), {"connections": 2, "path": "/nowhere"}, {})
