"""Redis that refuses, or whose answers are lost, while what it lacks is written again: in the end it has who is here,
and others were told a story that makes sense.
"""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from typing import Any

import pytest

from fastws.engine.redis import presence as presence_module
from fastws.engine.redis.resp.errors import AwayError, ReplyError
from tests.engine.redis.desk import ROOM, Desk
from tests.engine.suite.stand import until, until_async

pytestmark = pytest.mark.asyncio

TOPICS = (ROOM, "hall", "attic")


class Faults:
    """Between a process and its Redis: some scripts and commands are refused, of some the answer is lost."""

    def __init__(self, desk: Desk, seed: int, share: float) -> None:
        self.random = random.Random(seed)
        self.share = share
        self.count = 0
        self._backbone: Any = desk.common.backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def run(self, *words: Any) -> Any:
        return self._maybe(self._backbone.run, *words)

    def call(self, *words: Any) -> Any:
        return self._maybe(self._backbone.call, *words)

    def say(self, *words: Any) -> Any:
        return self._maybe(self._backbone.say, *words)

    def _maybe(self, do: Any, *words: Any) -> Any:
        chance = self.random.random()
        if chance >= self.share:
            return do(*words)
        self.count += 1
        if chance < self.share * 0.2:
            raise AwayError("too much waits")
        failed = asyncio.get_running_loop().create_future()
        if chance < self.share * 0.6:
            failed.set_exception(ReplyError("OOM", "OOM"))
        else:
            do(*words)
            failed.set_exception(AwayError("the link broke"))
        failed.exception()
        return failed


def story_of(desk: Desk, topic: str) -> dict[str, list[str]]:
    """What a process was told of each connection."""
    told: dict[str, list[str]] = {}
    for what, conn in desk.house.told(topic):
        told.setdefault(conn, []).append(what)
    return told


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_refused_redis_has_who_is_here(
    desks: list[Desk], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(presence_module, "REPAIRED_AFTER_S", 0.005)
    monkeypatch.setattr(presence_module, "_WRITTEN_AT_ONCE", 7)
    monkeypatch.setattr(presence_module, "_SCANNED_AT_ONCE", 5)
    one, two, _ = desks
    for topic in TOPICS[1:]:
        await two.hear(topic)
    faults = Faults(one, seed, 0.3)
    one.common.backbone = faults  # type: ignore[assignment]
    chance = random.Random(seed)
    count = 0
    for _ in range(60):
        for _ in range(chance.randrange(12)):
            topic = chance.choice(TOPICS)
            here = list(one.house.members.get(topic, {}))
            if here and chance.random() < 0.45:
                one.go(chance.choice(here), topic=topic)
            else:
                count += 1
                one.come(f"c-{count}", f"u{count % 5}", topic=topic)
        await asyncio.sleep(chance.choice((0, 0, 0.002, 0.01)))
    assert faults.count > 20
    faults.share = 0.0

    async def is_right() -> bool:
        for topic in TOPICS:
            here = one.house.members.get(topic, {})
            users = {member.user for member, _ in here.values()}
            listed = await two.who(topic=topic)
            if (listed.members.keys(), listed.connections, listed.users) != (here.keys(), len(here), len(users)):
                return False
        return True

    await until_async(is_right)
    await until(lambda: not one.presence._is_doubtful and one.presence._repairing is None)
    last = "last"
    one.come(last)
    await until(lambda: ("join", last) in two.house.told(ROOM))
    for topic in TOPICS:
        for conn, told in story_of(two, topic).items():
            assert all(before != after for before, after in pairwise(told)), (conn, told)
            if not [crowd for crowd in two.house.crowds if crowd[0] == topic]:
                assert (told[-1] == "join") == (conn in one.house.members[topic]), (conn, told)
    assert not one.presence._unsaid


async def test_what_is_refused_during_a_repair_is_repaired_by_another(
    desks: list[Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "REPAIRED_AFTER_S", 0.01)
    one, two, _ = desks
    one.come("a")
    await one.count()
    faults = Faults(one, 1, 0.0)
    one.common.backbone = faults  # type: ignore[assignment]
    compare: Any = one.presence._correct
    repairs = 0

    async def correct(*words: Any, **more: Any) -> None:
        nonlocal repairs
        repairs += 1
        if repairs == 1:
            faults.share = 1.0
            one.come("b")
            one.presence.flush()
            faults.share = 0.0
        await compare(*words, **more)

    one.presence._correct = correct  # type: ignore[method-assign]
    one.presence._fail(0, AwayError("refused"))
    await until(lambda: ("join", "b") in two.house.told(ROOM))
    assert repairs == 2
    assert (await two.who()).members.keys() == {"a", "b"}
    assert two.house.told(ROOM) == [("join", "a"), ("join", "b")]


async def test_a_beginning_that_was_interrupted_is_gone_on_with(desks: list[Desk]) -> None:
    one, two, _ = desks
    for number in range(5):
        one.come(f"c-{number}")
    await one.count()
    await until(lambda: len(two.house.told(ROOM)) == 5)
    await one.command("FLUSHALL")
    one.common.node = "n9"
    rows = list(one.house.presence_here())
    await one.presence.register(rows[:2])
    await until(lambda: len(two.house.crowds) == 1)
    await one.presence.repair(one.house.presence_here(), announce=False)
    await until(lambda: len(two.house.crowds) == 2)
    assert len(two.house.told(ROOM)) == 5, "they are known"
    assert (await two.who()).members.keys() == one.house.members[ROOM].keys()
