"""Links between nodes and Redis that are cut, slow, or deaf in one direction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from tests.faults.proxies import Island, Toxiproxy
from tests.faults.scenarios.common import scenario
from tests.faults.stage import Outcome, Plan, Stage
from tests.support.redis import RedisServer

NAMES = ["n1", "n2"]
PLAN = Plan(nodes=len(NAMES))
MOST_S = 12.0
"""Up to here a cut lasts as chance has it; `link-cut-60` is the longest."""


async def _through_proxy(
    name: str,
    seed: int,
    harm: Callable[[Toxiproxy, Stage], None],
    *,
    at_least_s: float = 1.0,
    at_most_s: float = MOST_S,
    is_cut: bool = True,
) -> Outcome:
    """The first node's link is harmed for a while; the second one has a good one all the time."""
    with RedisServer() as redis, Toxiproxy(redis.address, NAMES) as proxy:
        urls = [proxy.url(node) for node in NAMES]
        async with Stage(name, PLAN, seed, redis=urls) as stage, stage.fault():
            harm(proxy, stage)
            with stage.without_redis("n1") if is_cut else nullcontext():
                await _while_some_move(stage, stage.random.uniform(at_least_s, at_most_s))
            proxy.mend("n1")
    return stage.outcome


async def _while_some_move(stage: Stage, seconds: float) -> None:
    """Let time pass in which clients leave either node for the other one."""
    moves = 4
    for _ in range(moves):
        await stage.load(seconds / (moves + 1))
        for client in stage.random.sample(stage.subscribers, 6):
            client.leave()
    await stage.load(seconds / (moves + 1))


@scenario("link-cut", f"the link of one node is cut for 1 to {MOST_S:.0f} s")
async def cut(seed: int) -> Outcome:
    """Closed and refused."""
    return await _through_proxy("link-cut", seed, lambda proxy, _: proxy.cut("n1"))


@scenario("link-cut-60", "the link of one node is cut for 60 s, ten leases", runs=5)
async def cut_60(seed: int) -> Outcome:
    """Others take it for dead, while its clients stay connected."""
    return await _through_proxy("link-cut-60", seed, lambda proxy, _: proxy.cut("n1"), at_least_s=60, at_most_s=60)


@scenario("link-black-hole", f"nothing comes through in either direction for 1 to {MOST_S:.0f} s, and nobody says so")
async def black_hole(seed: int) -> Outcome:
    """Found out by asking."""

    def harm(proxy: Toxiproxy, _: Stage) -> None:
        proxy.poison("n1", "timeout", "upstream", timeout=0)
        proxy.poison("n1", "timeout", "downstream", timeout=0)

    return await _through_proxy("link-black-hole", seed, harm)


@scenario("link-deaf", f"what Redis says does not reach one node for 1 to {MOST_S:.0f} s")
async def deaf(seed: int) -> Outcome:
    """What the node asks is done, and it never learns."""
    return await _through_proxy(
        "link-deaf", seed, lambda proxy, _: proxy.poison("n1", "timeout", "downstream", timeout=0)
    )


@scenario("link-latency", "the link of one node is 150 ms late, give or take 100 ms")
async def latency(seed: int) -> Outcome:
    """Slow, and that is all."""
    return await _through_proxy(
        "link-latency",
        seed,
        lambda proxy, _: proxy.poison("n1", "latency", "downstream", latency=150, jitter=100),
        at_least_s=5,
        at_most_s=10,
        is_cut=False,
    )


@scenario("link-slices", "what comes over the link of one node comes in slices of 1 to 40 bytes")
async def slices(seed: int) -> Outcome:
    """Every cut of every answer."""
    return await _through_proxy(
        "link-slices",
        seed,
        lambda proxy, _: proxy.poison("n1", "slicer", "downstream", average_size=20, size_variation=19, delay=10),
        at_least_s=5,
        at_most_s=10,
        is_cut=False,
    )


@scenario("link-reset", "the link of one node is reset, again and again, for 1 to 10 s")
async def reset(seed: int) -> Outcome:
    """As by a firewall that has forgotten it."""
    return await _through_proxy(
        "link-reset",
        seed,
        lambda proxy, _: proxy.poison("n1", "reset_peer", "downstream", timeout=200),
        at_most_s=10,
        is_cut=False,
    )


@scenario("link-slow-close", "the link of one node is closed, and its end comes 2 s late")
async def slow_close(seed: int) -> Outcome:
    """Redis has forgotten it long before."""
    with RedisServer() as redis, Toxiproxy(redis.address, NAMES) as proxy:
        async with Stage("link-slow-close", PLAN, seed, redis=[proxy.url(node) for node in NAMES]) as stage:
            proxy.poison("n1", "slow_close", "downstream", delay=2000)
            async with stage.fault():
                redis.kill_clients("normal")
                redis.kill_clients("pubsub")
                await stage.load(4.0)
                proxy.mend("n1")
    return stage.outcome


async def _on_island(name: str, seed: int, *, says: bool, hears: bool) -> Outcome:
    with Island(NAMES) as island:
        async with Stage(name, PLAN, seed, redis=[island.url(node) for node in NAMES]) as stage, stage.fault():
            island.cut("n1", says=says, hears=hears)
            with stage.without_redis("n1"):
                await _while_some_move(stage, stage.random.uniform(1.0, MOST_S))
            island.mend()
    return stage.outcome


@scenario(
    "packets-both", f"packets of one node and Redis are dropped in both directions for 1 to {MOST_S:.0f} s (iptables)"
)
async def packets_both(seed: int) -> Outcome:
    """A cable."""
    return await _on_island("packets-both", seed, says=True, hears=True)


@scenario("packets-out", f"packets of one node to Redis are dropped for 1 to {MOST_S:.0f} s")
async def packets_out(seed: int) -> Outcome:
    """It still hears what others say, until Redis has given it up."""
    return await _on_island("packets-out", seed, says=True, hears=False)


@scenario("packets-in", f"packets of Redis to one node are dropped for 1 to {MOST_S:.0f} s")
async def packets_in(seed: int) -> Outcome:
    """What it asks is done, until it gives up."""
    return await _on_island("packets-in", seed, says=False, hears=True)
