"""The outcomes of many runs as a table for people, and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from fastws import __version__
from tests.faults.scenarios.common import Scenario
from tests.faults.stage import Outcome

COLUMNS: Final = (
    "fault",
    "runs",
    "sent",
    "acked",
    "refused",
    "heard",
    "lost",
    "missed",
    "twice",
    "told",
    "fault s",
    "Redis s",
    "added s",
    "known s",
    "echo ms",
    "idle ms",
    "broken",
)
BEGIN: Final = "<!-- faults: what `make faults` has found; its table is put here -->\n"
END: Final = "<!-- faults: end -->\n"
LEGEND: Final = """\
- sent: messages that publishers began; acked: those that were acknowledged; refused: answers 113; heard: deliveries
- lost: acknowledged messages with history that a subscriber never heard and was not told of
- missed: acknowledged messages without history that somebody who was subscribed did not hear: allowed, and counted
- twice: times that a subscriber heard a message again; told: times that one was told of a gap
- fault s: how long the fault lasted; Redis s: until Redis took commands again, both from the beginning of the fault,
  median and worst of the runs
- added s: from the end of both until the last refusal, late delivery or recovery that anybody saw, the pauses that
  clients make before they connect again among them; known s: until presence and sessions were right on every node, from
  the beginning of the fault
- echo ms: the longest that any node made an echo wait; idle ms: the same of a process that has nothing else to do
- broken: runs in which a promise was broken, whichever
"""


def row(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """One line of the table."""

    def total(field: str) -> str:
        return str(sum(getattr(outcome.figures, field) for outcome in outcomes))

    def spread(values: Iterable[float]) -> str:
        listed = list(values)
        return f"{statistics.median(listed):.1f} / {max(listed):.1f}"

    return [
        name,
        str(len(outcomes)),
        *(total(field) for field in ("sent", "acked", "refused", "delivered", "lost", "missed", "duplicated", "told")),
        spread(outcome.fault_s for outcome in outcomes),
        spread(outcome.redis_s for outcome in outcomes),
        spread(outcome.added_s for outcome in outcomes),
        spread(outcome.presence_s for outcome in outcomes),
        *(f"{max(getattr(outcome, name) for outcome in outcomes) * 1000:.0f}" for name in ("echo_s", "idle_s")),
        str(sum(bool(outcome.violations) for outcome in outcomes)),
    ]


def table(results: Mapping[str, Sequence[Outcome]]) -> str:
    """In Markdown."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(row(name, runs) for name, runs in results.items() if runs)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def titles_of(scenarios: Mapping[str, Scenario], results: Mapping[str, Sequence[Outcome]]) -> str:
    """What each fault in the table is, in Markdown."""
    rows = "".join(f"| `{name}` | {scenarios[name].title} |\n" for name in results if results[name])
    return f"| name | fault |\n|---|---|\n{rows}"


def summary(results: Mapping[str, Sequence[Outcome]]) -> str:
    """All runs in a sentence."""
    outcomes = [outcome for runs in results.values() for outcome in runs]
    sent, acked, heard, lost, twice, told = (
        sum(getattr(outcome.figures, field) for outcome in outcomes)
        for field in ("sent", "acked", "delivered", "lost", "duplicated", "told")
    )
    broken = sum(bool(outcome.violations) for outcome in outcomes)
    return (
        f"In {len(outcomes)} runs {acked:,} of {sent:,} messages were acknowledged and {heard:,} heard: {lost:,} were "
        f"lost, {twice:,} heard twice, and {told:,} times somebody was told of a gap. A promise was broken in "
        f"{broken:,} runs."
    )


def put_in(
    document: Path, scenarios: Mapping[str, Scenario], results: Mapping[str, Sequence[Outcome]], command: str, date: str
) -> None:
    """Put the figures into a document, between the two comments that it has for them.

    Raises `ValueError` if it has none.
    """
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} has no place for the figures: {BEGIN.strip()} and {END.strip()}")
    head = f"`{command}`, {date}, fastws {__version__}, {machine()}.\n\n{summary(results)}\n"
    parts = (head, table(results), LEGEND, titles_of(scenarios, results))
    document.write_text(f"{before}{BEGIN}\n{chr(10).join(parts)}\n{END}{after}", encoding="utf-8")


def machine() -> str:
    """What it ran on."""
    kernel = platform.release().split("-")[0]
    return f"Python {platform.python_version()}, Linux {kernel}, {os.cpu_count()} CPUs"


def write(
    folder: Path, scenarios: Mapping[str, Scenario], results: Mapping[str, Sequence[Outcome]], command: str, date: str
) -> None:
    """`faults.md` and `faults.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    head = f"# Faults\n\n`{command}`, {date}, fastws {__version__}, {machine()}\n"
    text = f"{head}\n{table(results)}\n{LEGEND}\n{titles_of(scenarios, results)}"
    (folder / "faults.md").write_text(text, encoding="utf-8")
    listed = [
        {"scenario": name, "title": scenarios[name].title, "runs": [outcome.as_dict() for outcome in outcomes]}
        for name, outcomes in results.items()
    ]
    text = json.dumps({"command": command, "date": date, "version": __version__, "faults": listed}, indent=1)
    (folder / "faults.json").write_text(text + "\n", encoding="utf-8")
