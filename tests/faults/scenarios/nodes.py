"""Nodes that are killed, stopped, drained, starved and put into another time."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from time import monotonic

from tests.faults.clients import Client
from tests.faults.clock import Clock
from tests.faults.nodes import signal_name
from tests.faults.scenarios.common import scenario
from tests.faults.stage import Outcome, Plan, Stage
from tests.support.redis import RedisServer

PLAN = Plan()
DESCRIPTORS = 320
"""Of which a quarter is a reserve for links, files and the admin address."""
CYCLES = 10_000


@scenario("node-kill", "a node is killed (SIGKILL), and comes back")
async def kill(seed: int) -> Outcome:
    """Some of its clients go for good: others have to learn of it."""
    with RedisServer() as redis:
        plan = replace(PLAN, nodes=3, stays=0.1)
        async with Stage("node-kill", plan, seed, redis=redis.url) as stage:
            async with stage.fault():
                node = stage.random.choice(stage.nodes)
                node.kill()
            await stage.load(0.5)
            await stage.until_known()
            await stage.load(stage.random.uniform(0.0, plan.lease_s))
            await node.start()
    return stage.outcome


async def _freeze(name: str, seconds: float, seed: int) -> Outcome:
    with RedisServer() as redis:
        async with Stage(name, replace(PLAN, nodes=3), seed, redis=redis.url) as stage:
            node = stage.random.choice(stage.nodes)
            for number, client in enumerate(stage.clients):
                if number % 7 < 3:
                    client.patience_s = 0  # has to be told what it has missed; others go to another node
            async with stage.fault():
                node.freeze()
                await stage.load(seconds)
                node.thaw()
    return stage.outcome


@scenario("node-freeze-5", "a node stands still for 5 s (SIGSTOP), less than its lease of 6 s")
async def freeze_5(seed: int) -> Outcome:
    """Nobody takes it for dead."""
    return await _freeze("node-freeze-5", 5, seed)


@scenario("node-freeze-15", "a node stands still for 15 s: it is taken for dead, and comes back")
async def freeze_15(seed: int) -> Outcome:
    """It finds itself fenced."""
    return await _freeze("node-freeze-15", 15, seed)


@scenario("node-freeze-40", "a node stands still for 40 s")
async def freeze_40(seed: int) -> Outcome:
    """The same, much later."""
    return await _freeze("node-freeze-40", 40, seed)


@scenario("node-freeze-ban", "a node stands still past its lease; users who are on it are thrown out meanwhile")
async def freeze_ban(seed: int) -> Outcome:
    """It hears of that before it says again who is there."""
    with RedisServer() as redis:
        plan = replace(PLAN, nodes=3, options=("--admin-port", "0"))
        async with Stage("node-freeze-ban", plan, seed, redis=redis.url) as stage:
            node, other = stage.random.sample(stage.nodes, 2)
            banned = [client for client in stage.subscribers if client.node is node][:10]
            for client in banned:
                client.patience_s = 0
            async with stage.fault():
                before = [client.conn for client in banned]
                node.freeze()
                await stage.load(plan.lease_s + stage.random.uniform(1.0, 4.0))
                for client in banned:
                    await asyncio.to_thread(other.disconnect, client.user)
                await stage.load(stage.random.uniform(0.0, 3.0))
                thrown = [client.conn for client in banned]
                node.thaw()
            await stage.until(
                lambda: not any(client.conn in before for client in banned), 15, "who was thrown out is gone"
            )
            codes = Counter(code for at_s, of, code in stage.world.closes if of == node.name and at_s > node.thawed_s)
            if thrown != before or codes[4503] != len(banned):
                stage.oracle.wrong("ban", f"{len(banned)} were thrown out, and closed were {dict(codes)}")
    return stage.outcome


@scenario("node-drain", "a node drains (SIGTERM) under load, and comes back")
async def drain(seed: int) -> Outcome:
    """Nothing acknowledged is lost, and who stays is not flooded."""
    return await _drain("node-drain", 1, seed)


@scenario("rolling-restart", "three nodes drain and come back, one after the other")
async def rolling_restart(seed: int) -> Outcome:
    """The same three times."""
    return await _drain("rolling-restart", 3, seed)


async def _drain(name: str, count: int, seed: int) -> Outcome:
    with RedisServer() as redis:
        plan = replace(PLAN, nodes=3, subscribers=210, drain_timeout_s=6)
        async with Stage(name, plan, seed, redis=redis.url) as stage, stage.fault():
            for node in stage.random.sample(stage.nodes, count):
                await _drain_one(stage, node.name)
    return stage.outcome


async def _drain_one(stage: Stage, name: str) -> None:
    node = next(node for node in stage.nodes if node.name == name)
    here = sum(1 for client in stage.clients if client.conn and client.node is node)
    begun_s = monotonic()
    node.begin_drain()
    code = await node.wait_for_end()
    ended_s = monotonic()
    if code != 0:
        stage.oracle.wrong("drain", f"{name} ended with {signal_name(code)}")
    codes = {code for at_s, of, code in stage.world.closes if of == name and begun_s <= at_s <= ended_s}
    if codes - {1012}:
        stage.oracle.wrong("drain", f"{name} closed with {sorted(codes)}")
    # Closes are spread over half the timeout, and those who come over as much again.
    fair = here / (stage.plan.drain_timeout_s / 2)
    arrivals = sorted(at_s for at_s, of in stage.world.arrivals if of != name and begun_s <= at_s <= ended_s + 5)
    busiest = max((_within(arrivals, at_s, 1.0) for at_s in arrivals), default=0)
    stage.note(f"{name}: {here} clients moved in {ended_s - begun_s:.1f} s, at most {busiest} arrived within a second")
    if busiest > 2.5 * fair + 10:
        stage.oracle.wrong("drain", f"{busiest} arrived within a second, {fair:.0f} a second were sent away")
    await node.start()
    await asyncio.to_thread(node.wait_until_ready)


def _within(times: list[float], since_s: float, seconds: float) -> int:
    return sum(since_s <= at_s < since_s + seconds for at_s in times)


@scenario("clock-step", "the time of day of a node steps 5 min ahead, and back, and 5 min behind")
async def clock_step(seed: int) -> Outcome:
    """What is compared between machines must not come from them."""
    with RedisServer() as redis, Clock() as clock:
        stage = Stage("clock-step", replace(PLAN, nodes=2), seed, redis=redis.url, env={"FAULTS_TTL": "120"})
        stage.nodes[0].wear(clock.environment)
        async with stage, stage.fault():
            steps = [300.0, 0.0, -300.0]
            for step in steps if stage.random.random() < 0.5 else reversed(steps):
                clock.step(step)
                await stage.load(1.5)
                for client in stage.random.sample(stage.subscribers, 20):
                    client.leave()
                await stage.load(1.5)
    return stage.outcome


@scenario("descriptors", "more clients than a node has descriptors for, while Redis restarts")
async def descriptors(seed: int) -> Outcome:
    """Who is here stays, the others are refused, and the reserve is enough for the links to Redis."""
    with RedisServer(persistent=True) as redis:
        plan = replace(PLAN, nodes=2)
        stage = Stage("descriptors", plan, seed, redis=redis.url)
        stage.nodes[0].run_under("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")
        async with stage, stage.fault():
            crowd = [Client(stage.world, f"x{number}", 0, stays=True) for number in range(DESCRIPTORS)]
            for client in crowd:
                client.start()
            await stage.until(lambda: all(client.is_settled for client in crowd), 30, "who can come is here")
            let_in = sum(bool(client.conn) for client in crowd)
            await asyncio.to_thread(redis.stop)
            await stage.load(1.0)
            await asyncio.to_thread(redis.start)
            stage.redis_is_back()
            await stage.load(2.0)
            status = await asyncio.to_thread(stage.nodes[1].readiness)
            stayed = sum(bool(client.conn) for client in crowd)
            refused = Counter(client.refusal for client in crowd if client.refusal)
            stage.note(f"{let_in} of {len(crowd)} more were let in, {stayed} stayed, refused {dict(refused)}")
            if status[0] != 200 or let_in == len(crowd) or stayed < let_in or set(refused) - {503}:
                stage.oracle.wrong("descriptors", f"{stage.outcome.notes[-1]}; the other node is {status}")
            await asyncio.gather(*(client.stop() for client in crowd))
    return stage.outcome


@scenario("churn", f"{CYCLES:,} connections come and go")
async def churn(seed: int) -> Outcome:
    """Memory, descriptors and what Redis has of them stay as they were."""
    with RedisServer() as redis:
        plan = replace(PLAN, nodes=2, subscribers=60, publishers=2, may_block=True)
        async with Stage("churn", plan, seed, redis=redis.url) as stage:
            await _cycle(stage, CYCLES // 5)
            before = [(node.resident_bytes(), redis.ask("DBSIZE")) for node in stage.nodes]
            async with stage.fault():
                await _cycle(stage, CYCLES - CYCLES // 5)
            await stage.load(1.0)
            after = [(node.resident_bytes(), redis.ask("DBSIZE")) for node in stage.nodes]
            grown = [new[0] - old[0] for old, new in zip(before, after, strict=True)]
            sizes = ", ".join(f"{size / 1024:.0f} KiB" for size in grown)
            stage.note(f"memory grew by {sizes}; keys of Redis {before[0][1]} -> {after[0][1]}")
            if max(grown) > 3 * 1024 * 1024:
                stage.oracle.wrong("memory", f"grew by {grown} bytes")
    return stage.outcome


async def _cycle(stage: Stage, count: int) -> None:
    """So many connections, a few at a time; each subscribes to something and goes, politely or not."""
    names = iter(range(count))

    async def come_and_go() -> None:
        for number in names:
            user = f"c{number % 500}"
            client = stage.passer_by(user, number)
            client.start()
            await stage.until(lambda client=client: client.is_complete, 30, f"{user} is subscribed")
            if number % 2:
                await client.stop()
            else:
                client.abandon()

    await asyncio.gather(*(come_and_go() for _ in range(16)))
