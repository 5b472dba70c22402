"""What `make fuzz` runs: drivers, the campaign over them, and what becomes of a finding."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.differential.streams import Stream
from tests.fuzz import __main__ as command
from tests.fuzz import campaign, comparing, findings, guided, mutating
from tests.fuzz.campaign import Campaign
from tests.fuzz.targets import load


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing of a real campaign is touched."""
    monkeypatch.setattr(campaign, "CACHE", tmp_path)
    monkeypatch.setattr(comparing, "CACHE", tmp_path)
    monkeypatch.setattr(comparing, "_NEXT", tmp_path / "next-stream")
    monkeypatch.setattr(findings, "FOLDER", tmp_path / "findings")
    monkeypatch.setattr(findings, "REGRESSIONS", tmp_path / "regressions")
    return tmp_path


def refuse_x(data: bytes) -> None:
    """A target with a fault."""
    if b"x" in data:
        raise RuntimeError("x")


def test_a_target_runs_without_atheris(capsys: pytest.CaptureFixture[str]) -> None:
    runs = Campaign(["topics"], 0)
    runs.run("tests.fuzz.mutating", 1)
    tally = runs.tallies["topics"]
    assert tally.inputs >= 500
    assert not tally.findings
    assert command.summary(runs) == 0
    assert "clean" in capsys.readouterr().out


def test_a_driver_that_fails_is_a_finding(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    runs = Campaign(["topics"], 0)
    runs.run("tests.fuzz.there_is_no_such_driver", 0)  # a target that was broken gets no further turn
    assert runs.tallies["topics"].findings == [f"{cache}/logs/topics.log (exit status 1)"]
    assert command.summary(runs) == 1
    assert "1 FOUND" in capsys.readouterr().out


def test_what_libfuzzer_says_is_counted(cache: Path) -> None:
    runs = Campaign(["frames"], 0)
    log = cache / "frames.log"
    log.write_text("#2\tINITED cov: 5 ft: 6 corp: 1/1b\n#1200\tNEW    cov: 7 ft: 9 corp: 2/3b\n")
    tally = runs.tallies["frames"]
    runs._count(tally, log, 1000)
    assert (tally.inputs, tally.edges, tally.features) == (2200, 7, 9)
    with log.open("a") as file:
        file.write("stat::number_of_executed_units: 1300\n")
    runs._count(tally, log, 1000)
    assert tally.inputs == 2300


def test_a_fault_is_written_down_as_short_as_it_can_be(
    monkeypatch: pytest.MonkeyPatch, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = SimpleNamespace(run=refuse_x, WORDS=(b"..x..",), MAX_BYTES=100)
    monkeypatch.setattr(mutating, "load", lambda _name: target)
    monkeypatch.setattr(sys, "argv", ["", "topics", "60"])
    assert mutating.main() == mutating.FOUND
    (written,) = (cache / "findings" / "topics").iterdir()
    assert written.read_bytes() == b"x"
    assert f"Test unit written to {written}" in capsys.readouterr().err


def test_a_finding_can_be_kept(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = findings.write("topics", b"\nprice\n")
    assert command.main(["--keep", "topics", str(file), "price"]) == 0
    assert (cache / "regressions" / "topics" / "price.txt").read_text() == "\\n\nprice\\n\n"
    assert "passes now" in capsys.readouterr().out
    assert command.main(["--keep", "nothing", str(file), "price"]) == 2


def test_shrinking_keeps_the_type_of_the_error() -> None:
    assert findings.shrink(refuse_x, b"ab" * 50 + b"x" + b"cd" * 50) == b"x"
    assert findings.shrink(refuse_x, b"abc") == b"abc"


def test_streams_are_compared_once(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    seen: list[int] = []
    monkeypatch.setattr(comparing, "_BATCH", 10)
    monkeypatch.setattr(comparing, "check", lambda _rig, stream: seen.append(stream.number))
    monkeypatch.setattr(sys, "argv", ["", "0", "15"])
    assert comparing.main() == 0
    assert comparing.main() == 0
    assert seen == list(range(40))


def test_a_stream_that_makes_a_difference_is_named(
    monkeypatch: pytest.MonkeyPatch, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(_rig: object, stream: Stream) -> None:
        assert stream.number < 7

    monkeypatch.setattr(comparing, "check", check)
    monkeypatch.setattr(sys, "argv", ["", "0", "15"])
    assert comparing.main() == comparing.FOUND
    assert "FOUND stream 7" in capsys.readouterr().err


def test_unknown_targets_are_wrong_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.main(["frame"]) == 2
    assert "frames" in capsys.readouterr().out
    monkeypatch.setenv("FUZZ_MINUTES", "soon")
    assert command.main(["frames"]) == 2
    with pytest.raises(ValueError, match="there is no target"):
        load("frame")


def test_words_are_quoted_for_libfuzzer() -> None:
    assert guided._quoted(b'a"\\\n\xff') == "a\\x22\\x5c\\x0a\\xff"


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_atheris_drives_a_target() -> None:
    command_line = [sys.executable, "-m", "tests.fuzz.guided", "topics", "1"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command_line, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "stat::number_of_executed_units" in done.stderr
    assert "Instrumenting fastws.core.topics" in done.stderr
