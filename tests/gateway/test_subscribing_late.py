"""Subscribing while the engine takes its time: what other connections do meanwhile must not lose anybody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.app import FastWS
from tests.gateway.engines import DistantEngine
from tests.gateway.stage import staged

pytestmark = pytest.mark.asyncio


SUB: dict[str, Any] = {"id": 1, "cmd": "sub", "topic": "small:a"}


async def test_one_that_fails_does_not_take_the_topic_from_one_that_waits() -> None:
    engine = DistantEngine(direct=True)
    async with staged(engine=engine) as stage:
        first, second, third = (stage.connect() for _ in range(3))
        for player in (first, second, third):
            player.say(SUB)
        engine.fail(engine.questions[1])
        third.vanish()
        await stage.settle()
        engine.answer_all()
        await stage.settle()
        assert second.hear_one()["error"]["code"] == 113
        assert first.hear_one()["result"]["topic"] == "small:a"
        await stage.app.publish("small:a", 5)
        await stage.settle()
        assert first.hear_one()["data"] == 5
        first.vanish()
        await stage.settle()
        assert stage.hub.topics == {}


async def test_subscribers_that_came_together_are_as_many_as_may_be() -> None:
    app = FastWS(namespaces={"small": {"subscribe": "all", "max_subscribers": 2, "history_size": 3}})
    engine = DistantEngine(direct=True)
    async with staged(app, engine) as stage:
        players = [stage.connect() for _ in range(3)]
        for player in players:
            player.say(SUB)
        engine.answer_all()
        await stage.settle()
        answers = [player.hear_one() for player in players]
        assert [answer.get("error", {}).get("code") for answer in answers] == [None, None, 106]
        assert len(stage.hub.topics["small:a"].audience) == 2


async def test_who_has_the_server_subscribe_somebody_may_lose_patience_at_once() -> None:
    engine = DistantEngine()
    async with staged(engine=engine) as stage:
        player = stage.name(stage.connect(), "u")
        asking = asyncio.create_task(stage.app.subscribe("u", "small:a"))
        await asyncio.sleep(0)
        assert len(engine.open) == 1
        asking.cancel()
        await stage.settle()
        assert stage.hub.topics == {}
        assert engine._joined == set()
        engine.answer_all()
        await stage.settle()
        assert player.conn.topics == ()
        assert player.hear() == []
