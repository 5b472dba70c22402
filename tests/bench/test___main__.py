"""`python -m bench`: options, and errors as messages."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import gate, measure, report, roster, servers, suite
from bench.__main__ import main
from bench.report import ProgressBar, Table
from bench.scenarios import fanout, footprint
from bench.scenarios.steady import rooms, slow
from tests.bench.reporting.sample import content


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


def test_steady_scenarios_have_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    table = Table("some table", ("server",), [["fastws"]])

    def run(options: object, _: ProgressBar) -> suite.Measured:
        asked.append(options)
        return table, {}

    monkeypatch.setattr(rooms, "run", run)
    monkeypatch.setattr(slow, "run", run)
    for arguments in (["rooms", "--users", "50", "--quick"], ["slow", "--subscribers", "50", "--share", "0.2"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert "some table" in result.output
    assert asked == [
        rooms.RoomsOptions(users=50, rounds=1, seconds=0.5, peers=("c_epoll",)),
        slow.SlowOptions(subscribers=50, stopped=10, peers=("c_epoll",)),
    ]


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
    for name in ("fastws  ", "fastws gateway  ", "fastws authenticated  ", "c_epoll  "):
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
    monkeypatch.setattr(measure, "extension_build", lambda: measure.RELEASE)
    monkeypatch.setattr(gate, "ROUNDS", 1)
    monkeypatch.setattr(gate, "ATTEMPTS", 1)
    monkeypatch.setattr(gate, "CHECKS", (gate.Check("echo", gate.ECHO, {"connections": 10}, baseline),))
    result = CliRunner().invoke(main, ["gate"])
    assert result.exit_code == code, result.output
    assert ("below the floor" in result.output) is bool(code)
    assert ("git bisect run make gate" in result.output) is bool(code)


@pytest.mark.parametrize("build", ["debug", "sanitize", "unknown"])
def test_a_build_that_is_no_release_is_pointed_out_and_the_gate_does_not_judge_it(
    monkeypatch: pytest.MonkeyPatch, build: str
) -> None:
    monkeypatch.setattr(measure, "extension_build", lambda: build)
    monkeypatch.setattr(roster, "names", list)
    result = CliRunner().invoke(main, ["peers"])
    assert result.exit_code == 0
    assert f"NO RELEASE BUILD of fastws_ext, but: {build}. " in result.output
    monkeypatch.setattr(gate, "CHECKS", ())
    result = CliRunner().invoke(main, ["gate"])
    assert result.exit_code == (0 if build == measure.UNKNOWN else 1)
    assert ("only a release build is judged" in result.output) is (build != measure.UNKNOWN)


def test_everything_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "QUICK_ROUNDS", 1)
    monkeypatch.setattr(suite, "QUICK_SECONDS", 0.3)
    folder = tmp_path / "out"
    arguments = ["all", "--quick", "--peers", "c_epoll", "--only", "echo16", "--output", str(folder)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "what was to be reached" in result.output
    (path,) = folder.glob("*-all.json")
    assert [part["key"] for part in json.loads(path.read_text())["parts"]] == ["echo16"]
    page = path.with_suffix(".html")
    assert "16 in flight" in page.read_text()
    page.unlink()
    assert CliRunner().invoke(main, ["report", str(path)]).exit_code == 0
    assert page.exists()


def test_a_part_that_there_is_not_is_wrong_usage(results: Path) -> None:
    result = CliRunner().invoke(main, ["all", "--quick", "--peers", "c_epoll", "--only", "echo16,ecco"])
    assert result.exit_code == 2
    assert "no part ecco; there are: echo, echo16, " in result.output
    assert not list(results.iterdir())


def test_a_part_that_fails_is_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "fastws", lambda *_args, **_options: servers.Server("fastws", ["false"]))
    arguments = ["all", "--quick", "--peers", "c_epoll", "--only", "echo16", "--output", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "false does not listen" in result.output
    assert list(tmp_path.glob("*.html"))


def test_a_plot_of_some_parts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "all.json").write_text(json.dumps(content()))
    plot = ["plot", str(tmp_path / "all.json"), "-o", str(tmp_path / "images" / "peers.png"), "--for"]
    result = CliRunner().invoke(main, [*plot, "echo,fanout,footprint"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "images" / "peers.png").read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(main, [*plot, "nothing"])
    assert result.exit_code == 2
    assert "there are: echo, connect, fanout-1000x10" in result.output


@pytest.mark.parametrize("size", [fanout.LEAST_SIZE - 1, fanout.MOST_SIZE + 1])
def test_publications_that_nobody_can_measure(size: int) -> None:
    result = CliRunner().invoke(main, ["fanout", "--size", str(size)])
    assert result.exit_code == 2
    assert f"Invalid value for '--size': {size} is not in the range {fanout.LEAST_SIZE}<=x<=65000" in result.output


def test_servers_inherit_all_the_descriptors_there_may_be() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        assert CliRunner().invoke(main, ["peers", "--help"]).exit_code == 0
        code = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told.split() == [str(measure.descriptor_limit())] * 2


def test_numbers_that_are_none() -> None:
    result = CliRunner().invoke(main, ["fanout", "--burst", "1,x"])
    assert result.exit_code == 2
    assert "'1,x' is not numbers" in result.output
