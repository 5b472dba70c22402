"""Clients and servers that do anything at any time: every exchange ends, and nothing of it is left."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from fastws import Connection, FastWS
from fastws.asgi import mount
from tests.asgi.calling import Call, Caller, calling

ROUNDS = 40
CALLS = 8
STEPS = 12
CLOSE_CODES = [1000, 1001, 1005, 1006, 1012, 3000, 4999, 2000, None]


def application(dice: random.Random) -> FastWS:
    app = FastWS()

    @app.raw("/mood")
    async def mood(conn: Connection, message: str | bytes) -> None:
        match dice.randrange(9):
            case 0:
                conn.close(dice.choice([1000, 4000]), "as it likes")
            case 1:
                conn.abort()
            case 2:
                raise RuntimeError("a handler that fails")
            case 3:
                await asyncio.sleep(0)
            case 4:
                conn.ping(b"?")
            case 5:
                for _ in range(20):
                    conn.send(b"x" * 30_000)
        conn.send(message)

    @app.raw("/stream")
    async def stream(conn: Connection) -> None:
        async for message in conn:
            await conn.drain(conn.send(message))
            if dice.random() < 0.1:
                return

    @app.http("/answer", methods=("GET", "POST"))
    async def answer(request: Any) -> str:
        await asyncio.sleep(0)
        return request.body.decode("latin-1")

    return app


def begin(caller: Caller, dice: random.Random) -> Call:
    if dice.random() < 0.2:
        call = caller.call("http", dice.choice(["/answer", "/ws", "/none"]), method=dice.choice(["GET", "POST", "PUT"]))
        call.incoming.put_nowait({"type": "http.request", "body": b"x" * dice.randrange(100), "more_body": True})
    else:
        call = caller.call("websocket", dice.choice(["/mood", "/stream", "/ws", "/none"]))
        call.incoming.put_nowait({"type": "websocket.connect"})
    return call


def act(call: Call, dice: random.Random) -> None:
    match dice.randrange(8):
        case 0:
            call.say(code=dice.choice(CLOSE_CODES), reason="enough")
        case 1:
            call.may_send.clear()
        case 2:
            call.may_send.set()
        case 3:
            call.refuses = dice.choice([OSError("gone"), RuntimeError("closed")])
        case 4:
            call.task.cancel()
        case 5:
            call.say(bytes=b"x" * dice.randrange(70_000))
        case _:
            call.say(text=dice.choice(["PING", '{"cmd":"sub","topic":"a"}', "[]", "ü" * 100]))


@pytest.mark.asyncio
async def test_every_exchange_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    mounted = mount(application(dice), anonymous=True, max_outbox=200_000)
    async with calling(mounted) as caller:
        assert mounted._life is not None
        serving = await mounted._life.started()
        for _ in range(ROUNDS):
            calls = [begin(caller, dice) for _ in range(CALLS)]
            for _ in range(STEPS):
                act(dice.choice(calls), dice)
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
            for call in calls:
                call.may_send.set()
                call.incoming.put_nowait({"type": f"{call.kind}.disconnect", "code": 1006})
            done, late = await asyncio.wait([call.task for call in calls], timeout=10)
            assert not late, f"seed {seed}"
            for task in done:
                assert task.cancelled() or task.exception() is None, f"seed {seed}"
        async with asyncio.timeout(30):
            while serving.ingress.connections or serving.admission.admitted:
                await asyncio.sleep(0.01)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()], f"seed {seed}"
