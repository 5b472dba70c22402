"""Pieces of Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

GENERATED = "<!-- Generated from the code by `make docs`. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line break at its end."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def prose(docstring: str | None) -> str:
    """A docstring as Markdown: fields become a list, indented blocks after `::` code."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    written: list[str] = []
    code: list[str] = []
    in_code = False
    for line in lines:
        if in_code and (line.startswith("    ") or not line):
            code.append(line[4:])
            continue
        if in_code:
            written += _fence(code)
            code, in_code = [], False
        if line.endswith("::"):
            in_code = True
            if line != "::":
                written.append(line[:-1])
            continue
        field = re.match(r":(param|raises|return|returns)(?: ([\w*]+))?: (.*)$", line)
        if field:
            if written and written[-1] and not written[-1].startswith(("- ", "  ")):
                written.append("")
            kind, name, text = field.groups()
            begun = {"param": f"- `{name}`:", "raises": f"- raises `{name}`:"}.get(kind, "- returns")
            written.append(f"{begun} {text}")
        elif line.startswith("    ") and written and written[-1].startswith(("- ", "  ")):
            written.append(f"  {line.strip()}")
        else:
            written.append(line)
    if in_code:
        written += _fence(code)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(written).strip()) + "\n"


def _fence(code: list[str]) -> list[str]:
    text = "\n".join(code).strip("\n")
    return ["", "```python", text, "```", ""]
