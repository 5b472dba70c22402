"""Topics without history, of an engine that takes its time to hear a topic: who is told that it is subscribed hears
everything that is published from then on, in order, and who is not hears nothing.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastws import FastWS
from tests.gateway.engines import DistantEngine
from tests.gateway.stage import JSON, MSGPACK, Player, Stage, staged

CLIENTS = 3
TOPIC = "t:x"


class Client:
    """Checks what it hears against what was published."""

    def __init__(self, stage: Stage, codec: str) -> None:
        self.stage = stage
        self.codec = codec
        self.player: Player = stage.connect(subprotocol=codec)
        self.due: list[int] | None = None
        """What it has to hear still; None while it is not subscribed."""
        self.pending: list[str] = []

    def say(self, cmd: str) -> None:
        self.pending.append(cmd)
        self.player.say({"id": 1, "cmd": cmd, "topic": TOPIC})

    def reconnect(self) -> None:
        self.player.vanish()
        self.listen()
        self.pending.clear()
        self.due = None
        self.player = self.stage.connect(subprotocol=self.codec)

    def listen(self) -> None:
        for content in self.player.hear():
            if content.get("event") == "publication":
                assert self.due is not None, "a publication outside of a subscription"
                assert self.due.pop(0) == content["data"]
                continue
            cmd = self.pending.pop(0)
            if "error" in content:
                assert content["error"]["code"] in (105, 113)
            elif cmd == "sub":
                assert self.due is None
                self.due = []
            else:
                self.due = None


class Run:
    """One script."""

    def __init__(self, stage: Stage, engine: DistantEngine) -> None:
        self.stage = stage
        self.engine = engine
        self.clients = [Client(stage, codec) for codec in (JSON, MSGPACK, JSON)]
        self.numbers = 0

    async def act(self, what: str, which: int) -> None:
        client = self.clients[which % CLIENTS]
        if what == "publish":
            self.numbers += 1
            for each in self.clients:
                if each.due is not None:
                    each.due.append(self.numbers)
            await self.stage.app.publish(TOPIC, self.numbers)
        elif what in ("confirm", "refuse"):
            {"confirm": self.engine.confirm, "refuse": self.engine.refuse}[what]()
        elif what == "reconnect":
            client.reconnect()
        else:
            client.say(what)
        await self.settle()

    async def settle(self) -> None:
        await self.stage.settle()
        for client in self.clients:
            client.listen()

    async def finish(self) -> None:
        while self.engine.joins:
            await self.act("confirm", 0)
        await self.act("publish", 0)
        for client in self.clients:
            assert not client.pending
            assert not client.due
            client.player.vanish()
        await self.stage.settle()
        assert self.stage.hub.topics == {}
        assert self.engine._joined == set()


def run(steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        engine = DistantEngine(direct=True)
        engine.late_joins = True
        async with staged(FastWS(namespaces={"t": {"subscribe": "all"}}), engine) as stage:
            this = Run(stage, engine)
            for what, which in steps:
                await this.act(what, which)
            await this.finish()

    asyncio.run(main())


few = st.integers(0, 2)
usual = st.tuples(st.sampled_from(("sub", "confirm", "publish")), few)
seldom = st.tuples(st.sampled_from(("unsub", "reconnect", "refuse")), few)


@settings(max_examples=int(os.environ.get("FASTWS_TEST_INTERLEAVINGS", "150")), deadline=None)
@given(st.lists(st.one_of(usual, usual, seldom), max_size=30))
@example([("sub", 0), ("sub", 1), ("publish", 0), ("confirm", 0), ("publish", 0)])
@example([("sub", 0), ("reconnect", 0), ("sub", 0), ("confirm", 0), ("publish", 0)])
@example([("sub", 0), ("sub", 1), ("refuse", 0), ("sub", 0), ("sub", 2)])
def test_nobody_is_told_too_early_that_it_is_subscribed(steps: list[tuple[str, int]]) -> None:
    run(steps)


@pytest.mark.asyncio
async def test_who_ends_while_it_waits_does_not_take_the_topic_from_others() -> None:
    engine = DistantEngine(direct=True)
    engine.late_joins = True
    async with staged(FastWS(namespaces={"t": {"subscribe": "all"}}), engine) as stage:
        first, second = stage.connect(), stage.connect()
        for player in (first, second):
            player.say({"id": 1, "cmd": "sub", "topic": TOPIC})
        await stage.settle()
        first.vanish()
        await stage.settle()
        assert second.hear() == []
        engine.confirm()
        await stage.settle()
        assert second.hear_one()["result"] == {"topic": TOPIC, "recovered": False, "publications": []}


@pytest.mark.asyncio
async def test_the_server_subscribes_somebody_when_the_topic_is_heard() -> None:
    engine = DistantEngine(direct=True)
    engine.late_joins = True
    async with staged(FastWS(namespaces={"t": {"subscribe": "all"}}), engine) as stage:
        player = stage.name(stage.connect(), "u")
        asking: asyncio.Task[Any] = asyncio.create_task(stage.app.subscribe("u", TOPIC))
        await stage.settle()
        assert not asking.done()
        engine.confirm()
        assert await asking == 1
        assert player.hear_one() == {"event": "subscribed", "topic": TOPIC}
