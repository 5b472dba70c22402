"""What Redis has noted of one node's connections; over several processes see `test_sessions` and `test_nodes`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.engine.redis.names import NODE_USERS, SESSIONS, partition_of
from fastws.errors import EngineError
from tests.engine.redis.fleet.nodes import Member, Members
from tests.engine.suite.stand import until_async

pytestmark = pytest.mark.asyncio


async def noted(member: Member) -> int:
    return sum(size for _, size in await member.engine._sessions.noted.sizes(member.id))


async def fill(member: Member, count: int) -> None:
    for number in range(count):
        member.house.note_session(f"u{number}", f"a-{number:x}", "web", 5)
    await member.engine._sessions.register(member.house.sessions_here())


async def test_weeding_asks_many_partitions_together(members: Members) -> None:
    one, two = await members.some(2)
    await fill(one, 2000)
    for number in range(0, 2000, 2):
        one.house.forget_session(f"u{number}", f"a-{number:x}")
    backbone: Any = one.engine._common.backbone
    call, waits = backbone.call, 0
    asked = 0

    def counting(*words: Any) -> Any:
        nonlocal asked, waits
        if words[1] == b"HSCAN":
            waits += not asked
            asked += 1
        answer = call(*words)
        answer.add_done_callback(lambda _: done())
        return answer

    def done() -> None:
        nonlocal asked
        asked = max(0, asked - 1)

    backbone.call = counting
    await one.engine._sessions.weed()
    del backbone.call
    assert waits <= 16, "round trips"
    assert await noted(one) == 1000
    assert await two.conns("u1") == ["a-1"]
    assert await two.conns("u2") == []


async def test_weeding_leaves_others_their_turn(members: Members) -> None:
    (one,) = await members.some(1)
    await fill(one, 20_000)
    here = {session.conn: session for session in one.house.sessions_here()}
    one.house.session_of = here.get  # type: ignore[method-assign]
    weeding = asyncio.create_task(one.engine._sessions.weed())
    turns = 0
    while not weeding.done():
        await asyncio.sleep(0)
        turns += 1
    await weeding
    assert await noted(one) == 20_000
    assert turns > 20


async def test_what_is_no_hash_is_thrown_away(members: Members) -> None:
    one, two = await members.some(2)
    await fill(one, 500)
    partition = partition_of("u7")
    own = one.engine._common.names.node_key(NODE_USERS, partition, one.id)
    theirs = one.engine._common.names.key(SESSIONS, partition, "u7")
    for key in (own, theirs):
        await one.command("DEL", key)
        await one.command("SET", key, "x")
    await one.engine._sessions.register(one.house.sessions_here())
    await one.engine._sessions.weed()
    assert await noted(one) == 500
    assert await two.conns("u7") == ["a-7"]
    await one.command("DEL", own)
    await one.command("SET", own, "x")
    await one.engine._sessions.weed()
    assert await noted(one) < 500
    one.attach("u7", "a-7")
    await until_async(lambda: two.conns("u7"))
    assert await one.engine._sessions.noted.lost(one.id, partition)


async def test_what_redis_refuses_is_an_error(members: Members) -> None:
    (one,) = await members.some(1)
    backbone: Any = one.engine._common.backbone
    for answer in ([b"0"], [b"0", [b"x"], 1], b"x", EngineError("away")):

        def call(*_: Any, answer: Any = answer) -> asyncio.Future[Any]:
            future = asyncio.get_running_loop().create_future()
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
            return future

        backbone.call = call
        with pytest.raises(EngineError):
            await one.engine._sessions.weed()
        with pytest.raises(EngineError):
            await one.engine._sessions.noted.sizes(one.id)
        del backbone.call
