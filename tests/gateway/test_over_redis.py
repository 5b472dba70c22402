"""Clients of a gateway whose engine is a real Redis: what it loses, forgets or brings back older is told rightly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastws import FastWS
from fastws.engine.redis.backbone.making import make_backbone
from fastws.engine.redis.engine import RedisEngine
from fastws.hub import watch
from tests.gateway.stage import JSON, Player, Stage, staged
from tests.support.redis import RedisServer

pytestmark = pytest.mark.asyncio

NAMESPACES: dict[str, Any] = {
    "kept": {"subscribe": "all", "publish": "all", "history_size": 100, "recover": True},
    "plain": {"subscribe": "all", "publish": "all"},
}
PATIENCE_S = 30.0


@asynccontextmanager
async def stage_at(server: RedisServer, prefix: str) -> AsyncIterator[Stage]:
    engine = RedisEngine(make_backbone(server.url, prefix=prefix), prefix=prefix, node_name="n1", lease_s=75.0)
    async with staged(FastWS(namespaces=NAMESPACES), engine) as stage:
        yield stage


class Client:
    """Says something and waits for what comes."""

    def __init__(self, stage: Stage) -> None:
        self.player: Player = stage.connect(subprotocol=JSON)
        self.heard: list[Any] = []

    async def hears(self, is_it: Callable[[Any], Any]) -> Any:
        """The first of what came that is it, which is taken away."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.heard += self.player.hear()
                for at, content in enumerate(self.heard):
                    if is_it(content):
                        del self.heard[at]
                        return content
                await asyncio.sleep(0.002)

    async def event(self, name: str) -> Any:
        return await self.hears(lambda content: content.get("event") == name)

    async def ask(self, cmd: str, **fields: Any) -> Any:
        self.player.say({"id": 1, "cmd": cmd, **fields})
        answer = await self.hears(lambda content: "id" in content)
        return answer["result"] if "result" in answer else answer["error"]["code"]

    async def publications(self, count: int) -> list[Any]:
        return [(await self.event("publication"))["data"] for _ in range(count)]


async def test_a_client_hears_itself_and_others_through_redis(redis_server: RedisServer, prefix: str) -> None:
    async with stage_at(redis_server, prefix) as first, stage_at(redis_server, prefix) as second:
        ann, ben = Client(first), Client(second)
        for topic in ("kept:a", "plain:a"):
            for client in (ann, ben):
                assert (await client.ask("sub", topic=topic))["topic"] == topic
            await ann.ask("pub", topic=topic, data=1)
            assert (await ben.ask("pub", topic=topic, data=2, key="k"))["duplicate"] is False
            assert (await ann.ask("pub", topic=topic, data=2, key="k"))["duplicate"] is True
            await asyncio.gather(*(first.app.publish(topic, number) for number in range(3, 50)))
            assert await ann.publications(49) == await ben.publications(49) == list(range(1, 50))


async def test_what_is_lost_at_the_end_is_found_and_who_shall_not_hear_it_does_not(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.02)
    async with stage_at(redis_server, prefix) as stage:
        ann, ben = Client(stage), Client(stage)
        for client in (ann, ben):
            await client.ask("sub", topic="kept:a")
        engine: Any = stage.engine
        hear, engine._hear_topic = engine._hear_topic, lambda *_: True
        await ann.ask("pub", topic="kept:a", data=1, echo=False)
        await ann.ask("pub", topic="kept:a", data=2)
        engine._hear_topic = hear
        assert await ben.publications(2) == [1, 2]
        assert await ann.publications(1) == [2]
        assert stage.hub.watch.gaps == 1


@pytest.mark.parametrize("is_ahead", [True, False])
async def test_an_older_copy_of_redis(prefix: str, is_ahead: bool) -> None:
    with RedisServer() as server:
        async with stage_at(server, prefix) as stage:
            ann = Client(stage)
            epoch = (await ann.ask("sub", topic="kept:a"))["epoch"]
            for number in range(1, 4):
                await ann.ask("pub", topic="kept:a", data=number)
            await ann.hears(lambda content: content.get("data") == 3)
            server.ask("SAVE")
            if is_ahead:
                assert (await ann.ask("pub", topic="kept:a", data="lost"))["offset"] == 4
                await ann.hears(lambda content: content.get("data") == "lost")
            server.stop()
            await ann.event("degraded")
            assert await ann.ask("pub", topic="kept:a", data=4) == 113
            assert (await ann.ask("pub", topic="plain:a", data=4))["degraded"] is True
            ben = Client(stage)
            server.start()
            unsubscribed = await ann.event("unsubscribed")
            assert (unsubscribed["code"], unsubscribed["resubscribe"]) == (2500, True)
            for client in (ann, ben):
                await client.event("restored")
            assert (await ann.ask("pub", topic="kept:a", data=4))["offset"] == 4
            since = {"epoch": epoch, "offset": 4 if is_ahead else 3}
            again = await ann.ask("sub", topic="kept:a", recover=since)
            assert again["recovered"] is not is_ahead
            assert again["epoch"] != epoch
            assert again["offset"] == 4
            assert [one["data"] for one in again["publications"]] == ([] if is_ahead else [4])


async def test_what_others_publish_in_an_outage_of_one_is_told_when_it_is_over(
    redis_server: RedisServer, prefix: str
) -> None:
    async with stage_at(redis_server, prefix) as first, stage_at(redis_server, prefix) as second:
        ann = Client(first)
        await ann.ask("sub", topic="kept:a")
        engine: Any = first.engine
        hear, engine._hear_topic = engine._hear_topic, lambda *_: True
        for number in range(5):
            await second.app.publish("kept:a", number)
        engine._hear_topic = hear
        redis_server.kill_clients("pubsub")
        await ann.event("degraded")
        assert await ann.publications(5) == list(range(5))
        await ann.event("restored")
