"""Connections that were lost with another process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

import pytest

from fastws import FastWS
from fastws.types import CloseInfo, ConnectionInfo, SessionInfo
from tests.gateway.stage import staged

pytestmark = pytest.mark.asyncio

LOST = CloseInfo(1006, "node_lost")


def sessions(count: int, first: int = 0) -> Sequence[SessionInfo]:
    return [SessionInfo(f"x-{at:x}", f"u{at}", "t", "web", "n2", 5) for at in range(first, first + count)]


async def test_hooks_are_told_of_each() -> None:
    app = FastWS()
    told: list[tuple[ConnectionInfo, CloseInfo]] = []
    app.on_disconnect(lambda info, close: told.append((info, close)))
    async with staged(app) as stage:
        stage.hub.on_lost(sessions(2))
        stage.hub.on_lost(sessions(1, 2))
        await stage.settle()
        assert told == [(ConnectionInfo(f"x-{at}", f"u{at}", "t", "web", "n2"), LOST) for at in range(3)]
        stage.hub.on_lost(sessions(1, 3))
        await stage.settle()
        assert len(told) == 4


async def test_who_does_not_ask_is_not_told() -> None:
    async with staged() as stage:
        stage.hub.on_lost(sessions(2))
        assert stage.hub.knows_anonymous is False


async def test_many_do_not_take_the_loop() -> None:
    app = FastWS()
    told: list[str] = []
    app.on_disconnect(lambda info, close: told.append(info.id))
    async with staged(app) as stage:
        stage.hub.on_lost(sessions(20_000))
        turns, longest_s = 0, 0.0
        while len(told) < 20_000:
            begin_s = monotonic()
            await asyncio.sleep(0)
            longest_s = max(longest_s, monotonic() - begin_s)
            turns += 1
        assert turns > 5
        assert len(set(told)) == 20_000


async def test_hooks_that_wait_do_so_side_by_side_and_not_all_at_once() -> None:
    app = FastWS()
    waiting = most = done = 0
    go_on = asyncio.Event()

    @app.on_disconnect
    async def hook(info: ConnectionInfo, close: CloseInfo) -> None:
        nonlocal waiting, most, done
        waiting += 1
        most = max(most, waiting)
        await go_on.wait()
        waiting -= 1
        done += 1
        if info.id == "x-7":
            raise RuntimeError("of the application")

    async with staged(app) as stage:
        stage.hub.on_lost(sessions(1000))
        await stage.settle()
        assert most == 64
        go_on.set()
        while done < 1000:
            await asyncio.sleep(0)
        assert most == 64


async def test_what_is_under_way_is_waited_for_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.gateway.gateway.FAREWELL_S", 0.1)
    app = FastWS()
    told: list[str] = []

    @app.on_disconnect
    async def hook(info: ConnectionInfo, close: CloseInfo) -> None:
        await asyncio.sleep(0 if info.id == "x-0" else 60)
        told.append(info.id)

    async with staged(app) as stage:
        stage.hub.on_lost(sessions(2))
        await asyncio.sleep(0)
    assert told == ["x-0"]


async def test_whom_others_have_reported_nobody_is_told_of_again() -> None:
    app = FastWS()
    told: list[str] = []
    app.on_disconnect(lambda info, close: told.append(info.id))
    async with staged(app, dev=False, anonymous=True) as stage:
        one, two = stage.connect(), stage.connect()
        stage.hub.on_fenced(())
        three = stage.connect()
        one.vanish()
        three.vanish()
        await stage.settle()
        assert told == [three.conn.id]
        stage.hub.on_fenced(())
        two.vanish()
        await stage.settle()
        assert told == [three.conn.id]


async def test_who_was_still_coming_was_not_reported() -> None:
    app = FastWS()
    told: list[str] = []
    let_in = asyncio.Event()

    @app.on_connect
    async def connect(conn: Any) -> None:
        if conn.query:
            await let_in.wait()

    app.on_disconnect(lambda info, close: told.append(info.id))
    async with staged(app) as stage:
        early = stage.connect(query=b"slow=1", welcomed=False)
        late = stage.connect()
        stage.hub.on_fenced(())
        let_in.set()
        await stage.settle()
        assert early.hear_one()["event"] == "welcome"
        assert early.conn.number < late.conn.number == stage.hub.reported
        early.vanish()
        late.vanish()
        await stage.settle()
        assert told == [early.conn.id]
        assert not stage.hub._unreported
