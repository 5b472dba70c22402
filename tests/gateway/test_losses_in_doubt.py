"""The end of a connection while nobody knows whether others have reported it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws import FastWS
from fastws.engine.contract import Answer
from fastws.engine.memory import MemoryEngine
from fastws.errors import EngineError
from fastws.gateway import losses
from tests.gateway.stage import staged

pytestmark = pytest.mark.asyncio


class DoubtfulEngine(MemoryEngine):
    """Does not know whether others take this process for dead, until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.doubt: asyncio.Future[None] | None = None
        self.answers_late = False
        """Whether an end is told here is answered by a test."""
        self.asked: list[asyncio.Future[bool]] = []

    def assure(self) -> Answer[None]:
        return self.doubt

    def detach(self, user: str, conn: str, *, is_last: bool) -> Answer[bool]:  # type: ignore[override]
        if self.answers_late:
            self.asked.append(asyncio.get_running_loop().create_future())
            return self.asked[-1]
        return self.doubt is None

    def begin(self) -> None:
        self.doubt = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        doubt, self.doubt = self.doubt, None
        assert doubt is not None
        doubt.set_result(None)


def told_of(app: FastWS) -> list[str]:
    told: list[str] = []
    app.on_disconnect(lambda info, close: told.append(info.id))
    return told


def anonymous() -> dict[str, Any]:
    return {"dev": False, "anonymous": True}


async def test_where_nothing_is_in_doubt_it_is_told_at_once() -> None:
    app = FastWS()
    told = told_of(app)
    async with staged(app, DoubtfulEngine(), **anonymous()) as stage:
        one = stage.connect()
        one.vanish()
        await stage.settle()
        assert told == [one.conn.id]


@pytest.mark.parametrize("is_fenced", [False, True])
async def test_it_is_told_when_it_is_known_that_nobody_else_has(is_fenced: bool) -> None:
    app = FastWS()
    told = told_of(app)
    engine = DoubtfulEngine()
    async with staged(app, engine, **anonymous()) as stage:
        one, two, three = stage.connect(), stage.connect(), stage.connect()
        engine.begin()
        for leaving in (one, two):
            leaving.vanish()
        await stage.settle()
        assert told == []
        if is_fenced:
            stage.hub.on_fenced(())
        engine.end()
        await stage.settle()
        assert told == ([] if is_fenced else [one.conn.id, two.conn.id])
        three.vanish()
        await stage.settle()
        assert (three.conn.id in told) is not is_fenced


async def test_who_came_in_the_outage_was_reported_by_nobody() -> None:
    app = FastWS()
    told = told_of(app)
    engine = DoubtfulEngine()
    async with staged(app, engine, **anonymous()) as stage:
        before, stays_before = stage.connect(), stage.connect()
        stage.hub.on_degraded(1)
        engine.begin()
        during, stays = stage.connect(), stage.connect()
        before.vanish()
        during.vanish()
        stage.hub.on_fenced({during.conn.id, stays.conn.id})
        engine.end()
        stage.hub.on_restored(2)
        await stage.settle()
        assert told == [during.conn.id]
        stays.vanish()
        stays_before.vanish()
        await stage.settle()
        assert told == [during.conn.id, stays.conn.id]


async def test_who_takes_it_away_tells_of_it() -> None:
    app = FastWS()
    told = told_of(app)
    engine = DoubtfulEngine()
    engine.answers_late = True
    async with staged(app, engine, **anonymous()) as stage:
        peers = [stage.connect() for _ in range(4)]
        for peer in peers:
            peer.vanish()
        await stage.settle()
        assert told == []
        engine.asked[0].set_result(True)
        await stage.settle()
        assert told == [peers[0].conn.id]
        engine.begin()
        engine.asked[1].set_result(False)
        engine.asked[2].set_exception(EngineError("away"))
        await stage.settle()
        stage.hub.on_fenced({peers[2].conn.id})
        engine.end()
        await stage.settle()
        assert told == [peers[0].conn.id, peers[2].conn.id]
    assert told == [peers[0].conn.id, peers[2].conn.id], "of the last one others have told"


async def test_who_was_reported_stays_so_when_its_process_is_taken_for_dead_again() -> None:
    app = FastWS()
    told = told_of(app)
    async with staged(app, DoubtfulEngine(), **anonymous()) as stage:
        one, two = stage.connect(), stage.connect()
        stage.hub.on_fenced({two.conn.id})
        stage.hub.on_fenced({one.conn.id})
        one.vanish()
        two.vanish()
        await stage.settle()
        assert told == []


@pytest.mark.parametrize("is_asked", [True, False])
async def test_at_the_end_of_the_process_it_is_told_in_any_case(is_asked: bool) -> None:
    app = FastWS()
    told = told_of(app)
    engine = DoubtfulEngine()
    async with staged(app, engine, **anonymous()) as stage:
        one = stage.connect()
        engine.answers_late = is_asked
        engine.begin()
        one.vanish()
        await stage.settle()
        assert told == []
    assert told == [one.conn.id]


async def test_of_too_many_the_oldest_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "MAX_HELD", 2)
    app = FastWS()
    told = told_of(app)
    engine = DoubtfulEngine()
    async with staged(app, engine, **anonymous()) as stage:
        peers = [stage.connect() for _ in range(3)]
        engine.begin()
        for peer in peers:
            peer.vanish()
        await stage.settle()
        assert told == [peers[0].conn.id]
