"""Two processes, one Redis, and clients that come and go while links break, scripts are forgotten, topics begin anew:
what each of them is told of a topic is one story, without gaps and repetitions, or it is told that the story has ended.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from fastws.engine.redis.names import META, Names
from fastws.hub import watch
from tests.gateway.stage import JSON, Player, Stage
from tests.gateway.test_over_redis import stage_at
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio

TOPICS = ("kept:a", "kept:b", "plain:a")
ROUNDS = 250
PATIENCE_S = 30.0


class Reader:
    """Hears one topic, now and then, and checks what it is told."""

    def __init__(self, stage: Stage, topic: str) -> None:
        self.stage = stage
        self.topic = topic
        self.is_kept = topic.startswith("kept")
        self.position: dict[str, Any] | None = None
        """Up to where it knows the story."""
        self.last: dict[int, int] = {}
        """What it has heard last of each publisher."""
        self.told = 0
        self.come()

    def come(self) -> None:
        self.player: Player = self.stage.connect(subprotocol=JSON)
        self.is_on = False
        self.asked: tuple[str, Any] | None = None

    def ask(self, cmd: str, since: Any = None) -> None:
        self.asked = cmd, since
        self.player.say({"id": 1, "cmd": cmd, "topic": self.topic, **({"recover": since} if since else {})})

    def subscribe(self, *, goes_on: bool) -> None:
        self.ask("sub", dict(self.position) if goes_on and self.position is not None else None)

    def act(self, rng: random.Random) -> None:
        if self.asked is not None:
            return
        chance = rng.random()
        if not self.is_on:
            if chance < 0.5:
                self.subscribe(goes_on=rng.random() < 0.8)
        elif chance < 0.05:
            self.ask("unsub")
        elif chance < 0.08:
            self.player.vanish()
            self.come()

    def listen(self) -> None:
        for said in self.player.hear():
            if "id" in said:
                assert self.asked is not None
                (cmd, since), self.asked = self.asked, None
                if "error" in said:
                    assert said["error"]["code"] == 113, said
                elif cmd == "unsub":
                    self.is_on = False
                else:
                    self.begin(said["result"], since)
            elif said["event"] == "publication":
                assert self.is_on
                self.take(said)
            elif said["event"] == "unsubscribed":
                assert said["code"] == 2500
                self.is_on = False

    def begin(self, result: Any, since: Any) -> None:
        self.is_on = True
        if not result["recovered"]:
            assert result["publications"] == []
            self.last.clear()
        if self.is_kept:
            self.position = {"epoch": result["epoch"], "offset": since["offset"] if result["recovered"] else 0}
            for publication in result["publications"]:
                self.take(publication)
            assert not result["recovered"] or self.position["offset"] == result["offset"]
            self.position["offset"] = result["offset"]

    def take(self, publication: Any) -> None:
        if self.is_kept:
            assert self.position is not None
            self.position["offset"] += 1
            assert publication["offset"] == self.position["offset"]
        publisher, number = publication["data"]
        assert number > self.last.get(publisher, 0)
        self.last[publisher] = number
        self.told += 1


def disturb(server: RedisServer, prefix: str, rng: random.Random) -> None:
    match rng.choice(("pubsub", "normal", "scripts", "topic")):
        case "scripts":
            server.ask("SCRIPT", "FLUSH")
        case "topic":
            server.ask("DEL", Names(prefix).of(META, rng.choice(TOPICS[:2])))
        case kind:
            server.kill_clients(kind)


async def end_well(readers: list[Reader]) -> None:
    """In the end everybody is told the same."""
    until = time.monotonic() + PATIENCE_S
    while True:
        ends = {(reader.topic, *(reader.position or {}).values()) for reader in readers if reader.is_on}
        if len(ends) == len(TOPICS) and all(reader.is_on for reader in readers):
            return
        assert time.monotonic() < until, [(reader.topic, reader.is_on, reader.position) for reader in readers]
        for reader in readers:
            if not reader.is_on and reader.asked is None:
                reader.subscribe(goes_on=True)
        await asyncio.sleep(0.02)
        for reader in readers:
            reader.listen()


@pytest.mark.parametrize("seed", [1, 2])
async def test_everybody_is_told_one_story(prefix: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.2)  # a topic that has begun anew shows in what follows, or here
    rng = random.Random(seed)
    with RedisServer() as server:
        async with stage_at(server, prefix) as first, stage_at(server, prefix) as second:
            readers = [Reader(stage, topic) for stage in (first, second) for topic in TOPICS for _ in range(3)]
            publishers = [stage.connect(subprotocol=JSON) for stage in (first, second)]
            number = 0
            for turn in range(ROUNDS):
                for which, publisher in enumerate(publishers):
                    for _ in range(rng.choice((0, 1, 1, 3, 30))):
                        number += 1
                        key = {"key": str(number)} if rng.random() < 0.1 else {}
                        topic = rng.choice(TOPICS)
                        publisher.say({"cmd": "pub", "topic": topic, "data": [which, number], **key})
                    publisher.hear()
                for reader in readers:
                    reader.act(rng)
                await asyncio.sleep(rng.choice((0, 0.001, 0.005)))
                for reader in readers:
                    reader.listen()
                if turn % 25 == 24:
                    disturb(server, prefix, rng)
            await end_well(readers)
            assert sum(reader.told for reader in readers) > 100
