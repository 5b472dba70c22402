"""Masters that die, and replicas that take their place: Sentinel and Cluster."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from tests.faults.scenarios.common import scenario, until_redis_answers
from tests.faults.stage import Outcome, Plan, Stage
from tests.support.cluster import ClusterFleet
from tests.support.sentinel import SentinelFleet

PLAN = Plan(may_lose=True)
PARTITIONS = 256


async def _sentinel(name: str, seed: int, *, stop: bool) -> Outcome:
    with SentinelFleet() as fleet:
        async with Stage(name, PLAN, seed, redis=fleet.url) as stage:
            old = await asyncio.to_thread(lambda: fleet.master)
            async with stage.fault():
                if stop:
                    old.pause()
                else:
                    await asyncio.to_thread(old.stop)
                new = await asyncio.to_thread(fleet.wait_for_switch, old)
                await until_redis_answers(stage, lambda: new.ask("SET", "probe", 1, timeout=0.5))
            await stage.load(2.0)
            if stop:
                old.resume()  # and still takes itself for the master, until the sentinels tell it
                await stage.load(3.0)
    return stage.outcome


@scenario("sentinel-kill", "Sentinel: the master is killed, a replica takes over")
async def sentinel_kill(seed: int) -> Outcome:
    """What had not reached the replica is lost."""
    return await _sentinel("sentinel-kill", seed, stop=False)


@scenario("sentinel-stop", "Sentinel: the master stands still, is replaced, and wakes up as a master")
async def sentinel_stop(seed: int) -> Outcome:
    """The connections to the old one stay open all the time."""
    return await _sentinel("sentinel-stop", seed, stop=True)


@scenario("cluster-kill", "Cluster: a master is killed, its replica takes over")
async def cluster_kill(seed: int) -> Outcome:
    """A third of the topics is away meanwhile, the others go on."""
    with ClusterFleet() as fleet:
        async with Stage("cluster-kill", replace(PLAN, kept=9), seed, redis=fleet.url) as stage:
            slot = await asyncio.to_thread(fleet.slot_of, f"{{{stage.random.randrange(PARTITIONS)}}}")
            old = await asyncio.to_thread(fleet.master_of, slot)
            async with stage.fault():
                await asyncio.to_thread(old.stop)
                new = await asyncio.to_thread(fleet.wait_for_takeover, slot, old)
                key = await asyncio.to_thread(_key_of, fleet, slot)
                await until_redis_answers(stage, lambda: new.ask("SET", key, 1, timeout=0.5))
            await stage.load(1.0)
    return stage.outcome


@scenario("cluster-failover", "Cluster: a master and its replica change places (CLUSTER FAILOVER)")
async def cluster_failover(seed: int) -> Outcome:
    """Planned, so that nothing is lost."""
    with ClusterFleet() as fleet:
        async with Stage("cluster-failover", replace(PLAN, kept=9, may_lose=False), seed, redis=fleet.url) as stage:
            master = stage.random.choice(await asyncio.to_thread(lambda: fleet.masters))
            async with stage.fault(of_redis=True):
                await asyncio.to_thread(fleet.fail_over, master)
    return stage.outcome


@scenario("cluster-migration", "Cluster: slots move to another master under load")
async def cluster_migration(seed: int) -> Outcome:
    """Keys, scripts and sharded channels of topics in use."""
    with ClusterFleet() as fleet:
        async with Stage("cluster-migration", replace(PLAN, kept=9, may_lose=False), seed, redis=fleet.url) as stage:
            async with stage.fault(of_redis=True):
                moved = await asyncio.to_thread(_move_some, fleet, stage.random)
            stage.note(f"{moved} keys moved in 4 slots")
    return stage.outcome


def _move_some(fleet: ClusterFleet, rng: random.Random) -> int:
    """Move slots with topics in them."""
    busy: set[int] = set()
    for server in fleet.masters:
        channels = server.ask("PUBSUB", "SHARDCHANNELS")
        assert isinstance(channels, list)
        busy |= {fleet.slot_of(channel) for channel in channels}
    moved = 0
    for slot in rng.sample(sorted(busy), 4):
        others = [server for server in fleet.masters if server is not fleet.master_of(slot)]
        moved += fleet.migrate(slot, rng.choice(others))
    return moved


def _key_of(fleet: ClusterFleet, slot: int) -> bytes:
    """A key in a slot."""
    for number in range(PARTITIONS):
        if fleet.slot_of(f"{{{number}}}probe") == slot:
            return b"{%d}probe" % number
    raise AssertionError(f"no partition is in the slot {slot}")
