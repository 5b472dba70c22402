"""Plays faults, several times each with other seeds, and counts what came of them.

One line for each run while they go on, a table at the end. Exits 1 if a promise was broken in any run. What cannot be
played on this machine is skipped by name. A run can be repeated with its name, its seed and `--runs 1`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.faults import report
from tests.faults.playing import attempt, load
from tests.faults.stage import Outcome

FOLDER: Final = Path(__file__).resolve().parents[2] / ".cache" / "reports"
SHOWN: Final = 12


def say(outcome: Outcome) -> None:
    """One line of a run, and what was wrong in it."""
    figures = outcome.figures
    print(
        f"{outcome.scenario} seed {outcome.seed}: sent {figures.sent} acked {figures.acked} refused {figures.refused} "
        f"heard {figures.delivered} lost {figures.lost} missed {figures.missed} twice {figures.duplicated} "
        f"told {figures.told}; fault {outcome.fault_s:.1f} s, Redis {outcome.redis_s:.1f} s, "
        f"added {outcome.added_s:.1f} s, known {outcome.presence_s:.1f} s, "
        f"echo {outcome.echo_s * 1000:.0f} ms, answer {figures.worst_answer_s:.1f} s",
        *outcome.notes,
        sep="\n  ",
        flush=True,
    )
    for kind, text in outcome.violations[:SHOWN]:
        print(f"  BROKEN {kind}: {text[:600]}", flush=True)
    if len(outcome.violations) > SHOWN:
        print(f"  BROKEN and {len(outcome.violations) - SHOWN} more", flush=True)


def main() -> int:
    """See the module."""
    scenarios = load()
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        epilog="faults:\n" + "".join(f"  {name:<22}{known.title}\n" for name, known in scenarios.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="the first letters of some faults; all by default")
    parser.add_argument("--runs", type=int, default=0, help="of each; by default as many as the scenario says")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the others follow")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time; more make nodes late")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="gets faults.md, faults.json and logs of broken runs"
    )
    parser.add_argument(
        "--document", type=Path, help="gets the table too, between its comments, when all that was asked for has run"
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if not any(known.startswith(name) for known in scenarios)]
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}")
    chosen = [name for name in scenarios if not options.names or any(map(name.startswith, options.names))]
    results: dict[str, list[Outcome]] = {name: [] for name in chosen}
    options.folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "-m", "tests.faults", *sys.argv[1:]])
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        runs = [
            (name, pool.submit(attempt, name, seed))
            for name in chosen
            for seed in range(options.seed, options.seed + (options.runs or scenarios[name].runs))
        ]
        for name, run in runs:
            outcome = run.result()
            if isinstance(outcome, str):
                print(f"{name}: skipped: {outcome}", flush=True)
                continue
            say(outcome)
            results[name].append(outcome)
            if outcome.log:
                (options.folder / f"{name}-{outcome.seed}.log").write_text(outcome.log, encoding="utf-8")
            date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
            report.write(options.folder, scenarios, results, command, date)
    if options.document:
        report.put_in(options.document, scenarios, results, command, datetime.now(UTC).strftime("%Y-%m-%d"))
    print(f"\n{report.table(results)}\n{report.LEGEND}")
    return int(any(outcome.violations for runs in results.values() for outcome in runs))


if __name__ == "__main__":
    sys.exit(main())
