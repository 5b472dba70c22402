"""The documents as blocks: what stands between fences, and what is noted about it in the comment before.

A note is an HTML comment on the line before the fence, which readers do not see:

    <!-- not run: REASON -->              the block cannot be executed
    <!-- prints: LINE -->                 what a program has to print; several notes, several lines, in this order
    <!-- clients: ann 42, guest -->       who talks: names, with the user of the token or without one
"""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

NOTES = frozenset({"not run", "prints", "clients"})

_FENCE = re.compile(r"^( *)```(\S*) *$")
_NOTE = re.compile(r"^ *<!-- ([a-z ]+): (.*?) -->$")
_NAME = re.compile(r"^(?:#|//|<!--) ([\w./-]+\.[a-z]+)(?: -->)?$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    """Of the opening fence, from 1."""
    language: str
    text: str
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """For messages of errors: `docs/guide/connect.md:17`."""
        return f"{self.page}:{self.line}"

    @property
    def file_name(self) -> str:
        """The file that its first line names (`# chat.py`); empty if that is no such comment."""
        named = _NAME.match(self.text.partition("\n")[0])
        return named[1] if named else ""

    def note(self, name: str) -> str:
        """The last note of that name; empty if there is none."""
        return self.notes.get(name, [""])[-1]


def written_pages() -> list[str]:
    """Every page that people wrote, by its path from the root."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "guide").glob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in paths]


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """The blocks of a page in their order.

    :raises AssertionError: a fence is not closed, or a note is none of those above.
    """
    found: list[Block] = []
    notes: dict[str, list[str]] = {}
    lines = iter(enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if (note := _NOTE.match(line)) and note[1] in NOTES:
            notes.setdefault(note[1], []).append(note[2])
        elif opened := _FENCE.match(line):
            text = []
            for _, inner in lines:
                if inner.strip() == "```":
                    break
                text.append(inner.removeprefix(opened[1]))
            else:
                raise AssertionError(f"{page}:{number}: the fence is not closed")
            found.append(Block(page, number, opened[2], "\n".join(text) + "\n", notes))
            notes = {}
        elif line.strip():
            assert not notes, f"{page}:{number}: a note stands before something that is no block"
    return tuple(found)
