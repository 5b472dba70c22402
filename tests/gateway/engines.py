"""Engines in memory with the weaknesses of those that are elsewhere: late answers, slow links, losses, outages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastws.core.publication import Position, Publication, Retention
from fastws.engine.contract import UNREACHED, Answer, Order, Outgoing, Recovery
from fastws.engine.memory import MemoryEngine
from fastws.errors import EngineError
from fastws.types import Published


@dataclass
class Question:
    """A `recover` that a test has to answer."""

    topic: str
    retention: Retention
    since: Position | None
    future: asyncio.Future[Recovery] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    read: Recovery | None = None
    """What the engine has found; its answer may be under way for long."""

    @property
    def is_open(self) -> bool:
        return not self.future.done()


class DistantEngine(MemoryEngine):
    """One that is elsewhere: its answers come when a test says so, and so do its events.

    With `prompt` answers come at once; with `direct` events do.
    """

    def __init__(self, *clocks: Any, prompt: bool = False, direct: bool = False) -> None:
        super().__init__(*clocks)
        self.prompt = prompt
        self.direct = direct
        self.questions: list[Question] = []
        self.link: deque[tuple[str, Publication, str, str]] = deque()
        """Events that have not arrived."""
        self.is_away = False
        self.cut_off: set[str] = set()
        """Topics whose part is away."""
        self.looks = 0
        """Times that positions were asked for."""
        self.late_joins = False
        """Nothing of a topic arrives before a test confirms that it is joined."""
        self.joins: list[tuple[str, asyncio.Future[None]]] = []
        """Those that a test has to confirm."""

    async def start(self, events: Any) -> None:
        await super().start(_Far(self, events))

    def join(self, topic: str) -> Answer[None]:  # type: ignore[override]
        if not self.late_joins:
            return super().join(topic)
        self.joins.append((topic, asyncio.get_running_loop().create_future()))
        return self.joins[-1][1]

    def recover(self, topic: str, retention: Retention, since: Position | None) -> Answer[Recovery]:  # type: ignore[override]
        self.check(topic)
        if self.prompt:
            return super().recover(topic, retention, since)
        self.questions.append(Question(topic, retention, since))
        return self.questions[-1].future

    def publish(self, outgoing: Outgoing) -> Published:
        if self.is_away:
            if outgoing.retention is not None or outgoing.key is not None:
                raise EngineError("away")
            direct, self.direct = self.direct, True
            published = super().publish(outgoing)
            self.direct = direct
            return published._replace(degraded=True)
        return super().publish(outgoing)

    def history(self, *asked: Any, **more: Any) -> Any:
        self.check()
        return super().history(*asked, **more)

    def positions(self, topics: Sequence[str]) -> Sequence[Position | None]:
        self.looks += 1
        self.check()
        found = super().positions(topics)
        return [found[at] if self.reaches(topic) else UNREACHED for at, topic in enumerate(topics)]

    def reaches(self, topic: str) -> bool:
        return not self.is_away and topic not in self.cut_off

    def can_order(self, order: Order | None) -> bool:
        return order is not None and order.user not in self.cut_off

    def check(self, *topics: str) -> None:
        if self.is_away or not self.cut_off.isdisjoint(topics):
            raise EngineError("away")

    # What tests do with it.

    @property
    def open(self) -> Sequence[Question]:
        """The questions that are not answered."""
        return [question for question in self.questions if question.is_open]

    def look_up(self, question: Question) -> None:
        """Find the answer, without giving it yet."""
        question.read = super().recover(question.topic, question.retention, question.since)

    def answer(self, question: Question) -> None:
        """Give the answer that was found, or find it now."""
        if question.read is None:
            self.look_up(question)
        if question.is_open:
            question.future.set_result(question.read)  # type: ignore[arg-type]

    def answer_all(self) -> None:
        for question in self.open:
            self.answer(question)

    def fail(self, question: Question) -> None:
        if question.is_open:
            question.future.set_exception(EngineError("away"))

    def confirm(self) -> None:
        """The oldest topic that was joined is heard from now on, if it was not left again."""
        if self.joins:
            topic, future = self.joins.pop(0)
            if not future.cancelled():
                super().join(topic)
                future.set_result(None)

    def refuse(self) -> None:
        """The oldest topic that was joined cannot be."""
        if self.joins:
            self.joins.pop(0)[1].set_exception(EngineError("no room"))

    def let_arrive(self, count: int = 1_000_000) -> None:
        """The next events arrive."""
        for _ in range(min(count, len(self.link))):
            assert self._events is not None
            self._events.events.on_publication(*self.link.popleft())  # type: ignore[attr-defined]

    def lose(self, count: int = 1) -> None:
        """The next events are lost."""
        for _ in range(min(count, len(self.link))):
            self.link.popleft()

    def forget(self, topic: str) -> None:
        """What is known of a topic is gone: its next epoch begins."""
        if self._logs.pop(topic, None) is not None:
            self._turns.remove(topic)

    def go_away(self) -> None:
        self.is_away = True
        self.link.clear()
        assert self._events is not None
        self._events.on_degraded(int(self._wall_clock() * 1000))

    def come_back(self) -> None:
        self.is_away = False
        assert self._events is not None
        self._events.on_restored(int(self._wall_clock() * 1000))

    def lose_part(self, *topics: str) -> None:
        """What these topics need is away."""
        self.cut_off.update(topics)
        assert self._events is not None
        self._events.on_degraded(int(self._wall_clock() * 1000), frozenset(topics).__contains__)

    def get_part(self, *topics: str) -> None:
        """It is back; others may be away still."""
        self.cut_off.difference_update(topics)
        concerns = frozenset(topics).__contains__
        assert self._events is not None
        self._events.on_restored(int(self._wall_clock() * 1000), concerns, is_over=not self.cut_off)


class _Far:
    """The hub, at the other end of the link."""

    def __init__(self, engine: DistantEngine, events: Any) -> None:
        self.events = events
        self._engine = engine

    def on_publication(self, *event: Any) -> None:
        if self._engine.direct:
            self.events.on_publication(*event)
        else:
            self._engine.link.append(event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.events, name)
