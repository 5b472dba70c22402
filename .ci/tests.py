"""Runs the whole test suite in two calls of pytest and closes with one summary of both.

First everything that bears company, on two processes; then, one after the other, what measures (memory, time) or keeps
both cores busy itself. Arguments are given to both calls. Exits 0 only if both found something to run and all passed.
"""

import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".cache" / "reports"
CALLS = (
    ("together", ["-n", "2", "--dist", "loadfile", "-m", "not alone and not conformance and not browser"]),
    ("alone", ["-m", "alone or conformance or browser"]),
)
NOTHING_COLLECTED = 5


def run(name: str, options: list[str], arguments: list[str]) -> tuple[int, Path]:
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *options, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode, report


def count(report: Path) -> dict[str, int]:
    if not report.exists():
        return {"errors": 1}
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for key in totals:
            totals[key] += int(suite.get(key, "0"))
    return totals


def main() -> int:
    REPORTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    sums = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    codes = []
    for name, options in CALLS:
        code, report = run(name, options, sys.argv[1:])
        codes.append(code)
        if code != NOTHING_COLLECTED:
            for key, number in count(report).items():
                sums[key] += number
    passed = sums["tests"] - sums["failures"] - sums["errors"] - sums["skipped"]
    parts = [f"{sums['failures']} failed"] if sums["failures"] else []
    parts += [f"{passed} passed"]
    parts += [f"{sums['skipped']} skipped"] if sums["skipped"] else []
    parts += [f"{sums['errors']} errors"] if sums["errors"] else []
    print(f" {', '.join(parts)} in {time.monotonic() - started:.2f}s ".center(100, "="), flush=True)
    bad = [code for code in codes if code not in (0, NOTHING_COLLECTED)]
    return bad[0] if bad else (0 if passed else NOTHING_COLLECTED)


if __name__ == "__main__":
    sys.exit(main())
