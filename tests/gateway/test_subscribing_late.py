"""Subscribing while the engine takes its time: what other connections do meanwhile must not lose anybody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.app import FastWS
from fastws.core.publication import Position, Retention
from fastws.engine.contract import Answer, Recovery
from fastws.engine.memory import MemoryEngine
from fastws.errors import EngineError
from tests.gateway.stage import staged

pytestmark = pytest.mark.asyncio


class LateEngine(MemoryEngine):
    """Answers `recover` when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[asyncio.Future[Recovery]] = []

    def recover(self, topic: str, retention: Retention, since: Position | None) -> Answer[Recovery]:  # type: ignore[override]
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]


HERE = Recovery(Position("e", 0), recovered=False, publications=())
SUB: dict[str, Any] = {"id": 1, "cmd": "sub", "topic": "small:a"}


async def test_one_that_fails_does_not_take_the_topic_from_one_that_waits() -> None:
    engine = LateEngine()
    async with staged(engine=engine) as stage:
        first, second, third = (stage.connect() for _ in range(3))
        for player in (first, second, third):
            player.say(SUB)
        engine.asked[1].set_exception(EngineError("away"))
        third.vanish()
        await stage.settle()
        engine.asked[0].set_result(HERE)
        engine.asked[2].set_result(HERE)
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
    engine = LateEngine()
    async with staged(app, engine) as stage:
        players = [stage.connect() for _ in range(3)]
        for player in players:
            player.say(SUB)
        for asked in engine.asked:
            asked.set_result(HERE)
        await stage.settle()
        answers = [player.hear_one() for player in players]
        assert [answer.get("error", {}).get("code") for answer in answers] == [None, None, 106]
        assert len(stage.hub.topics["small:a"].audience) == 2
