"""`python -m bench`: options, and errors as messages."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import gate, report, roster, servers
from bench.__main__ import main
from bench.scenarios import footprint


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def test_help_names_the_scenarios() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in ("echo", "connect", "footprint"))


def test_a_table_and_a_file(results: Path) -> None:
    arguments = ["echo", "--rounds", "1", "--seconds", "0.2", "--connections", "3", "--size", "5"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "echo: 3 connections, 5 B binary" in result.output
    (path,) = results.glob("*-echo.json")
    content = json.loads(path.read_text())
    assert content["options"]["size"] == 5
    assert str(path) in result.output


@pytest.mark.parametrize("arguments", [["echo", "--peers", "nobody"], ["footprint", "--peers", "nobody"]])
def test_an_unknown_peer_is_wrong_usage(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "no peer 'nobody'; there are: " in result.output


def test_a_server_that_does_not_start_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "fastws", lambda *_args, **_options: servers.Server("fastws", ["false"]))
    result = CliRunner().invoke(main, ["connect", "--connections", "5", "--rounds", "1"])
    assert result.exit_code == 1
    assert "Error: fastws: false does not listen" in result.output


def test_footprint_beside_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "GATEWAY_PING_S", 0.2)
    result = CliRunner().invoke(main, ["footprint", "--connections", "50", "--batches", "1"])
    assert result.exit_code == 0, result.output
    for name in ("fastws  ", "fastws gateway  ", "c_epoll  "):
        assert f"\n{name}" in result.output


def test_peers_that_fail_although_all_is_there_are_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(roster, "PEERS", tmp_path)
    assert CliRunner().invoke(main, ["peers"]).exit_code == 0
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "peer.toml").write_text('title = "Some"\nstart = "x"\nbuild = "false"\n')
    result = CliRunner().invoke(main, ["peers"])
    assert result.exit_code == 1
    assert "failed: exit code 1" in result.output
    assert "not ready although all they need is here: some" in result.output


@pytest.mark.parametrize(("baseline", "code"), [(0.0, 0), (99.0, 1)])
def test_the_exit_code_of_the_gate(monkeypatch: pytest.MonkeyPatch, baseline: float, code: int) -> None:
    monkeypatch.setattr(gate, "ROUNDS", 1)
    monkeypatch.setattr(gate, "ATTEMPTS", 1)
    monkeypatch.setattr(gate, "CHECKS", (gate.Check("echo", 1, baseline),))
    result = CliRunner().invoke(main, ["gate"])
    assert result.exit_code == code, result.output
    assert ("below the floor" in result.output) is bool(code)
    assert ("git bisect run make gate" in result.output) is bool(code)
