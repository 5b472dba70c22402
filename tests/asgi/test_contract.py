"""What the protocol promises holds under an ASGI server: the tests of the contract, against uvicorn."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.server import ROOT

PINGS = "native pings are the ASGI server's: welcome says 0, and there is no heartbeat to set"
FRAMES = "what breaks the WebSocket protocol is closed by the ASGI server, which has words of its own"
PROCESS = "it is about the process of fastws-server"
LEFT_OUT = {
    "test_commands.py::test_heartbeats_are_clamped": PINGS,
    "test_commands_and_pushes.py::test_auth_and_refresh": PINGS,
    "test_commands_and_pushes.py::test_signs_of_life": PINGS,
    "test_values.py::test_the_whole_welcome": PINGS,
    "test_close_codes.py::test_no_pong": PINGS,
    "test_close_codes.py::test_protocol": FRAMES,
    "test_close_codes.py::test_bad_utf8": FRAMES,
    "test_close_codes.py::test_drained_and_stopped_at_once": PROCESS,
    "test_close_codes.py::test_the_secret_is_nowhere": PROCESS,
}
MODULES = sorted({name.partition("::")[0] for name in LEFT_OUT} | {"test_errors.py"})
SLOW = "expired or auth_timeout"  # they wait for clocks, which are the same


@pytest.mark.timeout(600)
def test_the_contract_under_uvicorn() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.asgi.under_uvicorn", "-p", "no:cacheprovider"]
    command += ["-k", f"not ({SLOW})", *(f"--deselect=tests/contract/{name}" for name in LEFT_OUT)]
    command += [f"tests/contract/{module}" for module in MODULES]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=550)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr
