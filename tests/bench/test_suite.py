"""All scenarios in one run: what is planned, the time that is left, faults that stay where they are."""

import json
from pathlib import Path

import pytest

from bench import suite
from bench.load import LoadError
from bench.report import PlainProgress, ProgressBar, Table
from bench.reporting import plots
from bench.scenarios.echo import EchoOptions
from tests.bench.reporting.sample import content


def part(key: str, fault: Exception | None = None, steps: int = 2) -> suite.Part:
    def run(progress: ProgressBar) -> suite.Measured:
        progress.start(1)
        progress.say("under way")
        progress.step()
        if fault is not None:
            raise fault
        return Table(key, ("server",), [["fastws"]]), {"figure": 1}

    return suite.Part(key, f"part {key}", EchoOptions(), run, steps, 1.0)


@pytest.mark.parametrize("quick", [True, False])
def test_every_scenario_is_planned_and_is_short_enough_to_wait_for(quick: bool) -> None:
    parts = suite.plan(["c_epoll", "websockets"], quick=quick)
    keys = [one.key for one in parts]
    assert len(set(keys)) == len(keys)
    assert {"echo", "echo16", "connect", "footprint", "fanout", "rooms", "slow", "variants"} <= set(keys)
    assert quick or {
        "echo-1k",
        "echo-500",
        "echo-text",
        "echo-500-1k",
        "echo-1k-text",
        "echo16-text",
        "cluster",
    } <= set(keys)
    alike = [one for one in parts if one.key not in ("footprint", "rooms", "slow")]
    assert all(one.options.rounds >= (3 if quick else 5) for one in alike)
    assert sum(one.seconds for one in parts) < (300 if quick else 1800)


def test_a_part_that_fails_does_not_take_the_others_with_it() -> None:
    parts = [part("a"), part("b", LoadError("7 failures")), part("c", ZeroDivisionError("a fault")), part("d")]
    found = suite.run(parts, PlainProgress())
    assert [one["results"] for one in found["parts"]] == [{"figure": 1}, {}, {}, {"figure": 1}]
    errors = [one["error"] for one in found["parts"]]
    assert errors[0] == errors[3] == ""
    assert errors[1] == "7 failures"
    assert errors[2].endswith("ZeroDivisionError: a fault\n")
    assert json.loads(json.dumps(found))["parts"][0]["tables"][0]["rows"] == [["fastws"]]


def test_the_time_left_follows_the_pace(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    parts = [part("a"), part("b")]
    whole = suite.WholeProgress(PlainProgress(), parts, lambda: now)
    assert whole.left_s() == 4
    whole.begin(parts[0])
    now = 3.0
    whole.step()
    assert whole.left_s() == 9
    whole.say("one")
    whole.end()
    assert whole.left_s() == 3
    whole.begin(parts[1])
    for _ in range(5):
        whole.step()
    assert whole.left_s() == 0
    whole.end()
    assert capsys.readouterr().err == "[1/4] part a: one; 0:09 left\n"


def test_a_report_is_a_page_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths, problem = suite.write_report(content(), tmp_path / "some.json")
    assert problem == ""
    assert [path.name for path in paths] == [
        *(f"some-{key}.png" for key in ("echo", "connect", "footprint", "fanout", "rooms", "slow")),
        "some.html",
    ]
    assert paths[-1].read_text().count("data:image/png") == 6


def test_a_report_without_matplotlib_has_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bars(*_: object) -> bytes:
        raise plots.NoPlotsError("no matplotlib")

    monkeypatch.setattr(plots, "bars", bars)
    paths, problem = suite.write_report(content(), tmp_path / "some.json")
    assert ([path.name for path in paths], problem) == (["some.html"], "no matplotlib")
