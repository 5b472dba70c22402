"""What was answered as stored is at a replica (--min-replicas), and so survives the master."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from tests.faults.scenarios.common import scenario, until_redis_answers
from tests.faults.stage import Outcome, Plan, Stage
from tests.support.redis import RedisServer
from tests.support.sentinel import SentinelFleet

# What was not acknowledged may be lost though it was heard, and is heard again when it is repeated.
PLAN: Final = Plan(may_lose=True)


async def _lagging(name: str, plan: Plan, seed: int) -> tuple[Outcome, int]:
    """The only replica hears nothing any more, the master goes on, and dies; the replica takes over.

    Answers also how many of the acknowledged messages with history are not there afterwards.
    """
    with SentinelFleet(replicas=1) as fleet:
        async with Stage(name, plan, seed, redis=fleet.url) as stage:
            old = await asyncio.to_thread(lambda: fleet.master)
            (new,) = await asyncio.to_thread(lambda: fleet.replicas)
            async with stage.fault():
                new.pause()
                await asyncio.to_thread(old.kill_clients, "replica")  # nothing more is on its way to it
                await stage.load(stage.random.uniform(0.3, 3.0))
                await asyncio.to_thread(old.stop)
                new.resume()
                await asyncio.to_thread(fleet.wait_for_switch, old)
                await until_redis_answers(stage, lambda: new.ask("SET", "probe", 1, timeout=0.5))
                await stage.load(stage.random.uniform(0.3, 2.0))
                await asyncio.to_thread(fleet.restart, old)
                await asyncio.to_thread(fleet.wait_until_whole)
        lost = await asyncio.to_thread(_not_kept, stage, new)
    stage.note(f"{len(lost)} of the acknowledged messages with history are not there any more")
    return stage.outcome, len(lost)


def _not_kept(stage: Stage, redis: RedisServer) -> list[str]:
    """Acknowledged messages with history that Redis does not have, or not where their publishers were told."""
    lost = []
    for topic in stage.kept:
        names = redis.ask("KEYS", f"*:h:{topic}")
        assert isinstance(names, list)
        entries = redis.ask("XRANGE", names[0], "-", "+") if names else []
        assert isinstance(entries, list)
        kept = {int(number.partition(b"-")[0]): fields[1] for number, fields in entries}
        for sending in stage.oracle.sendings.values():
            if sending.topic == topic and sending.position is not None:
                envelope = kept.get(sending.position[1], b"")
                if f'"{sending.id}"'.encode() not in envelope:
                    lost.append(sending.id)
    return lost


@scenario("sentinel-replicas", "Sentinel: a replica that lags takes over, with --min-replicas 1")
async def safe(seed: int) -> Outcome:
    """Nothing acknowledged is lost, however far the replica is behind."""
    outcome, lost = await _lagging("sentinel-replicas", replace(PLAN, options=("--min-replicas", "1")), seed)
    if lost or outcome.figures.lost:
        outcome.violations.append(("lost", f"{lost} acknowledged messages, and {outcome.figures.lost} were not heard"))
    if not outcome.figures.refused:
        outcome.violations.append(("harness", "the replica never lagged"))
    return outcome


@scenario("sentinel-lag", "Sentinel: the same without --min-replicas")
async def unsafe(seed: int) -> Outcome:
    """What the replica had not heard is lost, and everybody is told."""
    outcome, _ = await _lagging("sentinel-lag", PLAN, seed)
    return outcome
