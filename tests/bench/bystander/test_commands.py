"""`python -m bench bystander` and `soak`: tables, files, and an exit code that says whether it passed."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import report, servers
from bench.bystander import commands
from bench.bystander.loads import LOADS
from bench.soaking.verdict import Check


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def bystander(*arguments: str) -> Result:
    return CliRunner().invoke(commands.bystander_command, ["--load", "half-open heads", "--seconds", "0.3", *arguments])


def test_a_load_that_is_borne(results: Path) -> None:
    result = bystander()
    assert "half-open heads" in result.output
    (path,) = results.glob("*-bystander.json")
    content = json.loads(path.read_text())
    assert content["options"]["loads"] == ["half-open heads"]
    assert (result.exit_code == 0) is content["results"]["holds"]


def test_a_bar_that_does_not_hold_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.bystander.watch.MOST_MS", -1.0)
    monkeypatch.setitem(LOADS, "half-open heads", lambda *_: nullcontext())
    result = bystander("--attempts", "2")
    assert result.exit_code == 1
    assert "bystanders wait too long" in result.output


def test_a_server_that_does_not_start_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "fastws", lambda *_, **__: servers.Server("fastws", ["false"]))
    for command in (commands.bystander_command, commands.soak_command):
        result = CliRunner().invoke(command, [])
        assert result.exit_code == 1
        assert "Error: fastws: false does not listen" in result.output


def test_a_short_soak(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.scenarios.soak.verdict", lambda *_: [Check("everything", "bad", "good", False)])
    monkeypatch.setattr("bench.scenarios.soak.CYCLE", {"quiet": commands.soak.quiet})
    monkeypatch.setattr("bench.scenarios.soak.CYCLES", 1)
    result = CliRunner().invoke(commands.soak_command, ["--minutes", "0.01", "--connections", "100"])
    assert result.exit_code == 1
    assert "the soak did not pass" in result.output
    (path,) = results.glob("*-soak.json")
    content = json.loads(path.read_text())
    assert content["options"] == {"minutes": 0.01, "connections": 100}
    assert content["results"]["samples"]
    assert [picture.stem for picture in results.glob("*.png")] in ([], [path.stem])
