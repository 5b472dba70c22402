"""What the documents say is what the code does."""

import re
from pathlib import Path

from fastws import closes

ROOT = Path(__file__).resolve().parent.parent
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = PROTOCOL.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_error_codes() -> None:
    expected = [
        [str(code), error.reason, "yes" if error.temporary else ""] for code, error in sorted(closes.ERRORS.items())
    ]
    assert rows("Error codes") == expected


def test_close_codes() -> None:
    expected = [[str(code), close.reason, closes.meaning_of(code)] for code, close in sorted(closes.CLOSES.items())]
    assert rows("Close codes") == expected


def test_make_targets_are_documented() -> None:
    text = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) - {"help", "run", "clean"}
    assert not [target for target in described if f"`make {target}" not in text]
