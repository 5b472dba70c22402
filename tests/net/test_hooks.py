"""`on_connect` and `on_disconnect`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws import FastWS, Reject
from fastws.types import CloseInfo, ConnectionInfo, SendStatus
from tests.gateway.stage import JSON, staged

pytestmark = pytest.mark.asyncio


async def test_they_see_the_whole_request_and_later_only_what_is_kept() -> None:
    app = FastWS(keep_headers=("User-Agent",))
    seen: list[Any] = []

    @app.on_connect
    def connect(conn: Any) -> None:
        seen.append((dict(conn.headers), conn.query, conn.subprotocol, conn.path))

    async with staged(app) as stage:
        headers = ((b"user-agent", b"me"), (b"x-other", b"1"))
        player = stage.connect(subprotocol=JSON, headers=headers, query=b"room=1")
        assert seen == [({"user-agent": "me", "x-other": "1"}, {"room": "1"}, JSON, "/ws")]
        assert dict(player.conn.headers) == {"user-agent": "me"}
        assert player.conn.query == {"room": "1"}


@pytest.mark.parametrize(
    ("error", "closed"),
    [
        (Reject(4507), (4507, "permission_denied")),
        (Reject(1008, "no"), (1008, "no")),
        (Reject(403), (1008, "policy")),
        (ValueError("bug"), (1011, "internal")),
        (asyncio.CancelledError("of what it waited for"), (1011, "internal")),
    ],
)
@pytest.mark.parametrize("waits", [False, True])
async def test_refusing(
    error: BaseException, closed: tuple[int, str], waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastWS()
    gone: list[Any] = []
    app.on_disconnect(lambda info, close: gone.append(info))

    @app.on_connect
    async def connect(conn: Any) -> None:
        if waits:
            await asyncio.sleep(0)
        raise error

    async with staged(app) as stage:
        player = stage.connect(welcomed=False)
        await stage.settle()
        assert player.hear() == []
        assert player.closed == closed
        player.go()
        await stage.settle()
    assert gone == []
    assert not stage.hub.connections
    assert bool(caplog.records) == (not isinstance(error, Reject) or error.is_http)


async def test_they_run_in_order_and_one_that_waits_holds_the_rest_and_all_commands() -> None:
    app = FastWS()
    order: list[str] = []
    gate = asyncio.Event()

    @app.on_connect
    async def first(conn: Any) -> None:
        order.append("first")
        await gate.wait()

    @app.on_connect
    def second(conn: Any) -> None:
        order.append("second")

    async with staged(app) as stage:
        player = stage.connect(welcomed=False)
        player.say({"cmd": "sub", "topic": "t", "id": 1})
        player.say_text("PING")
        assert player.frames() == []
        assert order == ["first"]
        gate.set()
        await stage.settle()
        assert order == ["first", "second"]
        welcome, sub, pong = player.frames()
        assert b"welcome" in welcome.payload
        assert b'"id":1' in sub.payload
        assert pong.payload == b"PONG"
        assert player.conn.session.work is None


@pytest.mark.parametrize("waits", [False, True])
async def test_what_they_send_follows_the_welcome(waits: bool) -> None:
    app = FastWS()

    @app.on_connect
    async def connect(conn: Any) -> None:
        assert conn.send("first") is SendStatus.QUEUED
        if waits:
            await asyncio.sleep(0)
        conn.send("second")

    async with staged(app) as stage:
        player = stage.connect(welcomed=False)
        await stage.settle()
        welcome, *messages = player.hear()
        assert welcome["event"] == "welcome"
        assert [message["data"] for message in messages] == ["first", "second"]
        assert player.conn.session.work is None


async def test_the_end_is_told_with_code_and_reason() -> None:
    app = FastWS()
    told: list[tuple[ConnectionInfo, CloseInfo]] = []

    @app.on_disconnect
    async def gone(info: ConnectionInfo, close: CloseInfo) -> None:
        await asyncio.sleep(0)
        told.append((info, close))

    async with staged(app) as stage:
        players = [stage.connect() for _ in range(3)]
        players[0].go(1001)
        players[1].vanish()
        players[2].conn.close(4503, "kicked")
        players[2].go()
        await stage.settle()
        infos = [ConnectionInfo(player.conn.id, "", "", "default", "n1") for player in players]
        assert sorted(told) == sorted(zip(infos, [(1001, ""), (1006, ""), (4503, "kicked")], strict=True))


async def test_they_may_finish_and_publish_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    app = FastWS()
    told: list[Any] = []
    cancelled: list[str] = []

    @app.on_disconnect
    async def gone(info: ConnectionInfo, close: CloseInfo) -> None:
        try:
            await asyncio.sleep(3600 if close.code == 4000 else 0.02)
        except asyncio.CancelledError:
            cancelled.append(info.id)
            raise
        told.append(await app.publish("gone", info.id))

    async with staged(app) as stage:
        stage.connect().go(1000)
    assert [published.offset for published in told] == [1]
    monkeypatch.setattr("fastws.gateway.gateway.FAREWELL_S", 0.02)
    async with staged(app) as stage:
        stage.connect().go(4000)
    assert len(cancelled) == 1


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("error", [ValueError(), asyncio.CancelledError("of what it waited for")])
async def test_a_hook_that_fails_keeps_no_other_from_being_told(
    error: BaseException, waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastWS()
    told: list[int] = []

    @app.on_disconnect
    async def fails(info: Any, close: Any) -> None:
        if waits:
            await asyncio.sleep(0)
        raise error

    app.on_disconnect(lambda info, close: told.append(close.code))
    async with staged(app) as stage:
        stage.connect().vanish()
        await stage.settle()
        assert told == [1006]
        assert stage.gateway._hooks.errors == 1
    assert "on_disconnect failed" in caplog.text


async def test_a_client_that_went_while_it_was_asked_about_is_announced_as_gone() -> None:
    app = FastWS()
    told: list[int] = []
    gate = asyncio.Event()

    @app.on_connect
    async def connect(conn: Any) -> None:
        await gate.wait()

    app.on_disconnect(lambda info, close: told.append(close.code))
    async with staged(app) as stage:
        player = stage.connect(welcomed=False)
        player.vanish()
        await stage.settle()
        assert told == []
        gate.set()
        await stage.settle()
        assert told == [1006]
        assert not stage.hub.connections
