"""Processes that come, go, stop for a while and die, and a Redis that forgets: in the end everybody knows who is there,
and nobody was said to be lost twice, or wrongly.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress

import pytest

from fastws.engine.redis.names import BURIALS, HOME
from fastws.errors import EngineError
from tests.engine.redis.fleet.nodes import LEASE_S, Member, Members
from tests.engine.suite.stand import got, until, until_async

pytestmark = pytest.mark.asyncio

USERS = [f"u{number}" for number in range(12)]


class Play:
    """One run."""

    def __init__(self, members: Members, seed: int) -> None:
        self.members = members
        self.random = random.Random(seed)
        self.running: list[Member] = []
        self.of_killed: set[str] = set()
        """Connections that were there when their process was killed."""
        self.killed: set[str] = set()
        """Names of those that were. What ended there in an outage, just before, may be reported as well."""
        self.frozen: Counter[str] = Counter()
        """How often who was stopped was taken for dead for that."""
        self.former: set[str] = set()
        """Connections of processes that were stopped at some time."""
        self.forgot = False
        self.count = 0

    async def run(self, steps: int) -> None:
        self.running = await self.members.some(3, LEASE_S)
        for _ in range(steps):
            for _ in range(self.random.randrange(30)):
                self.come_or_go(self.random.choice(self.running))
            act = self.random.choice([self.pause, self.pause, self.freeze, self.kill, self.forget, self.cut])
            await act()
        await until_async(self.is_right, "everybody knows who is there")

    def come_or_go(self, member: Member) -> None:
        here = [one for user in USERS for one in member.house.sessions_of(user)]
        if here and self.random.random() < 0.4:
            gone = self.random.choice(here)
            member.detach(gone.user, gone.conn)
        else:
            self.count += 1
            member.attach(self.random.choice(USERS), f"{member.house.name}-{self.count:x}", "web")

    async def is_written(self, member: Member) -> None:
        """What it has said so far has been noted, also what could not be while Redis was away."""
        while True:
            await until(lambda: _is_sure(member), "it is back")
            with suppress(EngineError):
                for user in USERS:  # what is asked of a partition comes after what was written there
                    await member.sessions(user)
                if _is_sure(member):
                    return

    async def pause(self) -> None:
        await asyncio.sleep(self.random.uniform(0, 0.1))

    async def freeze(self) -> None:
        member = self.random.choice(self.running)
        await self.is_written(member)
        self.former |= {one.conn for one in member.house.sessions_here()}
        member.halt()
        await asyncio.sleep(self.random.uniform(0, 2 * LEASE_S))
        member.go_on()
        fenced, identity = member.house.fenced, member.id
        await asyncio.sleep(LEASE_S / 3)
        if member.id != identity and not self.forgot:
            await until(lambda: member.house.fenced > fenced, "it is told")
        self.frozen[member.house.name] += member.house.fenced - fenced

    async def kill(self) -> None:
        if len(self.running) > 2:
            member = self.running.pop(self.random.randrange(len(self.running)))
            await self.is_written(member)
            self.killed.add(member.house.name)
            self.of_killed |= {one.conn for one in member.house.sessions_here()}
            await member.die()
            self.running.append(await self.members.make(LEASE_S))

    async def forget(self) -> None:
        if self.random.random() < 0.3:
            self.forgot = True
            await self.running[0].command("FLUSHALL")

    async def cut(self) -> None:
        """Every connection to Redis is lost at once."""
        await self.running[0].command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(self.random.uniform(0, 0.3))

    async def is_right(self) -> bool:
        expected = {user: sorted(one.conn for m in self.running for one in m.house.sessions_of(user)) for user in USERS}
        for member in self.running:
            if not member.engine._common.is_home_up:
                return False
            for user in USERS:
                if sorted(one.conn for one in await member.sessions(user)) != expected[user]:
                    return False
            if len(await got(member.engine.nodes())) != len(self.running):
                return False
        first = self.running[0]
        ids = {member.id for member in self.running}
        noted = [key.rsplit(":", 1)[1] for key in await first.keys() if ":nu:" in key]
        over = not await first.command("HLEN", first.engine._common.names.key(BURIALS, HOME))
        return over and (self.forgot or set(noted) <= ids)

    def check(self) -> None:
        lost = Counter(one.conn for member in self.members.all for one in member.house.lost)
        assert set(lost.values()) <= {1}
        # On a busy machine a process may take longer than a lease to come back after its connections were cut.
        late = {m.house.name for m in self.members.all if m.house.fenced > self.frozen[m.house.name]}
        assert {conn for conn in lost if conn.split("-")[0] not in self.killed | late} <= self.former
        if not self.forgot:
            assert self.of_killed <= lost.keys()


def _is_sure(member: Member) -> bool:
    """Whether all that has changed at a process was noted, or is on its way."""
    registering = member.engine._nodes._registering
    return (
        member.engine._common.is_home_up
        and member.house.outages[-1:] in ([], ["restored"])
        and not member.engine._sessions.is_doubtful
        and (registering is None or registering.done())
    )


@pytest.mark.parametrize("seed", [2])
async def test_whatever_happens_everybody_knows_who_is_there(members: Members, seed: int) -> None:
    play = Play(members, seed)
    await play.run(12)
    play.check()
