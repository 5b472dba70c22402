"""Engines under test: of every kind, as many as there are processes in a test, against real servers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastws.core.publication import Retention
from fastws.core.topics import scoped
from fastws.engine.contract import Answer, Engine, Outgoing
from fastws.engine.memory import MemoryEngine
from fastws.engine.redis import names
from fastws.engine.redis.backbone.making import make_backbone
from fastws.engine.redis.engine import RedisEngine
from fastws.engine.redis.names import Names, partition_of
from fastws.types import Member, Published
from tests.engine.suite.house import House

T = TypeVar("T")

PATIENCE_S = 30.0
KEEP = Retention(100, 0.0)
KEEP_3 = Retention(3, 0.0)


async def got(answer: Answer[T]) -> T:
    """An answer, whether it is there already or comes later."""
    if isinstance(answer, Awaitable):
        async with asyncio.timeout(PATIENCE_S):
            return await answer
    return answer


async def until(condition: Callable[[], Any], what: str = "", patience_s: float = PATIENCE_S) -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {patience_s} s: {what or condition}"
        await asyncio.sleep(0.002)


async def until_async(condition: Callable[[], Awaitable[Any]], what: str = "", patience_s: float = PATIENCE_S) -> None:
    """The same for what has to be waited for itself."""
    end_s = time.monotonic() + patience_s
    while not await condition():
        assert time.monotonic() < end_s, f"not within {patience_s} s: {what or condition}"
        await asyncio.sleep(0.01)


class Node:
    """One process: an engine and what it reports to."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.house = House(name)

    async def join(self, *topics: str) -> None:
        for topic in topics:
            self.house.subscribers[topic] = self.house.subscribers.get(topic, 0) + 1
            answer = self.engine.join(topic)
            if answer is not None:
                await got(answer)

    def leave(self, topic: str) -> None:
        del self.house.subscribers[topic]
        self.engine.leave(topic)

    async def publish(self, topic: str, data: Any, retention: Retention | None = None, **more: Any) -> Published:
        return await got(self.publish_now(topic, data, retention, **more))

    def publish_now(self, topic: str, data: Any, retention: Retention | None = None, **more: Any) -> Answer[Published]:
        """Without waiting."""
        return self.engine.publish(Outgoing(topic, str(data).encode(), retention, **more))

    def come(
        self, topic: str, conn: str, user: str = "", *, info: Any = None, device: str = "default", announce: bool = True
    ) -> None:
        """A connection is present in a topic."""
        member = Member(user, device, info)
        self.house.members.setdefault(topic, {})[conn] = (member, announce)
        self.engine.present(topic, conn, member, announce=announce)

    def go(self, topic: str, conn: str) -> None:
        """It is not any more."""
        member, announce = self.house.members[topic].pop(conn)
        if not self.house.members[topic]:
            del self.house.members[topic]
        self.engine.absent(topic, conn, member, announce=announce)

    def attach(self, user: str, conn: str, device: str = "default", tenant: str = "") -> None:
        """A user connects."""
        self.house.note_session(user, conn, device, int(time.time() * 1000), tenant)
        self.engine.attach(scoped(tenant, user), conn, device)

    def detach(self, user: str, conn: str, tenant: str = "") -> None:
        """It has gone."""
        is_last = self.house.forget_session(user, conn, tenant)
        self.engine.detach(scoped(tenant, user), conn, is_last=is_last)

    async def vanish(self) -> None:
        """Its process is killed, as far as others can see."""
        assert isinstance(self.engine, RedisEngine)
        self.engine._nodes._living.me = ""  # so it says goodbye to nobody
        await self.stop()

    async def stop(self) -> None:
        await self.engine.stop()
        self.house.has_stopped = True


class Stand:
    """Makes nodes, and stops them in the end."""

    def __init__(self, kind: str, url: str, prefix: str, server: Any) -> None:
        self.kind = kind
        self.url = url
        self.prefix = prefix
        self.server = server
        """The process or fleet behind it; None in memory."""
        self.nodes: list[Node] = []
        self._names = itertools.count(1)

    @property
    def connects(self) -> bool:
        """Whether it connects processes."""
        return self.kind != "memory"

    async def node(self, lease_s: float = 75.0) -> Node:
        """One more process, started."""
        name = f"n{next(self._names)}"
        engine: Engine
        if not self.connects:
            assert not self.nodes
            engine = MemoryEngine()
        else:
            backbone = make_backbone(self.url, prefix=self.prefix)
            engine = RedisEngine(backbone, prefix=self.prefix, node_name=name, lease_s=lease_s)
        node = Node(engine, name)
        await got(engine.start(node.house))
        self.nodes.append(node)
        return node

    async def some(self, most: int = 3) -> list[Node]:
        """As many processes as there may be."""
        return [await self.node() for _ in range(most if self.connects else 1)]

    async def pair(self) -> tuple[Node, Node]:
        """Two processes; one and the same where there may be one."""
        nodes = await self.some(2)
        return nodes[0], nodes[-1]

    async def settle(self, topic: str = "") -> None:
        """Whatever was said about a topic so far has arrived everywhere."""
        running = [node for node in self.nodes if not node.house.has_stopped]
        barrier = next(
            name for number in itertools.count() if partition_of(name := f"barrier{number}") == partition_of(topic)
        )
        for node in running:
            await got(node.engine.join(barrier))
        mark = str(next(_marks)).encode()
        for node in running:
            await got(node.engine.publish(Outgoing(barrier, mark)))
        await until(lambda: all(node.house.data(barrier).count(mark) == len(running) for node in running), "a barrier")
        for node in running:
            node.engine.leave(barrier)

    # What tests do to the server.

    async def take_away(self) -> None:
        """It is killed, and forgets everything."""
        await asyncio.to_thread(self.server.stop)

    async def bring_back(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def pause(self) -> None:
        """It says nothing any more."""
        await asyncio.to_thread(self.server.pause)

    async def resume(self) -> None:
        await asyncio.to_thread(self.server.resume)

    async def fail_over(self, topic: str) -> None:
        """Another server takes the place of the one that has a topic."""
        if self.kind == "sentinel":
            await asyncio.to_thread(self.server.fail_over)
            return
        slot = self.server.slot_of(Names(self.prefix).of(names.META, topic))
        master = await asyncio.to_thread(self.server.master_of, slot)
        await asyncio.to_thread(self.server.fail_over, master)

    async def stop(self) -> None:
        for node in self.nodes:
            if not node.house.has_stopped:
                await node.stop()


_marks = itertools.count()
