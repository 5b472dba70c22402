"""Runs Autobahn's fuzzing client, a program for Python 2.7, and reads its report."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.support.server import ROOT

WSTEST = Path(os.environ.get("FASTWS_TEST_WSTEST", ROOT / ".cache" / "autobahn" / "py27" / "bin" / "wstest"))
HOW_TO_GET_IT = "no Autobahn (it needs Python 2.7: 'pyenv install 2.7.18' or PYTHON2=..., then 'make test-packages')"
GROUPS = {
    "1": ("echo of every size", 16),
    "2": ("pings and pongs", 11),
    "3": ("reserved bits", 7),
    "4": ("reserved opcodes", 10),
    "5": ("fragmentation", 20),
    "6": ("UTF-8", 145),
    "7": ("closing", 37),
    "9": ("limits and performance", 54),
    "10": ("auto-fragmentation", 1),
    "12": ("deflate", 90),
    "13": ("deflate with parameters", 126),
}
CORE = ("1", "2", "3", "4", "5", "6", "7", "10")
# NON-STRICT: right, but later than it could be. INFORMATIONAL: the case has no right answer.
ACCEPTED = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})
AGENT = "fastws"


class CaseResult(NamedTuple):
    """The verdicts on one case: on what was said, on how it was closed, and the suite's own words about the first."""

    case: str
    behavior: str
    behavior_close: str
    explanation: str

    @property
    def group(self) -> str:
        """The number of the group: "6" for "6.4.1"."""
        return self.case.partition(".")[0]

    @property
    def passed(self) -> bool:
        """Whether both verdicts are among the accepted ones."""
        return {self.behavior, self.behavior_close} <= ACCEPTED


def run_suite(url: str, groups: Iterable[str], directory: Path, timeout: float) -> list[CaseResult]:
    """Run every case of `groups` against the WebSocket echo at `url`, one after the other.

    :param directory: where the program may write; the report with the wire log of each case stays in it.
    :param timeout: seconds for all of them.
    :raises AssertionError: the program failed or wrote no report.
    """
    reports = directory / "reports"
    specification = {
        "outdir": str(reports),
        "servers": [{"agent": AGENT, "url": url}],
        "cases": [f"{group}.*" for group in groups],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (directory / "fuzzingclient.json").write_text(json.dumps(specification), encoding="ascii")
    result = subprocess.run(
        [str(WSTEST), "--mode", "fuzzingclient", "--spec", "fuzzingclient.json"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    index = reports / "index.json"
    assert index.exists(), f"wstest exited {result.returncode}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    verdicts = json.loads(index.read_text(encoding="utf-8"))[AGENT]
    return [
        CaseResult(case, verdict["behavior"], verdict["behaviorClose"], explanation(reports / verdict["reportfile"]))
        for case, verdict in sorted(verdicts.items(), key=lambda item: [int(part) for part in item[0].split(".")])
    ]


def explanation(report: Path) -> str:
    """The suite's words about one case, from its report."""
    details = json.loads(report.read_text(encoding="utf-8", errors="replace"))
    return f"{details['result']} / {details['resultClose']}"
