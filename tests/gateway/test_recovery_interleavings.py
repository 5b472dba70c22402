"""Whatever comes between a question to the engine and its answer: nobody hears a topic with a gap, or anything twice,
without being told.
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

Position = tuple[str, int]


class Client:
    """Checks what it hears against what was published."""

    def __init__(self, stage: Stage, codec: str, published: dict[Position, int]) -> None:
        self.stage = stage
        self.codec = codec
        self.published = published
        self.player: Player = stage.connect(subprotocol=codec)
        self.position: Position | None = None
        """Up to where it knows everything."""
        self.is_subscribed = False
        self.pending: list[tuple[str, Position | None]] = []
        """Commands without a reply so far."""
        self.heard = 0

    def subscribe(self) -> None:
        recover = (
            {} if self.position is None else {"recover": dict(zip(("epoch", "offset"), self.position, strict=True))}
        )
        self.pending.append(("sub", self.position))
        self.player.say({"id": 1, "cmd": "sub", "topic": TOPIC, **recover})

    def unsubscribe(self) -> None:
        self.pending.append(("unsub", None))
        self.player.say({"id": 1, "cmd": "unsub", "topic": TOPIC})

    def reconnect(self) -> None:
        self.player.vanish()
        self.listen()
        self.pending.clear()
        self.is_subscribed = False
        self.player = self.stage.connect(subprotocol=self.codec)

    def listen(self) -> None:
        for content in self.player.hear():
            if "id" in content:
                self.take_reply(content)
            elif content["event"] == "publication":
                assert self.is_subscribed, "a publication outside of a subscription"
                self.take(content)
            elif content["event"] not in ("degraded", "restored"):
                assert (content["event"], content["code"]) == ("unsubscribed", 2500)
                self.is_subscribed = False

    def take_reply(self, content: dict[str, Any]) -> None:
        cmd, since = self.pending.pop(0)
        if "error" in content:
            # 105: subscribed already. 113: the engine's answers never fitted what was published meanwhile.
            assert content["error"]["code"] in (105, 113), content
            return
        result = content["result"]
        if cmd == "unsub":
            self.is_subscribed = False
            return
        assert not self.is_subscribed
        self.is_subscribed = True
        position = (result["epoch"], result["offset"])
        if result["recovered"]:
            assert since is not None
            assert since[0] == position[0]
            self.position = since
            for publication in result["publications"]:
                self.take(publication)
            assert self.position == position
        else:
            assert result["publications"] == []
            self.position = position

    def take(self, publication: dict[str, Any]) -> None:
        assert self.position is not None
        epoch, offset = self.position
        assert publication["offset"] == offset + 1, (self.position, publication)
        self.position = (epoch, offset + 1)
        assert self.published[self.position] == publication["data"]
        self.heard += 1


class Run:
    """One script."""

    def __init__(self, stage: Stage, engine: DistantEngine) -> None:
        self.stage = stage
        self.engine = engine
        self.published: dict[Position, int] = {}
        self.clients = [Client(stage, codec, self.published) for codec in (JSON, MSGPACK, JSON)]
        self.numbers = 0
        self.is_spoiled = False
        """Something was lost that only what is published later can show."""

    async def act(self, what: str, which: int) -> None:
        client = self.clients[which % CLIENTS]
        questions = self.engine.open
        if what == "publish":
            await self.publish()
        elif what == "arrive":
            self.engine.let_arrive(which + 1)
        elif what == "lose":
            self.is_spoiled = True
            self.engine.lose()
        elif what == "repeat":
            self.engine.link.extendleft(reversed(list(self.engine.link)[: which + 1]))
        elif what == "outage" and not self.engine.is_away:
            self.engine.go_away()
        elif what == "outage":
            self.engine.come_back()
        elif what == "forget":
            self.is_spoiled = True
            self.engine.forget(TOPIC)
        elif what in ("look up", "answer", "fail"):
            if questions:
                question = questions[which % len(questions)]
                {"look up": self.engine.look_up, "answer": self.engine.answer, "fail": self.engine.fail}[what](question)
        else:
            {"sub": client.subscribe, "unsub": client.unsubscribe, "reconnect": client.reconnect}[what]()
        await self.settle()

    async def publish(self) -> None:
        """What is published during an outage, others publish: it is not heard here."""
        is_away, self.engine.is_away = self.engine.is_away, False
        self.numbers += 1
        done = await self.stage.app.publish(TOPIC, self.numbers)
        assert done.epoch is not None
        assert done.offset is not None
        self.published[done.epoch, done.offset] = self.numbers
        self.engine.is_away = is_away
        if is_away:
            self.engine.link.clear()

    async def settle(self) -> None:
        await self.stage.settle()
        for client in self.clients:
            client.listen()

    async def calm(self) -> None:
        """Everything arrives and is answered."""
        for _ in range(50):
            self.engine.let_arrive()
            self.engine.answer_all()
            await self.settle()
            if not self.engine.open and not self.engine.link:
                break

    async def finish(self) -> None:
        """In the end everybody knows everything, or is not subscribed."""
        if self.engine.is_away:
            await self.act("outage", 0)
        await self.calm()
        if self.is_spoiled:
            await self.publish()
            await self.calm()
        log = self.engine._logs.get(TOPIC)
        for client in self.clients:
            assert not client.pending
            if client.is_subscribed:
                assert log is not None
                assert client.position == (log.epoch, log.offset)
        assert all(not topic.awaited and topic.recent is None for topic in self.stage.hub.topics.values())
        for client in self.clients:
            client.player.vanish()
        await self.stage.settle()
        assert self.stage.hub.topics == {}
        assert self.engine._joined == set()


def run(steps: list[tuple[str, int]], history_size: int) -> None:
    async def main() -> None:
        options = {"subscribe": "all", "history_size": history_size, "recover": True}
        engine = DistantEngine()
        async with staged(FastWS(namespaces={"t": options}), engine) as stage:
            this = Run(stage, engine)
            for what, which in steps:
                await this.act(what, which)
            await this.finish()

    asyncio.run(main())


few = st.integers(0, 3)
usual = st.one_of(
    st.tuples(st.just("publish"), st.just(0)),
    st.tuples(st.sampled_from(("arrive", "sub", "look up", "answer")), few),
)
seldom = st.tuples(st.sampled_from(("unsub", "reconnect", "lose", "forget", "fail", "repeat", "outage")), few)


def script(text: str) -> list[tuple[str, int]]:
    """One of these in a line: `sub 0, answer 0, publish`."""
    steps = [step.strip().rpartition(" ") for step in text.split(",")]
    return [(what, int(which)) if what else (which, 0) for what, _, which in steps]


# Each of them has failed when one of the checks in the hub was left out.
@settings(max_examples=int(os.environ.get("FASTWS_TEST_INTERLEAVINGS", "150")), deadline=None)
@given(st.lists(st.one_of(usual, usual, usual, seldom), max_size=40), st.sampled_from([2, 100]))
@example(script("sub 0, look up 0, publish, arrive 0, answer 0"), 100)
@example(script("sub 0, answer 0, publish, sub 1, answer 0, publish, arrive 2"), 100)
@example(script("sub 0, publish, answer 0, publish, lose, publish, arrive 2"), 2)
@example(script("sub 0, answer 0, reconnect 0, sub 1, sub 0, look up 1, publish, answer 0, answer 0"), 100)
@example(script("sub 0, answer 0, reconnect 0, sub 0, look up 0, forget, publish, arrive 0, answer 0"), 100)
@example(script("sub 1, answer 0, sub 0, look up 0, forget, publish, arrive 0, answer 0"), 100)
@example(script("sub 0, look up 0, outage, publish, outage, answer 0"), 100)
@example(script("sub 0, answer 0, publish, lose, publish, arrive 0, look up 0, outage, publish, outage, answer 0"), 100)
def test_nobody_is_told_a_wrong_story(steps: list[tuple[str, int]], history_size: int) -> None:
    run(steps, history_size)


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_comes_between_question_and_answer_is_told_once(when: str) -> None:
    """`when` the engine reads the topic: before or after it was published to."""

    async def main() -> None:
        engine = DistantEngine()
        async with staged(engine=engine) as stage:
            first = stage.connect()
            first.say({"id": 1, "cmd": "sub", "topic": "t"})
            engine.answer_all()
            await stage.settle()
            epoch = first.hear_one()["result"]["epoch"]
            for number in (1, 2):
                await stage.app.publish("t", number)
            engine.let_arrive()
            late = stage.connect()
            late.say({"id": 1, "cmd": "sub", "topic": "t", "recover": {"epoch": epoch, "offset": 1}})
            if when == "before":
                engine.look_up(engine.open[0])
            await stage.app.publish("t", 3)
            engine.let_arrive(1 if when == "before" else 0)
            engine.answer_all()
            await stage.settle()
            engine.let_arrive()
            await stage.app.publish("t", 4)
            engine.let_arrive()
            await stage.settle()
            reply, *pushes = late.hear()
            assert [entry["data"] for entry in reply["result"]["publications"]] == [2, 3]
            assert (reply["result"]["offset"], reply["result"]["recovered"]) == (3, True)
            assert [push["data"] for push in pushes] == [4]
            assert [push["data"] for push in first.hear()] == [1, 2, 3, 4]

    asyncio.run(main())
