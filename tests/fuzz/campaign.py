"""Runs targets one after the other, each in a process of its own, and keeps count of what they say."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.comparing import NAME as DIFFERENTIAL
from tests.fuzz.native import CACHE, ROOT

ENDLESS_TURN_S = 600
"""How long each target is fuzzed in one round of many."""

_COUNT = re.compile(r"^#(\d+)\s+\S+(?:\s+cov: (\d+) ft: (\d+))?", re.MULTILINE)
_EXECUTED = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
_WRITTEN = re.compile(r"Test unit written to (\S+)")
_INTERVAL_S = 60.0
_PATIENCE_S = 30.0


@dataclass
class Tally:
    """What one target came to, over all its turns."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    edges: int = 0
    """Code reached, as libFuzzer counts it; 0 where nothing counts."""
    features: int = 0
    findings: list[str] = field(default_factory=list)
    """Where the inputs were written, and where there is none, the log."""

    def line(self) -> str:
        """One row of the summary."""
        what = "streams" if self.name == DIFFERENTIAL else "inputs"
        reached = f"{self.edges:,} edges, {self.features:,} features" if self.edges else ""
        verdict = f"{len(self.findings)} FOUND" if self.findings else "clean"
        minutes, seconds = divmod(int(self.seconds), 60)
        return f"{self.name:17} {minutes:3}:{seconds:02}  {self.inputs:>12,} {what:8} {reached:32} {verdict}"


class Campaign:
    """Targets and how they are run."""

    def __init__(self, names: list[str], streams: int) -> None:
        self.tallies = {name: Tally(name) for name in names}
        self._streams = streams

    def run(self, driver: str, seconds: int) -> None:
        """Give every target its turn with this driver, a module; 0 seconds: turn after turn until interrupted."""
        while True:
            for tally in self.tallies.values():
                if not tally.findings:
                    self._turn(driver, tally, seconds or ENDLESS_TURN_S)
            if seconds or all(tally.findings for tally in self.tallies.values()):
                return

    def _turn(self, driver: str, tally: Tally, seconds: int) -> None:
        log = CACHE / "logs" / f"{tally.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if tally.name == DIFFERENTIAL:
            arguments = ["tests.fuzz.comparing", str(seconds), str(self._streams)]
        else:
            arguments = [driver, tally.name, str(seconds)]
        before = tally.inputs
        started_s = time.monotonic()
        say(f"{tally.name}: {seconds} s")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=ROOT, stdout=file, stderr=file, env=_environment()
            )
            interrupted = False
            try:
                self._watch(process, tally, log, before)
            except KeyboardInterrupt:
                interrupted = True
                _end(process)
            tally.seconds += time.monotonic() - started_s
        self._count(tally, log, before)
        if not interrupted and process.returncode != 0:
            written = _WRITTEN.findall(log.read_text("utf-8", "replace"))
            tally.findings += written or [f"{log} (exit status {process.returncode})"]
        say(tally.line())
        if interrupted:
            raise KeyboardInterrupt

    def _watch(self, process: "subprocess.Popen[bytes]", tally: Tally, log: Path, before: int) -> None:
        while True:
            try:
                process.wait(_INTERVAL_S)
                return
            except subprocess.TimeoutExpired:
                self._count(tally, log, before)
                say(f"  {tally.name}: {tally.inputs:,}" + (f", {tally.features:,} features" if tally.features else ""))

    def _count(self, tally: Tally, log: Path, before: int) -> None:
        text = log.read_text("utf-8", "replace")
        counts = _COUNT.findall(text)
        executed = _EXECUTED.search(text)
        latest = int(executed[1]) if executed else max((int(count) for count, _, _ in counts), default=0)
        tally.inputs = before + latest
        for _, edges, features in counts:
            tally.edges = max(tally.edges, int(edges or 0))
            tally.features = max(tally.features, int(features or 0))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)
