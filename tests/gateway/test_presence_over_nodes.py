"""Presence at two nodes: who asks and is told of changes, in whatever order they cross, knows who is there."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fastws import FastWS
from fastws.engine.redis import presence as presence_module
from fastws.engine.redis.backbone.making import make_backbone
from fastws.engine.redis.engine import RedisEngine
from fastws.hub import news as news_module
from tests.gateway.stage import Player, Stage, staged
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio

NAMESPACES = {"room": {"subscribe": "all", "publish": "all", "presence": True, "join_leave": True}}
TOPIC = "room:a"
PATIENCE_S = 30.0


class Watcher:
    """A client that keeps a list: begins with one that it was given, and changes it by what it is told."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.members: set[str] = set()
        self.asked: set[int] = set()
        self.known: set[str] = set()
        """Those that were members at any time."""
        self.has_list = False

    def follow(self) -> None:
        for message in self.player.hear():
            if "id" in message:
                assert "result" in message, message
                if message["id"] in self.asked:
                    self.members = set(message["result"]["members"])
                    self.has_list = True
            elif message["event"] == "presence":
                self.has_list = False
            elif message["event"] in ("join", "leave"):
                (self.members.add if message["event"] == "join" else self.members.discard)(message["conn"])
            elif message["event"] == "publication":
                assert not self.has_list or message["from"]["conn"] in self.known, "told before it is heard"
            self.known |= self.members


async def play(stages: list[Stage], rng: random.Random) -> None:
    watchers = [Watcher(stage.connect()) for stage in stages for _ in range(2)]
    players = [stage.connect() for stage in stages for _ in range(6)]
    for number, watcher in enumerate(watchers):
        watcher.player.say({"id": -1 - number, "cmd": "sub", "topic": TOPIC, "presence": True})
    await asyncio.sleep(0.05)
    present: set[str] = {watcher.player.conn.id for watcher in watchers}
    for number in range(250):
        player = rng.choice(players)
        kind = rng.random()
        if kind < 0.45:
            player.say({"id": number, "cmd": "sub", "topic": TOPIC})
            if rng.random() < 0.5:
                player.say({"id": number, "cmd": "pub", "topic": TOPIC, "data": number})
            present.add(player.conn.id)
        elif kind < 0.75:
            player.say({"id": number, "cmd": "unsub", "topic": TOPIC})
            present.discard(player.conn.id)
        else:
            watcher = rng.choice(watchers)
            watcher.asked.add(number)
            watcher.player.say({"id": number, "cmd": "presence", "topic": TOPIC})
        if rng.random() < 0.6:
            await asyncio.sleep(rng.choice([0, 0, 0, 0.001, 0.01]))
        for watcher in watchers:
            watcher.follow()
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        await asyncio.sleep(0.01)
        for watcher in watchers:
            watcher.follow()
            if not watcher.has_list:
                watcher.asked.add(10_000)
                watcher.player.say({"id": 10_000, "cmd": "presence", "topic": TOPIC})
        if all(watcher.members == present for watcher in watchers):
            break
    for watcher in watchers:
        assert watcher.members == present
    await asyncio.sleep(0.02)
    for watcher in watchers:
        watcher.follow()
        assert watcher.members == present


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_follows_knows(
    redis_server: RedisServer, prefix: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news_module, "MIN_INTERVAL_S", 0.004)
    for name in ("MAX_NAMED", "MAX_TELLINGS", "_MAX_KEPT"):  # on a busy machine many changes wait for one telling
        monkeypatch.setattr(news_module, name, 10**9)
    monkeypatch.setattr(presence_module, "_ASKED_AGAIN", 1000)

    def engine(name: str) -> Any:
        backbone = make_backbone(redis_server.url, prefix=prefix)
        return RedisEngine(backbone, prefix=prefix, node_name=name, lease_s=75.0)

    async with AsyncExitStack() as stack:
        stages = [
            await stack.enter_async_context(staged(FastWS(namespaces=NAMESPACES), engine(name), node_name=name))
            for name in ("n1", "n2")
        ]
        for _ in range(100):  # both are in one process, where numbers would be given twice
            stages[1].connect().vanish()
        await play(stages, random.Random(seed))
