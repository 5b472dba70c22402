"""Processes on one Redis, as far as presence goes."""

from __future__ import annotations

from typing import Any

from fastws.engine.redis import names
from fastws.engine.redis.backbone.contract import Backbone
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.common import Common
from fastws.engine.redis.envelope import CHANGES
from fastws.engine.redis.names import Names, partition_of
from fastws.engine.redis.presence import RemotePresence
from fastws.engine.redis.resp.address import parse_address
from fastws.types import Member, Presence, PresenceStats
from tests.engine.redis.keys import name_in
from tests.engine.suite.house import House
from tests.support.redis import RedisServer

ROOM = "room"


class Desk:
    """One process, as far as presence goes."""

    def __init__(self, server: RedisServer, prefix: str, node: str) -> None:
        self.server = server
        self.house = House(node)
        self.named = Names(prefix)
        self.backbone: Backbone = Standalone(parse_address(server.url), prefix=prefix)
        self.common = Common(self.backbone, self.named, node)
        self.presence = RemotePresence(self.common)
        self.messages: list[bytes] = []

    async def start(self) -> None:
        await self.backbone.start(self)
        self.common.events = self.house
        await self.hear(ROOM)

    async def hear(self, topic: str) -> None:
        answer = self.backbone.subscribe(partition_of(topic), self.named.of(names.TOPIC, topic))
        if answer is not None:
            await answer

    async def stop(self) -> None:
        self.presence.stop()
        await self.backbone.stop()
        for task in self.common.tasks:
            task.cancel()
        self.common.events = None

    def on_message(self, channel: bytes, payload: bytes) -> None:
        self.messages.append(payload)
        self.common.kinds[CHANGES](name_in(channel), payload)

    def on_away(self, partitions: Any, reason: str) -> None: ...

    def on_back(self, partitions: Any) -> None: ...

    def come(self, conn: str, user: str = "", info: Any = None, *, topic: str = ROOM, announce: bool = True) -> None:
        member = Member(user, "web", info)
        self.house.members.setdefault(topic, {})[conn] = (member, announce)
        self.presence.present(topic, conn, member, announce=announce)

    def go(self, conn: str, *, topic: str = ROOM) -> None:
        member, announce = self.house.members[topic].pop(conn)
        self.presence.absent(topic, conn, member, announce=announce)

    async def who(self, limit: int = 1000, topic: str = ROOM) -> Presence:
        return await self.presence.presence(topic, limit)

    async def count(self, topic: str = ROOM) -> PresenceStats:
        return await self.presence.presence_stats(topic)

    async def command(self, *words: Any) -> Any:
        return await self.backbone.call(0, *words)

    async def keys(self) -> list[bytes]:
        """What is in Redis of these tests, but for eras and marks."""
        found: list[bytes] = await self.command("KEYS", self.named.key(b"*", 0).split(b"{")[0] + b"*")
        return sorted(key for key in found if b":era:" not in key and b":hn:" not in key)
