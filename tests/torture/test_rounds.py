"""Servers of every kind under random faults, peers, handlers and witnesses.

FASTWS_TEST_TORTURE_S is the time in seconds for each kind, FASTWS_TEST_TORTURE_SEED the seed of the first round. What
failed names the seed of its round: `FASTWS_TEST_TORTURE_SEED=17 make test TESTS="-k torture"` begins with that one.
"""

import json
import os

import pytest

from tests.torture.shim import CALLS
from tests.torture.under_shim import run_under_shim

SECONDS = float(os.environ.get("FASTWS_TEST_TORTURE_S", "3"))
SEED = int(os.environ.get("FASTWS_TEST_TORTURE_SEED", "1"))
LONG_S = 4.0  # by then everything has happened


@pytest.mark.timeout(SECONDS * 3 + 120)
@pytest.mark.parametrize("kind", ["reactor", "uvloop"])
def test_torture_under_faults(kind: str) -> None:
    printed = run_under_shim("tests.torture.rounds", kind, str(SEED), str(SECONDS), timeout_s=SECONDS * 3 + 90)
    figures = json.loads(printed)
    print(json.dumps(figures, indent=1))
    assert figures["opened"] > 0
    assert figures["told"]
    if SECONDS >= LONG_S:
        met = {name.split()[0] for name in figures["faults"]}
        assert met >= (set(CALLS) - {"epoll_ctl", "shutdown"} if kind == "reactor" else {"recv", "send"})
