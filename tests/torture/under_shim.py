"""Tests that run in a process of their own, under the shim."""

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from tests.fastws_ext.harness import run
from tests.torture.shim import ROOT, Shim, own_shim, prepared_shim

TIMEOUT_S = 100.0

ShimTest = Callable[[Shim], Coroutine[Any, Any, None]]


def run_under_shim(*arguments: str, timeout_s: float = TIMEOUT_S) -> str:
    """Run a module of Python (`arguments` are its name and arguments) under the shim; what it prints.

    :raises AssertionError: it did not exit with 0.
    """
    with prepared_shim() as (environment, _):
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    assert done.returncode == 0, f"{arguments} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def under_shim(test: ShimTest) -> Callable[[], None]:
    """Make a test of a coroutine function, which runs on uvloop in a process of its own with the shim aimed at it."""

    @functools.wraps(test)
    def run_test() -> None:
        run_under_shim("tests.torture.under_shim", test.__module__, test.__name__)

    run_test.scenario = test  # type: ignore[attr-defined]
    del run_test.__wrapped__  # whose parameter is no fixture
    return run_test


def main() -> None:
    """Called in the process of its own."""
    module, name = sys.argv[1:]
    shim = own_shim()
    shim.aim(os.getpid())
    run("reactor", functools.partial(getattr(importlib.import_module(module), name).scenario, shim))


if __name__ == "__main__":
    main()
