"""Workers of one node that crash, or are replaced."""

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


@scenario("workers-reload", f"the {WORKERS} workers of a node are replaced, one after the other (SIGHUP)")
async def reload(seed: int) -> Outcome:
    """Nobody is refused or reset; those who were with the old ones are sent to the new ones."""
    with RedisServer() as redis:
        plan = replace(PLAN, drain_timeout_s=6)
        async with Stage("workers-reload", plan, seed, redis=redis.url) as stage:
            supervisor = stage.nodes[0].server.pid
            before = workers(supervisor)
            async with stage.fault():
                os.kill(supervisor, signal.SIGHUP)
                await stage.until(lambda: _are_replaced(supervisor, before), 90, "all workers have been replaced")
            codes = {code for at_s, _, code in stage.world.closes if at_s >= stage.fault_began_s}
            if codes != {1012}:
                stage.oracle.wrong("reload", f"connections were closed with {sorted(codes)}")
    return stage.outcome


def _are_replaced(supervisor: int, before: set[int]) -> bool:
    now = workers(supervisor)
    return len(now) == WORKERS and not now & before
