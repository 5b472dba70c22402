"""The outcomes of many runs as a table for people, and as JSON."""

from __future__ import annotations

import json
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
LEGEND: Final = """\
- sent: messages that publishers began; acked: those that were acknowledged; refused: answers 113; heard: deliveries
- lost: acknowledged messages with history that a subscriber never heard and was not told of
- missed: acknowledged messages without history that somebody subscribed did not hear (at most once is the promise)
- twice: times that a subscriber heard a message again; told: times that one was told of a gap (`recovered: false`)
- fault s: how long the fault lasted; Redis s: until Redis took commands again, both from the beginning of the fault
- added s: from the end of both until the last refusal, late delivery or recovery; known s: until presence and sessions
  were right everywhere, from the beginning of the fault. Median and worst of the runs
- echo ms: the longest that any node made an echo wait; idle ms: the same of a process that has nothing else to do, so
  that the machine makes everybody wait; broken: runs in which a promise was broken
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


def write(
    folder: Path, scenarios: Mapping[str, Scenario], results: Mapping[str, Sequence[Outcome]], command: str, date: str
) -> None:
    """`faults.md` and `faults.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    titles = "".join(f"- `{name}`: {scenarios[name].title}\n" for name in results if results[name])
    machine = f"Python {platform.python_version()}, {platform.platform()}"
    head = f"# Faults\n\n`{command}`, {date}, fastws {__version__}, {machine}\n"
    (folder / "faults.md").write_text(f"{head}\n{table(results)}\n{LEGEND}\n{titles}", encoding="utf-8")
    listed = [
        {"scenario": name, "title": scenarios[name].title, "runs": [outcome.as_dict() for outcome in outcomes]}
        for name, outcomes in results.items()
    ]
    text = json.dumps({"command": command, "date": date, "version": __version__, "faults": listed}, indent=1)
    (folder / "faults.json").write_text(text + "\n", encoding="utf-8")
