"""docs/configuration.md is what the declarations say."""

from pathlib import Path

from fastws.config import NAMESPACE_KEYS, OPTIONS
from fastws.config.docs import render

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render(), "run: python -m fastws.config.docs > docs/configuration.md"


def test_it_has_a_row_for_every_setting() -> None:
    text = render()
    for option in OPTIONS.values():
        assert f"| `{option.variable}` |" in text
    for key in NAMESPACE_KEYS:
        assert f"| `{key}` |" in text


def test_every_row_has_as_many_cells_as_the_head() -> None:
    rows = [line.replace("\\|", "") for line in render().splitlines() if line.startswith("| `")]
    assert {row.count("|") for row in rows} == {7, 5}
