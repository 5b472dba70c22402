"""One Redis that is restarted, full, read-only, still, or that drops who does not listen."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.faults.scenarios.common import scenario, until_redis_answers
from tests.faults.stage import Outcome, Plan, Stage
from tests.support.redis import RedisServer

PLAN = Plan()


async def _restart(name: str, seed: int, *, persistent: bool, politely: bool) -> Outcome:
    with RedisServer("--appendfsync", "always", persistent=persistent) as redis:
        plan = replace(PLAN, may_lose=not persistent)
        async with Stage(name, plan, seed, redis=redis.url) as stage, stage.fault(of_redis=True):
            await asyncio.to_thread(redis.shut_down if politely else redis.stop)
            with stage.without_redis():
                await stage.load(stage.random.uniform(0.2, 8.0))
            await asyncio.to_thread(redis.start)
    return stage.outcome


@scenario("redis-restart-kept", "Redis is killed and comes back with its data (appendfsync always)")
async def restart_kept(seed: int) -> Outcome:
    """Nothing acknowledged is lost."""
    return await _restart("redis-restart-kept", seed, persistent=True, politely=seed % 2 == 0)


@scenario("redis-restart-empty", "Redis is killed and comes back empty")
async def restart_empty(seed: int) -> Outcome:
    """Everything is lost but the truth about it."""
    return await _restart("redis-restart-empty", seed, persistent=False, politely=seed % 2 == 0)


@scenario("redis-freeze", "Redis stands still for 1 to 10 s (SIGSTOP)")
async def freeze(seed: int) -> Outcome:
    """Nobody can know whether it has done what it was asked."""
    with RedisServer() as redis:
        async with Stage("redis-freeze", PLAN, seed, redis=redis.url) as stage, stage.fault(of_redis=True):
            redis.pause()
            with stage.without_redis():
                await stage.load(stage.random.uniform(1.0, 10.0))
            redis.resume()
    return stage.outcome


@scenario("redis-full", "Redis is out of memory (maxmemory, noeviction) for 5 to 10 s")
async def full(seed: int) -> Outcome:
    """It refuses to write, and goes on reading and publishing."""
    with RedisServer("--maxmemory-policy", "noeviction") as redis:
        async with Stage("redis-full", PLAN, seed, redis=redis.url) as stage, stage.fault(of_redis=True):
            redis.config("maxmemory", "1mb")
            await stage.load(stage.random.uniform(5.0, 10.0))
            redis.config("maxmemory", 0)
    return stage.outcome


@scenario("redis-read-only", "Redis takes no writes (it has become a replica) for 2 to 10 s")
async def read_only(seed: int) -> Outcome:
    """What it has is there, and it is another master afterwards."""
    with RedisServer() as redis:
        async with Stage("redis-read-only", PLAN, seed, redis=redis.url) as stage, stage.fault(of_redis=True):
            redis.ask("REPLICAOF", "127.0.0.1", 1)
            await stage.load(stage.random.uniform(2.0, 10.0))
            redis.ask("REPLICAOF", "NO", "ONE")
    return stage.outcome


@scenario("redis-overflow", "a node stands still, and Redis drops its subscriptions (client-output-buffer-limit)")
async def overflow(seed: int) -> Outcome:
    """What was said meanwhile is in no buffer any more."""
    with RedisServer("--client-output-buffer-limit", "pubsub", "65536", "0", "0") as redis:
        async with Stage("redis-overflow", PLAN, seed, redis=redis.url) as stage:
            node = stage.random.choice(stage.nodes)
            for client in stage.clients:
                client.patience_s = 0
            async with stage.fault():
                node.freeze()
                channel = _busy_channel(redis)
                for _ in range(400):  # what an unknown version of a node could say; far more than sockets take
                    redis.ask("PUBLISH", channel, b"\xff" * 65536)
                    await asyncio.sleep(0.002)
                await stage.load(0.5)
                node.thaw()
            dropped = (redis.folder / "log").read_text().count("overcoming of output buffer limits")
            stage.note(f"Redis dropped {dropped} subscribers")
            if not dropped:
                stage.oracle.wrong("harness", "nothing overflowed")
    return stage.outcome


def _busy_channel(redis: RedisServer) -> bytes:
    """A channel that every node hears."""
    channels = redis.ask("PUBSUB", "CHANNELS", "*kept:0")
    assert isinstance(channels, list)
    assert channels, redis.ask("PUBSUB", "CHANNELS", "*")
    channel = channels[0]
    assert isinstance(channel, bytes)
    return channel


@scenario("redis-links-killed", "Redis closes all connections of its clients (CLIENT KILL)")
async def links_killed(seed: int) -> Outcome:
    """The shortest outage there is."""
    with RedisServer() as redis:
        async with Stage("redis-links-killed", PLAN, seed, redis=redis.url) as stage:
            async with stage.fault():
                for _ in range(3):
                    kind = stage.random.choice(["normal", "pubsub"])
                    redis.kill_clients(kind)
                    await stage.load(stage.random.uniform(0.2, 1.5))
            await until_redis_answers(stage, lambda: redis.ask("PING"))
    return stage.outcome
