"""What is left of processes that have ended: histories, and when users were here last."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import weakref

import pytest

from fastws.core.topics import scoped
from fastws.engine.contract import PUSH, Cap, Order
from fastws.engine.redis import names
from tests.engine.suite.stand import KEEP, Stand, got, until
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio

KEPT = {names.ERA, names.META, names.HISTORY, names.LAST_SEEN, names.FENCE, names.KEY, names.SWEEPER}
"""Kinds of keys. Eras are of the partition, the last fencing number is never given again, keys have an end."""


def kinds_of(server: RedisServer, prefix: str) -> set[bytes]:
    """Of what is there under a prefix."""
    found = server.ask("KEYS", f"{prefix}:*")
    assert isinstance(found, list)
    return {re.sub(rb"^[^}]*}:([^:]*):.*$", rb"\1", key, flags=re.DOTALL) for key in found}


def channels_of(server: RedisServer, prefix: str) -> list[bytes]:
    """Those that somebody hears."""
    found = [server.ask("PUBSUB", kind) for kind in ("CHANNELS", "SHARDCHANNELS")]
    return [name for names_ in found if isinstance(names_, list) for name in names_ if name.startswith(prefix.encode())]


def masters(stand: Stand) -> list[RedisServer]:
    if stand.kind == "cluster":
        return list(stand.server.masters)
    return [stand.server.master if stand.kind == "sentinel" else stand.server]


async def test_nothing_else_is_left(cluster: Stand) -> None:
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    tasks = asyncio.all_tasks()
    nodes = await cluster.some()
    for number, node in enumerate(nodes):
        await node.join("t", "u")
        await node.publish("t", number, KEEP, key=f"k{number}")
        await got(node.engine.admit(scoped("", "ann"), f"c-{number}", "web", Cap(5, replaces=True)))
        node.attach("ann", f"c-{number}", "web")
        node.attach("", f"d-{number}")
        node.come("t", f"c-{number}", "ann", info={"n": number})
        node.come("u", f"d-{number}")
    await got(nodes[0].engine.order(Order(PUSH, data=b"1")))
    await got(nodes[0].engine.announce(b"1"))
    await cluster.settle("t")
    nodes[0].detach("ann", "c-0")
    nodes[0].go("t", "c-0")
    nodes[0].go("u", "d-0")
    nodes[0].leave("t")
    for node in nodes:
        await node.stop()
    servers = await asyncio.to_thread(masters, cluster)
    kinds = set().union(*(kinds_of(server, cluster.prefix) for server in servers))
    assert kinds <= KEPT
    assert {names.META, names.HISTORY, names.LAST_SEEN} <= kinds
    await until(lambda: not [name for server in servers for name in channels_of(server, cluster.prefix)])
    await until(lambda: asyncio.all_tasks() == tasks)
    gc.collect()
    await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


async def test_an_engine_leaves_no_reference_cycle_that_holds_it(cluster: Stand) -> None:
    """What has stopped is let go of; a process may start another."""
    node = await cluster.node()
    await node.join("t")
    await node.publish("t", 1, KEEP)
    await node.stop()
    gone = weakref.ref(node.engine)
    cluster.nodes.clear()
    del node

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    await until(is_gone)
