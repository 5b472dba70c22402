"""The hub: who is here, and what the engine reports."""

from __future__ import annotations

import pytest

from fastws.core.publication import Publication
from fastws.core.topics import Namespace
from fastws.engine.contract import Outgoing
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio


async def test_connections_are_found_by_their_ids() -> None:
    async with staged() as stage:
        players = [stage.connect() for _ in range(3)]
        for player in players:
            assert stage.hub.find(player.conn.id) is player.conn
        own = players[0].conn.id
        for other in ("", "x", "x-1", own.upper() + "0", f"0{own}", own.split("-")[0], f"{own} ", "-", "-1", own[:-1]):
            assert stage.hub.find(other) is None, other
        players[0].vanish()
        await stage.settle()
        assert stage.hub.find(own) is None


async def test_the_engine_is_asked_for_a_topic_once_and_let_go_of_it_at_the_end() -> None:
    async with staged() as stage:
        asked: list[tuple[str, str]] = []
        stage.engine.join = lambda topic: asked.append(("join", topic))
        stage.engine.leave = lambda topic: asked.append(("leave", topic))
        players = [stage.connect() for _ in range(3)]
        for player in players:
            player.ask("sub", topic="t")
        for player in players[:2]:
            player.ask("unsub", topic="t")
        assert asked == [("join", "t")]
        players[2].vanish()
        await stage.settle()
        assert asked == [("join", "t"), ("leave", "t")]


async def test_a_topic_that_came_to_nothing_is_let_go() -> None:
    async with staged() as stage:
        topic = stage.hub.topic("t", "t", Namespace())
        assert stage.hub.topics == {"t": topic}
        stage.hub.settle(topic)
        assert stage.hub.topics == {}
        stage.hub.settle(topic)
        gone = stage.connect()
        gone.vanish()
        await stage.settle()
        assert stage.hub.subscribe(gone.conn, stage.hub.topic("t", "t", Namespace())) is False
        assert stage.hub.topics == {}


async def test_an_old_topic_of_the_same_name_does_not_take_the_new_one_away() -> None:
    async with staged() as stage:
        old = stage.hub.topic("t", "t", Namespace())
        stage.hub.settle(old)
        player = stage.connect()
        player.ask("sub", topic="t")
        stage.hub.settle(old)
        assert stage.hub.topics["t"] is not old


async def test_announcements_reach_everyone_in_their_codec() -> None:
    async with staged() as stage:
        players = [stage.connect(subprotocol=name) for name in ("", JSON, MSGPACK)]
        stage.engine.announce(b'{"a":1}')
        await stage.settle()
        for player in players:
            assert player.hear_one() == {"event": "message", "data": {"a": 1}, "ts": 1_000_000}
        assert stage.hub.deliveries == 3


async def test_publications_nobody_hears_or_that_exclude_somebody() -> None:
    async with staged() as stage:
        stage.hub.on_publication("unheard", Publication(b"1", 1), "")
        players = [stage.connect() for _ in range(2)]
        for player in players:
            player.ask("sub", topic="t")
        for exclude in (players[0].conn.id, "somebody-else", "gone-7"):
            stage.engine.publish(Outgoing("t", b"1", exclude=exclude))
        await stage.settle()
        assert [len(player.hear()) for player in players] == [2, 3]
