"""Workers of one node that crash or hang."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic

from tests.faults.scenarios.common import scenario
from tests.faults.stage import Outcome, Plan, Stage
from tests.support.redis import RedisServer

WORKERS = 3
REPLACED_S = 2.0
PLAN = replace(Plan(), nodes=1, options=("--workers", str(WORKERS)))


def workers(supervisor: int) -> set[int]:
    """The processes of a supervisor that serve clients."""
    found = set()
    for task in Path(f"/proc/{supervisor}/task").iterdir():
        for child in task.joinpath("children").read_text().split():
            name = Path(f"/proc/{child}/comm").read_text().strip()
            if name.rpartition("-")[2].isdecimal():
                found.add(int(child))
    return found


@scenario("worker-crash", f"one of {WORKERS} workers of a node crashes (SIGSEGV)")
async def crash(seed: int) -> Outcome:
    """It is replaced, and its clients come back, to any of them."""
    return await _end_one("worker-crash", seed, lambda pid: os.kill(pid, signal.SIGSEGV))


@scenario("worker-kill", f"one of {WORKERS} workers of a node is killed (SIGKILL)")
async def kill(seed: int) -> Outcome:
    """The same without a core dump."""
    return await _end_one("worker-kill", seed, lambda pid: os.kill(pid, signal.SIGKILL))


async def _end_one(name: str, seed: int, end: Callable[[int], None]) -> Outcome:
    with RedisServer() as redis:
        async with Stage(name, PLAN, seed, redis=redis.url) as stage:
            supervisor = stage.nodes[0].server.pid
            before = workers(supervisor)
            async with stage.fault():
                end(stage.random.choice(sorted(before)))
            begun_s = monotonic()
            await stage.until(lambda: len(workers(supervisor) - before) == 1, 10, "another worker is there")
            took_s = monotonic() - begun_s
            stage.note(f"another worker after {took_s:.1f} s")
            if took_s > REPLACED_S:
                stage.oracle.wrong("supervisor", f"another worker was there after {took_s:.1f} s")
    return stage.outcome
