"""Processes on one Redis, each with an engine that may be looked into, frozen and killed."""

from __future__ import annotations

from typing import Any

from fastws.engine.contract import Cap
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.engine import RedisEngine
from fastws.engine.redis.fleet.mailbox import KEPT, KEPT_BYTES, MAIL
from fastws.engine.redis.names import BELL, MAILBOX, partition_of
from fastws.engine.redis.resp.address import parse_address
from fastws.types import SessionInfo
from tests.engine.suite.house import House
from tests.engine.suite.stand import Node, got
from tests.support.redis import RedisServer

LEASE_S = 0.9
"""Short, for tests that wait for its end."""


class Member(Node):
    """One process."""

    engine: RedisEngine

    def __init__(self, server: RedisServer, prefix: str, name: str, lease_s: float) -> None:
        backbone = Standalone(parse_address(server.url), prefix=prefix)
        self.engine = RedisEngine(backbone, prefix=prefix, node_name=name, lease_s=lease_s)
        self.house = House(name)

    async def start(self) -> Member:
        await self.engine.start(self.house)
        return self

    @property
    def id(self) -> str:
        return self.engine._common.node

    def halt(self) -> None:
        """Say nothing any more, as if the process were stopped."""
        beating = self.engine._nodes._beating
        assert beating is not None
        beating.cancel()

    def go_on(self) -> None:
        self.engine._nodes.start()

    async def die(self) -> None:
        """Without a farewell."""
        self.halt()
        nodes = self.engine._nodes
        for task in (nodes._registering, nodes._burial, nodes._sweeping, self.engine._returning):
            if task is not None:
                task.cancel()
        self.engine._common.events = None
        await self.engine._common.backbone.stop()
        self.house.has_stopped = True

    async def command(self, *words: Any, partition: int = 0) -> Any:
        return await self.engine._common.backbone.call(partition, *words)

    async def keys(self) -> list[str]:
        """Everything of this test in Redis, but for eras and marks."""
        found = await self.command("KEYS", self.engine._common.names.key(b"*", 0).split(b"{")[0] + b"*")
        return sorted(key.decode() for key in found if b":era:" not in key and b":hn:" not in key)

    async def admit(
        self, user: str, conn: str, device: str = "default", limit: int = 0, *, replaces: bool = False
    ) -> Any:
        return await got(self.engine.admit(user, conn, device, Cap(limit, replaces)))

    async def sessions(self, user: str) -> list[SessionInfo]:
        return list(await got(self.engine.sessions(user, 100_000)))

    async def conns(self, user: str) -> list[str]:
        return [one.conn for one in await self.sessions(user)]


class Members:
    """Makes them, and stops those that are there in the end."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self.all: list[Member] = []

    async def make(self, lease_s: float = 75.0, name: str = "") -> Member:
        member = Member(self.server, self.prefix, name or f"n{len(self.all) + 1}", lease_s)
        self.all.append(member)
        return await member.start()

    async def some(self, count: int, lease_s: float = 75.0) -> list[Member]:
        return [await self.make(lease_s) for _ in range(count)]

    async def stop(self) -> None:
        for member in self.all:
            if not member.house.has_stopped:
                await member.stop()


def mailbox_of(member: Member) -> tuple[bytes, int]:
    return member.engine._common.names.of(MAILBOX, member.id), partition_of(member.id)


async def put(member: Member, letter: bytes, *, rings: bool = False) -> None:
    """Into a mailbox, where the bell was not heard."""
    key, partition = mailbox_of(member)
    bell = member.engine._common.names.of(BELL, member.id) if rings else b"unheard"
    backbone = member.engine._common.backbone
    words = (backbone.publish_command, bell, letter, KEPT, KEPT_BYTES)
    assert await backbone.run(MAIL, partition, (key,), words)
