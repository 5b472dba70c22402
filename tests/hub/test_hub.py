"""The hub: who is here, and what the engine reports."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from fastws.core.publication import Publication
from fastws.core.topics import Namespace
from fastws.engine.contract import Outgoing
from fastws.gateway.auth.identity import identity_of
from tests.gateway.engines import DistantEngine
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio


async def test_connections_are_found_by_their_ids() -> None:
    async with staged() as stage:
        players = [stage.connect() for _ in range(3)]
        for player in players:
            assert stage.hub.find(player.conn.id) is player.conn
        own = players[0].conn.id
        for other in (
            "",
            "x",
            "x-1",
            own.upper() + "0",
            f"0{own}",
            own.split("-")[0],
            f"{own} ",
            "-",
            "-1",
            own[:-1],
            f"x-{1 << 64:x}",
        ):
            assert stage.hub.find(other) is None, other
        players[0].vanish()
        await stage.settle()
        assert stage.hub.find(own) is None


async def test_the_engine_is_asked_for_a_topic_once_and_let_go_of_it_at_the_end() -> None:
    async with staged() as stage:
        asked: list[tuple[str, str]] = []
        engine: Any = stage.engine
        engine.join = lambda topic: asked.append(("join", topic))
        engine.leave = lambda topic: asked.append(("leave", topic))
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
        stage.hub.on_publication("unheard", Publication(b"1", 1), "", "")
        players = [stage.connect() for _ in range(2)]
        for player in players:
            player.ask("sub", topic="t")
        for exclude in (players[0].conn.id, "somebody-else", "gone-7"):
            stage.engine.publish(Outgoing("t", b"1", exclude=exclude))
        await stage.settle()
        assert [len(player.hear()) for player in players] == [2, 3]


async def test_an_outage_is_told_once_to_everyone() -> None:
    async with staged() as stage:
        players = [stage.connect(subprotocol=name) for name in ("", MSGPACK)]
        for ts_ms in (5, 6):
            stage.hub.on_degraded(ts_ms)
        assert stage.hub.is_degraded
        stage.hub.on_restored(6)
        stage.hub.on_degraded(6)
        await stage.settle()
        assert stage.hub.is_degraded
        for ts_ms in (7, 8):
            stage.hub.on_restored(ts_ms)
        await stage.settle()
        for player in players:
            assert player.hear() == [{"event": "degraded", "ts": 5}, {"event": "restored", "ts": 7}]
        assert not stage.hub.is_degraded


async def test_users_are_known_by_the_engine() -> None:
    async with staged() as stage:
        told: list[Any] = []
        engine: Any = stage.engine
        engine.attach = lambda *said: told.append(said)
        engine.detach = lambda *said, is_last: told.append((*said, is_last))
        player, other = stage.connect(), stage.connect()
        for one in (player, other):
            stage.name(one, "u", "acme", "web")
        assert told == [("acme\0u", one.conn.id, "web") for one in (player, other)]
        assert stage.hub.connections_of("acme", "u") == (player.conn, other.conn)
        session = stage.hub.sessions_of("acme\0u")[0]
        assert session[:5] == (player.conn.id, "u", "acme", "web", "n1")
        assert session.since > 1_600_000_000_000
        told.clear()
        player.vanish()
        other.vanish()
        await stage.settle()
        assert told == [("acme\0u", player.conn.id, False), ("acme\0u", other.conn.id, True)]
        assert stage.hub.users.count == 0


async def test_the_devices_of_a_user_with_very_many_connections() -> None:
    async with staged() as stage:
        for number in range(200):
            stage.name(stage.connect(), "u", "acme", f"d{number % 100:02}")
        assert stage.hub.devices_of("acme\0u") == [f"d{number:02}" for number in range(64)]
        assert len(stage.hub.sessions_of("acme\0u")) == 200
        assert stage.hub.devices_of("u") == []


async def test_the_topics_that_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged() as stage:
        player, other = stage.connect(), stage.connect()
        for name in ("a:1", "a:2", "b"):
            player.ask("sub", topic=name)
        other.ask("sub", topic="b")
        stage.name(other, "u", "acme")
        other.ask("sub", topic="a:3")

        async def topics(tenant: str, pattern: str) -> list[tuple[str, int]]:
            answer = stage.engine.topics(tenant, pattern)
            found = await answer if inspect.isawaitable(answer) else answer
            return sorted(map(tuple, found))

        for limit in (2000, 2):
            monkeypatch.setattr("fastws.hub.hub._TOPICS_AT_ONCE", limit)
            assert await topics("", "*") == [("a:1", 1), ("a:2", 1), ("b", 2)]
            assert await topics("", "a:*") == [("a:1", 1), ("a:2", 1)]
            assert await topics("", "b") == [("b", 2)]
            assert await topics("", "a:") == []
            assert await topics("acme", "*") == [("a:3", 1)]
            assert await topics("", "acme*") == []


async def test_what_became_of_deliveries_outlives_the_topics() -> None:
    engine = DistantEngine(prompt=True, direct=True)
    async with staged(engine=engine) as stage:

        def results() -> tuple[int, int, int]:
            tally = stage.hub.tally
            return tally.sent, tally.queued, tally.dropped

        players = [stage.connect() for _ in range(3)]
        for player in players:
            player.ask("sub", topic="t")
            player.ask("sub", topic="u")
        for topic in "ttu":
            await stage.app.publish(topic, 1)
        assert results() == (9, 0, 0)
        for player in players:
            player.conn.pause_writing()
        await stage.app.publish("t", 2)
        await stage.settle()
        await stage.app.publish("t", 2)
        assert results() == (12, 3, 0)
        engine.forget("t")
        await stage.app.publish("t", 3)
        assert list(stage.hub.topics) == ["u"]
        for player in players:
            player.vanish()
        await stage.settle()
        assert stage.hub.topics == {}
        assert results() == (12, 3, 0)


async def test_anonymous_connections_are_told_of_where_their_ends_matter() -> None:
    async with staged() as stage:
        told: list[tuple[str, ...]] = []
        engine: Any = stage.engine
        engine.attach = lambda *said: told.append(("attach", *said))
        engine.detach = lambda *said, is_last: told.append(("detach", *said))
        silent = stage.connect()
        assert list(stage.hub.sessions_here()) == []
        stage.hub.knows_anonymous = True
        player = stage.connect()
        assert told == [("attach", "", player.conn.id, "default")]
        assert {one.conn for one in stage.hub.sessions_here()} == {silent.conn.id, player.conn.id}
        stage.name(player, "u", "t")
        player.vanish()
        await stage.settle()
        assert told[1:] == [
            ("detach", "", player.conn.id),
            ("attach", "t\0u", player.conn.id, "default"),
            ("detach", "t\0u", player.conn.id),
        ]


async def test_another_device_keeps_the_place_of_a_connection() -> None:
    async with staged() as stage:
        told: list[tuple[str, ...]] = []
        engine: Any = stage.engine
        player = stage.name(stage.connect(), "u")
        engine.attach = lambda *said: told.append(said)
        engine.detach = lambda *said, is_last: pytest.fail("its place was given away")
        player.conn.session.profile = identity_of("u", device="web").profile
        stage.hub.renamed(player.conn, "", "u")
        assert told == [("u", player.conn.id, "web")]
        del engine.attach, engine.detach


async def test_sessions_of_this_process() -> None:
    async with staged() as stage:
        player = stage.name(stage.connect(), "u", "t", "web")
        (session,) = stage.hub.sessions_of("t\0u")
        assert session[:5] == (player.conn.id, "u", "t", "web", "n1")
        assert stage.hub.session_of(player.conn.id) == session
        assert stage.hub.session_of("x-1") is None
        other = stage.name(stage.connect(), "u", "t")
        assert [session.conn for session in stage.hub.sessions_of("t\0u", 1)] == [player.conn.id]
        player.conn.close(4503)
        assert [session.conn for session in stage.hub.sessions_of("t\0u", 1)] == [other.conn.id], "who goes is not one"
        other.conn.close(4503)
        assert stage.hub.sessions_of("t\0u") == []
