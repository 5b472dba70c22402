"""Which topics are heard, over all processes: each is asked, for nobody notes down who joins what.

A million topics with one subscriber each would be a million entries in Redis that come and go with their connections;
who asks for a list does that seldom.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Sequence
from itertools import count
from typing import Annotated, Final

import msgspec

from fastws.engine.redis.common import Common
from fastws.engine.redis.envelope import ANSWER, QUESTION, pack, unpack
from fastws.engine.redis.names import HOME, partition_of
from fastws.errors import EngineError
from fastws.types import TopicInfo

ANSWER_S: Final = 1.0
"""Seconds for which others are waited for; what they have answered until then counts."""

MAX_TOPICS: Final = 1_000_000
"""In one list; who asks for more is told so many."""

_QUESTIONS: Final = b"ask"
_ANSWERS: Final = b"ans"
_AT_ONCE: Final = 1000  # topics in one message
_MAX_WAITING: Final = 32  # questions of this process at the same time


class _Question(msgspec.Struct, array_like=True):
    """Which topics have subscribers."""

    asker: str
    """Whose channel the answer goes to."""
    number: int
    tenant: bytes
    """Of a token, which may have halves of surrogate pairs in it."""
    pattern: bytes


class _Answer(msgspec.Struct, array_like=True):
    """A part of what one process knows."""

    number: int
    is_last: bool
    topics: list[tuple[str, Annotated[int, msgspec.Meta(ge=0)]]]


_questions: Final = msgspec.msgpack.Decoder(_Question)
_answers: Final = msgspec.msgpack.Decoder(_Answer)


class _Collected:
    """What has been answered to one question."""

    def __init__(self) -> None:
        self.topics: dict[str, int] = {}
        self.answered = 0
        """Processes that have said everything."""
        self.expected: int | None = None
        """Processes that were asked; None while that is not known."""
        self.is_complete = asyncio.Event()

    def check(self) -> None:
        """Whether that was all."""
        if self.expected is not None and self.answered >= self.expected:
            self.is_complete.set()


class Asking:
    """Asks, and answers others."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._name = os.urandom(8).hex()
        self._numbers = count(1)
        self._waiting: dict[int, _Collected] = {}

    async def start(self) -> None:
        """Hear questions and answers."""
        names, backbone = self._common.names, self._common.backbone
        partition = partition_of(self._name)
        channels = ((HOME, names.key(_QUESTIONS, HOME)), (partition, names.key(_ANSWERS, partition, self._name)))
        for (at, channel), hear in zip(channels, (self._hear_question, self._hear_answer), strict=True):
            self._common.listeners[channel] = hear
            answer = backbone.subscribe(at, channel)
            if answer is not None:
                await answer

    def topics(self, tenant: str, pattern: str) -> asyncio.Task[Sequence[TopicInfo]]:
        """Those that somebody hears."""
        self._common.require(HOME)
        if len(self._waiting) >= _MAX_WAITING:
            raise EngineError("too many lists of topics are asked for at the same time")
        return self._common.later(self._ask(tenant, pattern))

    async def _ask(self, tenant: str, pattern: str) -> Sequence[TopicInfo]:
        number = next(self._numbers)
        collected = self._waiting[number] = _Collected()
        body = msgspec.msgpack.encode(_Question(self._name, number, _packed(tenant), _packed(pattern)))
        channel = self._common.names.key(_QUESTIONS, HOME)
        try:
            told = await self._common.backbone.say(HOME, channel, pack(QUESTION, body))
            collected.expected = told if isinstance(told, int) else 1
            collected.check()
            await asyncio.wait_for(collected.is_complete.wait(), ANSWER_S)
        except TimeoutError:
            pass  # whoever has died meanwhile has no topics
        finally:
            del self._waiting[number]
        return [TopicInfo(*topic) for topic in collected.topics.items()]

    # What arrives.

    def _hear_question(self, payload: bytes) -> None:
        opened = unpack(payload)
        try:
            if opened is None or opened[0] != QUESTION:
                raise msgspec.DecodeError
            question = _questions.decode(opened[1])
            tenant, pattern = (name.decode("utf-8", "surrogatepass") for name in (question.tenant, question.pattern))
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._common.skip("question")
            return
        self._common.later(self._answer(question, tenant, pattern))

    async def _answer(self, question: _Question, tenant: str, pattern: str) -> None:
        found = self._common.events.topics_of(tenant, pattern)
        topics = await found if isinstance(found, Awaitable) else found
        partition = partition_of(question.asker)
        channel = self._common.names.key(_ANSWERS, partition, question.asker)
        for begin in range(0, max(1, len(topics)), _AT_ONCE):
            part = [(topic.topic, topic.subscribers) for topic in topics[begin : begin + _AT_ONCE]]
            answer = _Answer(question.number, begin + _AT_ONCE >= len(topics), part)
            await self._common.backbone.say(partition, channel, pack(ANSWER, msgspec.msgpack.encode(answer)))

    def _hear_answer(self, payload: bytes) -> None:
        opened = unpack(payload)
        try:
            answer = _answers.decode(opened[1]) if opened is not None and opened[0] == ANSWER else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if answer is None:
            self._common.skip("answer")
            return
        collected = self._waiting.get(answer.number)
        if collected is None:
            return  # it came too late
        for topic, subscribers in answer.topics:
            if topic in collected.topics or len(collected.topics) < MAX_TOPICS:
                collected.topics[topic] = collected.topics.get(topic, 0) + subscribers
        collected.answered += answer.is_last
        collected.check()


def _packed(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")
