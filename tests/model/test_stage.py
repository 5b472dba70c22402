"""Random clients of a gateway in memory: a subscriber's history has no gap and nothing twice, or it was told so.

Each machine has an engine that is worse than the one before it.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.gateway.engines import Question
from tests.model.machine import HISTORY, Conversation, play_settings, who
from tests.model.on_stage import StageWorld


class AtOnce(Conversation):
    """The engine answers at once, as the one in memory does."""

    world: StageWorld

    @initialize()
    def start(self) -> None:
        self.begin(StageWorld(prompt=True, direct=True))

    @rule(seconds=st.sampled_from([1.0, 25.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        """What is too old is trimmed."""
        self.world.clock.now_s += seconds


class Later(AtOnce):
    """It answers when it likes, in whatever order; what it reports comes at once."""

    @initialize()
    def start(self) -> None:
        self.begin(StageWorld(prompt=False, direct=True))
        self.is_prompt = False

    def question(self, which: int) -> Question | None:
        questions = self.world.engine.open
        return questions[which % len(questions)] if questions else None

    async def do(self, action: Any, *args: Any) -> None:
        action(*args)

    @rule(which=st.integers(0, 7))
    def look_up(self, which: int) -> None:
        """The engine knows the answer, which is under way from now on."""
        question = self.question(which)
        if question is not None and question.read is None:
            self.world.engine.look_up(question)

    @rule(which=st.integers(0, 7))
    def answer(self, which: int) -> None:
        question = self.question(which)
        if question is not None:
            self.world.run(self.do(self.world.engine.answer, question))
            self.world.settle()

    @rule()
    def answer_all(self) -> None:
        self.world.run(self.do(self.world.engine.answer_all))
        self.world.settle()

    @rule(which=st.integers(0, 7))
    def fail(self, which: int) -> None:
        question = self.question(which)
        if question is not None:
            self.world.run(self.do(self.world.engine.fail, question))
            self.world.settle()

    @rule(name=who, topic=st.sampled_from(HISTORY), before=st.integers(0, 2), meanwhile=st.integers(0, 3))
    def come_back_meanwhile(self, name: str, topic: str, before: int, meanwhile: int) -> None:
        """The usual thing, and others publish while the engine answers."""
        self.come_back(name, topic, missed=0)
        for _ in range(before):
            self.publish_by_server(topic, None)
        self.world.settle()
        for which in range(len(self.world.engine.open)):
            self.look_up(which)
        for _ in range(meanwhile):
            self.publish_by_server(topic, None)
            self.world.run(self.do(self.world.engine.let_arrive))

    @rule(topic=st.sampled_from(HISTORY))
    def forget_meanwhile(self, topic: str) -> None:
        self.world.forget(topic)


class Slowly(Later):
    """What it reports comes late as well, but in order and completely."""

    @initialize()
    def start(self) -> None:
        self.begin(StageWorld(prompt=False, direct=False))
        self.is_prompt = False

    @rule(count=st.sampled_from([1, 2, 5, 1000]))
    def arrive(self, count: int) -> None:
        self.world.run(self.do(self.world.engine.let_arrive, count))
        self.world.settle()


class Losing(Slowly):
    """It loses some of that, and is away at times."""

    @rule(count=st.integers(1, 3))
    def lose(self, count: int) -> None:
        self.world.engine.lose(count)

    @precondition(lambda self: not self.world.engine.is_away)
    @rule()
    def go_away(self) -> None:
        self.world.run(self.do(self.world.engine.go_away))

    @precondition(lambda self: self.world.engine.is_away)
    @rule()
    def return_(self) -> None:
        self.world.run(self.world.come_back())


SETTINGS = play_settings(few=60, steps=40)

TestAtOnce = AtOnce.TestCase
TestAtOnce.settings = SETTINGS
TestLater = Later.TestCase
TestLater.settings = SETTINGS
TestSlowly = Slowly.TestCase
TestSlowly.settings = SETTINGS
TestLosing = Losing.TestCase
TestLosing.settings = SETTINGS
