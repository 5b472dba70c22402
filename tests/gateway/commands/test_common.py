"""Commands whose answer comes later: an engine that is not in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from fastws.core.publication import Position, Retention
from fastws.engine.contract import Outgoing, Page, Recovery
from fastws.engine.memory import MemoryEngine
from fastws.errors import EngineError
from fastws.types import Published
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


class LateEngine(MemoryEngine):
    """Answers like one that is elsewhere: when `gate` is set, or with `failure`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def _late(self, answer: Any) -> Any:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return answer()

    def publish(self, outgoing: Outgoing) -> Awaitable[Published]:  # type: ignore[override]
        return self._late(lambda: MemoryEngine.publish(self, outgoing))

    def recover(self, *asked: Any) -> Awaitable[Recovery]:  # type: ignore[override]
        return self._late(lambda: MemoryEngine.recover(self, *asked))

    def history(  # type: ignore[override]
        self, topic: str, retention: Retention, since: Position | None, limit: int, *, reverse: bool = False
    ) -> Awaitable[Page]:
        return self._late(lambda: MemoryEngine.history(self, topic, retention, since, limit, reverse=reverse))


class TestAnEngineElsewhere:
    """Commands whose answers take time."""

    async def test_commands_stay_in_order(self) -> None:
        engine = LateEngine()
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say(
                {"id": 1, "cmd": "sub", "topic": "t"},
                {"id": 2, "cmd": "pub", "topic": "t", "data": 1, "echo": False},
                {"id": 3, "cmd": "ping"},
                {"id": 4, "cmd": "history", "topic": "t"},
                {"id": 5, "cmd": "history", "topic": "t", "since": {"epoch": "other", "offset": 0}},
                {"id": 6, "cmd": "unsub", "topic": "t"},
            )
            assert player.hear() == []
            player.say_text("PING")
            player.say({"type": "HEARTBEAT"})
            assert [frame.payload[:5] for frame in player.frames()] == [b"PONG", b'{"typ']
            engine.gate.set()
            await stage.settle()
            answers = player.hear()
            assert [answer["id"] for answer in answers] == [1, 2, 3, 4, 5, 6]
            assert answers[4]["error"]["code"] == 112
            assert len(answers[3]["result"]["publications"]) == 1
            assert player.conn.session.work is None
            assert stage.hub.topics == {}

    async def test_a_subscriber_that_left_meanwhile_leaves_nothing(self) -> None:
        engine = LateEngine()
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say({"cmd": "sub", "topic": "t"}, {"cmd": "sub", "topic": "u"})
            assert list(stage.hub.topics) == ["t"]
            player.vanish()
            engine.gate.set()
            await stage.settle()
            assert stage.hub.topics == {}
            assert stage.gateway.tasks == set()

    @pytest.mark.parametrize(("failure", "code"), [(EngineError("away"), 113), (ValueError("bug"), 100)])
    async def test_failures(self, failure: Exception, code: int, caplog: pytest.LogCaptureFixture) -> None:
        engine = LateEngine()
        engine.failure = failure
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say({"id": 1, "cmd": "sub", "topic": "t"}, {"id": 2, "cmd": "pub", "topic": "t", "data": 1})
            engine.gate.set()
            await stage.settle()
            first, second = player.hear()
            assert (first["error"]["code"], second["error"]["code"]) == (code, code)
            assert first["error"]["temporary"] is True
            assert "away" not in first["error"]["message"]
            assert "bug" not in first["error"]["message"]
            assert stage.hub.topics == {}
            assert ("failed" in caplog.text) == (code == 100)

    async def test_reading_pauses_while_too_much_waits(self) -> None:
        engine = LateEngine()
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say({"id": 0, "cmd": "pub", "topic": "t", "data": 0})
            for number in range(1, 200):
                player.say({"id": number, "cmd": "ping"})
            assert player.conn.paused
            assert not player.transport.reading
            assert len(player.conn.session.work.waiting) == 128
            engine.gate.set()
            await stage.settle()
            assert [answer["id"] for answer in player.hear()] == list(range(200))
            assert not player.conn.paused
            assert player.transport.reading

    async def test_reading_pauses_while_few_but_large_ones_wait(self) -> None:
        engine = LateEngine()
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say({"id": 0, "cmd": "pub", "topic": "t", "data": 0})
            for number in range(1, 20):
                player.say({"id": number, "cmd": "ping", "more": "x" * 50_000})
            assert player.conn.paused
            assert len(player.conn.session.work.waiting) == 6
            engine.gate.set()
            await stage.settle()
            assert [answer["id"] for answer in player.hear()] == list(range(20))
            assert not player.conn.paused

    async def test_an_engine_that_fails_at_once_leaves_nothing(self) -> None:
        class Broken(MemoryEngine):
            def recover(self, *_asked: Any) -> Recovery:
                raise EngineError("away")

        async with staged(engine=Broken()) as stage:
            assert stage.connect().ask("sub", topic="t") == 113
            assert stage.hub.topics == {}
