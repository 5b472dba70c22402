"""What a bench shows: a progress bar, a table, and a JSON file in `bench/results/`."""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

from bench.build import BENCH

RESULTS = BENCH / "results"
SATURATED_PERCENT = 90


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts; the first column is a name, the others are figures unless they are said to be texts."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    texts: bool = False  # the other columns are texts too, and stand left


class ProgressBar(Protocol):
    """Where scenarios tell how far they are."""

    def start(self, steps: int) -> None:
        """So many steps are to come, beside those already announced."""

    def say(self, text: str) -> None:
        """What is going on now."""

    def step(self) -> None:
        """One step is done."""


class PlainProgress:
    """A progress bar of lines on standard error, one for each thing that happens."""

    def __init__(self) -> None:
        self._steps = self._done = 0
        self._last = ""

    def start(self, steps: int) -> None:
        self._steps += steps

    def say(self, text: str) -> None:
        if text != self._last:
            print(f"[{self._done}/{self._steps}] {text}", file=sys.stderr, flush=True)
        self._last = text

    def step(self) -> None:
        self._done += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class RichProgress:
    """A progress bar on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - rich belongs to the bench extra, and may not be there
        from rich.progress import Progress  # noqa: PLC0415

        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("starting", total=None)
        self._steps = 0

    def start(self, steps: int) -> None:
        self._steps += steps
        self._bar.update(self._task, total=self._steps)

    def say(self, text: str) -> None:
        self._bar.update(self._task, description=text)

    def step(self) -> None:
        self._bar.advance(self._task)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def progress_bar() -> PlainProgress | RichProgress:
    """The bar where standard error is a terminal and rich is installed, else plain lines."""
    if sys.stderr.isatty():
        try:
            return RichProgress()
        except ImportError:
            pass
    return PlainProgress()


def table_text(table: Table) -> str:
    """The table in plain columns, as it also goes into documents."""
    rows = [list(table.columns), *(list(row) for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [table.title]
    for row in rows:
        figures = (
            cell.ljust(width) if table.texts else cell.rjust(width)
            for cell, width in zip(row[1:], widths[1:], strict=True)
        )
        lines.append("  ".join([row[0].ljust(widths[0]), *figures]).rstrip())
    lines.insert(2, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, *table.notes])


def saturated(columns: Sequence[str], row: Sequence[str]) -> str:
    """Who had no more CPU to give in a row of a table: "server", "client" or "neither"; "" where the row does not say.

    The columns are "server CPU" and "client CPU", in percent of one CPU.
    """
    try:
        server, client = (int(row[list(columns).index(f"{end} CPU")].rstrip("%")) for end in ("server", "client"))
    except ValueError:
        return ""
    return "server" if server >= SATURATED_PERCENT else "client" if client >= SATURATED_PERCENT else "neither"


def facts_text(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"{facts['cpu']}, {len(facts['cpus'])} CPUs, Linux {facts['kernel']}, Python {facts['python']}, {packages}, "
        f"extension: {facts.get('extension', 'unknown')} build, commit {facts['commit']}, "
        f"load average before: {facts['load_average']}"
    )


def save(scenario: str, content: dict[str, Any], folder: Path | None = None) -> Path:
    """Write `<date>-<scenario>.json` and return its path.

    :param folder: None: `bench/results/`.
    """
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = folder / f"{now:%Y-%m-%dT%H%M%S}-{scenario}.json"
    whole = {"scenario": scenario, "date": now.isoformat(timespec="seconds"), **content}
    path.write_text(json.dumps(whole, indent=2, default=str) + "\n", encoding="utf-8")
    return path
