"""Peers and handlers that do anything at any moment; at the end nothing may be left of them.

FASTWS_TEST_TORTURE_S is the time in seconds for each kind of transport, and FASTWS_TEST_TORTURE_SEED the first of the
numbers that the choices are drawn with. Worth running on a build with sanitizers (`make sanitize`) after every change
of how connections live and die. `tests/torture` does the same while system calls fail.
"""

import os

import pytest

from tests.torture.rounds import torture
from tests.torture.servers import KINDS

SECONDS = float(os.environ.get("FASTWS_TEST_TORTURE_S", "1.5"))
SEED = int(os.environ.get("FASTWS_TEST_TORTURE_SEED", "1"))


@pytest.mark.timeout(SECONDS * 3 + 120)
@pytest.mark.parametrize("kind", KINDS)
def test_torture(kind: str) -> None:
    assert torture(kind, SEED, SECONDS)["opened"] > 0
