"""What a bench prints and writes."""

import json
from pathlib import Path

import pytest

from bench import measure, report


def test_spread_of_rounds() -> None:
    spread = report.Spread.of([3.0, 1.0, 2.0])
    assert spread == report.Spread(2.0, 1.0, 3.0)
    assert f"{spread:.1f}" == "2.0 (1.0 to 3.0)"


def test_table_lines_up() -> None:
    table = report.Table("title", ("name", "figure"), [("a", "1"), ("long name", "1,000")], ["a note"])
    assert report.table_text(table).splitlines() == [
        "title",
        "name       figure",
        "---------  ------",
        "a               1",
        "long name   1,000",
        "a note",
    ]


def test_texts_stand_left() -> None:
    table = report.Table("title", ("name", "state"), [("a", "ready"), ("b", "no")], texts=True)
    assert report.table_text(table).splitlines()[-1] == "b     no"


def test_file_names_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    path = report.save("echo", {"options": {"size": 64}, "machine": measure.machine_facts(), "results": {}})
    content = json.loads(path.read_text())
    assert path.name.endswith("-echo.json")
    assert content["options"] == {"size": 64}
    assert {"python", "packages", "kernel", "cpu", "commit", "sysctls"} <= set(content["machine"])
    assert content["machine"]["packages"]["uvloop"] in report.facts_text(content["machine"])


def test_plain_progress_says_a_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    with report.PlainProgress() as progress:
        progress.start(2)
        progress.say("first")
        progress.say("first")
        progress.step()
        progress.say("second")
    assert capsys.readouterr().err.splitlines() == ["[0/2] first", "[1/2] second"]


def test_what_is_announced_later_comes_on_top(capsys: pytest.CaptureFixture[str]) -> None:
    with report.PlainProgress() as progress:
        progress.start(1)
        progress.step()
        progress.start(2)
        progress.say("more")
    assert capsys.readouterr().err == "[1/3] more\n"


@pytest.mark.parametrize(
    ("cells", "who"),
    [(["98%", "99%"], "server"), (["60%", "97%"], "client"), (["60%", "70%"], "neither"), (["-", "-"], "")],
)
def test_who_was_busy(cells: list[str], who: str) -> None:
    assert report.saturated(["server", "server CPU", "client CPU"], ["name", *cells]) == who
    assert report.saturated(["server"], ["name"]) == ""


def test_a_folder_of_one_s_own(tmp_path: Path) -> None:
    assert report.save("all", {}, tmp_path / "new").parent == tmp_path / "new"
