"""What is made of many runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import report
from tests.faults.oracle import Figures
from tests.faults.playing import load
from tests.faults.stage import Outcome
from tests.support.server import ROOT

RESULTS = {
    "node-kill": [
        Outcome("node-kill", 1, Figures(sent=1200, acked=1100, delivered=9000), fault_s=1.0),
        Outcome("node-kill", 2, Figures(sent=100, acked=100, lost=3), fault_s=3.0, violations=[("lost", "three")]),
    ],
    "churn": [],
}


def test_a_row_for_each_fault_that_was_played() -> None:
    head, line, row = report.table(RESULTS).splitlines()
    assert head.count("|") == line.count("|") == row.count("|")
    assert row.startswith("| node-kill | 2 | 1300 | 1200 | 0 | 9000 | 3 |")
    assert "| 2.0 / 3.0 |" in row
    assert row.endswith("| 1 |")


def test_figures_are_put_between_the_comments_of_a_document(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text(f"before\n{report.BEGIN}of last year\n{report.END}after\n")
    for _ in range(2):
        report.put_in(document, load(), RESULTS, "make faults", "2026-01-01")
        text = document.read_text()
        assert text.startswith(f"before\n{report.BEGIN}")
        assert text.endswith(f"{report.END}after\n")
        assert "of last year" not in text
        assert "In 2 runs 1,200 of 1,300 messages were acknowledged" in text
        assert text.count("| node-kill |") == 1
        assert "| `node-kill` | a node is killed" in text


def test_a_document_without_a_place_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "other.md"
    document.write_text("nothing\n")
    with pytest.raises(ValueError, match="no place"):
        report.put_in(document, load(), RESULTS, "make faults", "2026-01-01")
    assert document.read_text() == "nothing\n"


def test_the_document_has_a_place() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert text.count(report.BEGIN) == text.count(report.END) == 1


def test_all_figures_are_kept(tmp_path: Path) -> None:
    report.write(tmp_path, load(), RESULTS, "make faults", "2026-01-01")
    kept = json.loads((tmp_path / "faults.json").read_text())
    assert [run["figures"]["sent"] for run in kept["faults"][0]["runs"]] == [1200, 100]
    assert "node-kill" in (tmp_path / "faults.md").read_text()
