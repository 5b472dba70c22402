"""Places among the connections of a user, asked for at several processes while links to Redis break: nobody is closed
for nothing, no process has more than may be, and where nothing broke all of them together have not.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from fastws.core.topics import scoped
from fastws.engine.contract import Order, Outcome
from fastws.errors import EngineError
from tests.engine.redis.fleet.nodes import Member, Members
from tests.engine.suite.stand import until_async

pytestmark = pytest.mark.asyncio

USERS = ("ann", "bob", "cid")
LIMIT = 3


class Play:
    """One run."""

    def __init__(self, running: list[Member], seed: int, *, replaces: bool, breaks: bool) -> None:
        self.running = running
        self.random = random.Random(seed)
        self.replaces = replaces
        self.breaks = breaks
        self.count = 0
        self.replaced: set[str] = set()
        """Connections that had to go, as those were told who got their places."""
        self.closed: set[str] = set()
        """Those that were told to go."""
        self.wrong: list[str] = []
        for member in running:
            member.house.answer = self._closing(member)

    def _closing(self, member: Member) -> Any:
        def answer(order: Order) -> Outcome:
            here = member.house.session_of(order.conn or "")
            if here is None:
                return Outcome()
            self.closed.add(here.conn)
            member.detach(here.user, here.conn)
            return Outcome(1)

        return answer

    async def come(self, member: Member) -> None:
        user = self.random.choice(USERS)
        self.count += 1
        conn = f"{member.house.name}-{self.count}"
        admission = await member.admit(scoped("", user), conn, limit=LIMIT, replaces=self.replaces)
        for gone in admission.replaced:
            self.replaced.add(gone)
            if int(gone.split("-")[1]) == self.count:
                self.wrong.append(f"{gone} went for itself")
        if admission.admitted:
            member.attach(user, conn)
        elif self.replaces:
            self.wrong.append(f"{conn} was refused")
        staying = [one.conn for one in member.house.sessions_of(user) if one.conn not in self.replaced]
        if len(staying) > LIMIT:
            self.wrong.append(f"{staying} of {user} at one process")

    async def step(self) -> None:
        asked = [asyncio.create_task(self.come(self.random.choice(self.running)))]
        if self.random.random() < 0.3:
            asked.append(asyncio.create_task(self.come(self.random.choice(self.running))))
        if self.breaks and self.random.random() < 0.15:
            member = self.random.choice(self.running)
            for _ in range(self.random.randrange(3)):
                await asyncio.sleep(0)
            self.cut(member)
        await asyncio.gather(*asked)
        if self.random.random() < 0.4:
            here = [(m, one) for m in self.running for user in USERS for one in m.house.sessions_of(user)]
            if here:
                member, gone = self.random.choice(here)
                member.detach(gone.user, gone.conn)

    def cut(self, member: Member) -> None:
        """Every connection to Redis is lost, and what was asked has no answer."""
        with suppress(EngineError):
            member.engine._common.backbone.call(0, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")

    def total(self, user: str) -> int:
        return sum(len(member.house.sessions_of(user)) for member in self.running)

    async def is_right(self) -> bool:
        for member in self.running:
            if not member.engine._common.is_home_up or member.house.outages[-1:] == ["degraded"]:
                return False
            for user in USERS:
                expected = sorted(one.conn for m in self.running for one in m.house.sessions_of(user))
                if sorted(await member.conns(user)) != expected:
                    return False
        return True


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
async def test_places(members: Members, seed: int, breaks: bool, replaces: bool) -> None:
    play = Play(await members.some(3), seed, replaces=replaces, breaks=breaks)
    for _ in range(40):
        await play.step()
    await until_async(play.is_right, "Redis has who is here")
    assert play.wrong == []
    assert play.closed <= play.replaced
    assert replaces or not play.closed
    totals = [play.total(user) for user in USERS]
    if breaks:
        assert any(member.house.outages for member in play.running)
        assert max(totals) <= LIMIT * len(play.running)
    else:
        assert max(totals) <= LIMIT
