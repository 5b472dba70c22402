"""What the protocol promises holds on Redis: the tests of what clients say and hear, with every server on one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.on_redis import VARIABLE
from tests.support.redis import redis_binary
from tests.support.server import ROOT

MODULES = ("commands", "commands_and_pushes", "errors", "presence", "values")
"""What an engine has a part in. The others are about sockets, or on Redis anyway."""


@pytest.mark.timeout(600)
@pytest.mark.memory("everything is on Redis already")
def test_the_contract_on_redis() -> None:
    redis_binary()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"tests/contract/test_{module}.py" for module in MODULES]
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | {VARIABLE: "1"}, capture_output=True, text=True, check=False, timeout=550
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr
