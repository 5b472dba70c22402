"""What is taken away behind a dead node; over several processes see `test_nodes`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.engine.redis import names
from fastws.engine.redis.fleet import reaper as reaper_module
from fastws.engine.redis.fleet.reaper import Reaper
from fastws.engine.redis.names import partition_of
from fastws.errors import EngineError
from tests.engine.redis.fleet.nodes import Member, Members
from tests.engine.suite.stand import got, until, until_async

pytestmark = pytest.mark.asyncio


async def two_nodes(members: Members, count: int) -> tuple[Member, str]:
    """One that lives, and the id of one with connections that has died."""
    one, dead = await members.some(2)
    for number in range(count):
        dead.attach(f"u{number}", f"a-{number}")
    await until_async(lambda: one.conns(f"u{count - 1}"))
    node = dead.id
    await dead.die()
    return one, node


async def test_an_outage_leaves_nothing_half_done_and_reports_nobody_twice(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper_module, "_RETRY_S", 0.001)
    one, node = await two_nodes(members, 100)
    sessions: Any = one.engine._sessions.noted
    forget, lost = sessions.forget, sessions.lost
    turn = 0

    async def forget_unheard(*words: Any) -> Any:
        """Each second answer does not arrive."""
        nonlocal turn
        turn += 1
        answer = await forget(*words)
        if turn % 2:
            raise EngineError("away")
        return answer

    async def lost_seldom(*words: Any) -> Any:
        nonlocal turn
        turn += 1
        if turn % 3 == 0:
            raise EngineError("away")
        return await lost(*words)

    with monkeypatch.context() as patched:
        patched.setattr(sessions, "forget", forget_unheard)
        patched.setattr(sessions, "lost", lost_seldom)
        async with asyncio.timeout(30):
            assert await one.engine._nodes._reaper.clear(node, report=True) == 100
    assert sorted(one.conn for one in one.house.lost) == sorted(f"a-{number}" for number in range(100))


async def test_nothing_is_reported_of_former_ids(members: Members) -> None:
    one, node = await two_nodes(members, 10)
    assert await one.engine._nodes._reaper.clear(node, report=False) == 10
    assert one.house.lost == []
    assert not [key for key in await one.keys() if node in key and not set(key.split(":")) & {"gone", "nr", "nodes"}]


async def test_presence_is_asked_until_it_is_done(members: Members) -> None:
    (one,) = await members.some(1)
    asked: list[int] = []

    class Slow:
        async def forget(self, node: str, partition: int, most: int) -> bool:
            asked.append(partition)
            return asked.count(partition) == 3

    reaper = Reaper(one.engine._common, one.engine._sessions, Slow())
    assert await reaper.clear("n9.9.xx", report=True) == 0
    assert sorted(asked) == sorted(list(range(256)) * 3)


async def test_presence_is_not_waited_for_where_redis_is_away(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = await members.some(1)
    asked: list[int] = []

    class Quick:
        async def forget(self, node: str, partition: int, most: int) -> bool:
            asked.append(partition)
            return True

    monkeypatch.setattr(one.engine._common.backbone, "is_up", lambda partition: partition != 7)
    reaper = Reaper(one.engine._common, one.engine._sessions, Quick())
    await reaper.clear_presence("n9.9.xx", waits=False)
    assert sorted(asked) == [partition for partition in range(256) if partition != 7]
    await reaper.clear_presence("n9.9.xx")
    assert asked.count(7) == 1


async def test_what_is_refused_again_and_again_is_in_the_log(
    members: Members, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reaper_module, "_RETRY_S", 0.0)
    (one,) = await members.some(1)
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        if asked <= 200:
            raise EngineError("no permission", temporary=False)
        return asked

    assert await one.engine._nodes._reaper.insist(ask) == 201
    said = [record.message for record in caplog.records if "no permission" in record.message]
    assert len(said) == 2, "neither silent nor endless"


async def test_what_is_damaged_does_not_keep_the_rest_from_being_cleared(
    members: Members, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that Redis has under a name has to be of the kind that belongs there."""
    one, dead = await members.some(2)
    await one.join("room", "hall")
    for number in range(40):
        dead.attach(f"u{number}", f"a-{number}")
        dead.come("room", f"a-{number}", f"u{number}")
        dead.come("hall", f"a-{number}", f"u{number}")
    await until_async(lambda: one.conns("u39"))
    await until_async(lambda: _are_present(one, "room", 40))
    await until_async(lambda: _are_present(one, "hall", 40))
    node = dead.id
    await dead.die()
    named = one.engine._common.names

    async def damage(kind: bytes, owner: str, partition: int) -> None:
        key = named.key(kind, partition, owner)
        await one.command("DEL", key)
        await one.command("SET", key, "x")

    await damage(names.SESSIONS, "u3", partition_of("u3"))
    await damage(names.NODE_USERS, node, partition_of("u5"))
    await damage(names.PRESENCE, f"{node}\nhall", partition_of("hall"))
    await damage(names.PRESENT_NODES, "room", partition_of("room"))
    await one.command("HSET", named.of(names.PRESENT_USERS, "room"), "u7", "many", "u8", 2**63 - 1)
    in_other = next(number for number in range(256) if number not in (partition_of("room"), partition_of("hall")))
    await damage(names.NODE_TOPICS, node, in_other)
    await damage(names.MAILBOX, node, partition_of(node))
    async with asyncio.timeout(20):
        await one.engine._nodes._reaper.clear(node, report=True)
    gone = [f"a-{number}" for number in range(40) if partition_of(f"u{number}") != partition_of("u5")]
    assert sorted(lost.conn for lost in one.house.lost) == sorted(gone)
    await until(lambda: len(one.house.told("room")) == 80)
    assert {conn for what, conn in one.house.told("room") if what == "leave"} == {f"a-{n}" for n in range(40)}
    left = [key for key in await one.keys() if node in key and not set(key.split(":")) & {"gone", "nr", "nodes", "mb"}]
    assert left == []
    assert one.engine._common.unreadable["presence"] >= 3
    assert "was damaged" in caplog.text
    one.come("room", "b-1", "u7")
    await until_async(lambda: _are_present(one, "room", 1))


async def _are_present(member: Member, topic: str, count: int) -> bool:
    return (await got(member.engine.presence_stats(topic))).connections == count
