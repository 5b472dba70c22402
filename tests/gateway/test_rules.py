"""Hooks of subscriptions: when they are told, in which order, what their failures do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws import Connection, FastWS
from fastws.gateway.rules import MAX_QUEUED
from tests.gateway.commands.test_common import LateEngine
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


@both_codecs
async def test_every_hook_that_matches_is_told_after_the_fact(codec: str) -> None:
    app = FastWS()
    told: list[Any] = []

    @app.on_subscribe("chat:{room}")
    def joined(conn: Connection, room: str) -> None:
        told.append(("joined", room, conn.topics))
        conn.send(f"welcome to {room}")

    @app.on_subscribe("{kind}:{name}")
    async def any_joined(conn: Connection, kind: str, name: str) -> None:
        told.append(("any", kind, name))
        await app.publish(f"{kind}:{name}", "somebody came")

    @app.on_unsubscribe("chat:{room}")
    async def left(conn: Connection, room: str) -> None:
        told.append(("left", room, conn.topics))

    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        player.say({"id": 1, "cmd": "sub", "topic": "chat:7"}, {"id": 2, "cmd": "sub", "topic": "other"})
        await stage.settle()
        assert told == [("joined", "7", ("chat:7", "other")), ("any", "chat", "7")]
        heard = player.hear()
        assert [answer.get("id", answer.get("data")) for answer in heard] == [1, 2, "welcome to 7", "somebody came"]
        told.clear()
        player.say({"cmd": "unsub", "topic": "chat:7"}, {"cmd": "unsub", "topic": "chat:7"})
        await stage.settle()
        assert told == [("left", "7", ("other",))]
        assert stage.gateway.tasks == set()


async def test_what_came_to_nothing_is_not_told() -> None:
    app = FastWS(namespaces={"secret": {"subscribe": "nobody"}})
    told: list[Any] = []
    app.on_subscribe("{kind}:{name}")(lambda conn, kind, name: told.append(name))
    app.on_unsubscribe("{kind}:{name}")(lambda conn, kind, name: told.append(name))
    async with staged(app) as stage:
        player = stage.connect()
        assert player.ask("sub", topic="secret:a") == 103
        assert player.ask("unsub", topic="chat:a") == {}
        await stage.settle()
        assert told == []


async def test_what_the_server_does_is_told_too() -> None:
    app = FastWS()
    told: list[Any] = []
    app.on_subscribe("{topic}")(lambda conn, topic: told.append(("+", topic, conn.user)))
    app.on_unsubscribe("{topic}")(lambda conn, topic: told.append(("-", topic, conn.user)))
    async with staged(app) as stage:
        player = stage.name(stage.connect(), "ann")
        assert await app.subscribe("ann", "t") == 1
        assert await app.subscribe("ann", "t") == 0
        await stage.settle()
        assert told == [("+", "t", "ann")]
        assert await app.unsubscribe("ann", "t") == 1
        await stage.settle()
        assert told == [("+", "t", "ann"), ("-", "t", "ann")]
        player.hear()
        assert player.ask("ping")


@pytest.mark.parametrize("waits", [False, True])
async def test_the_end_of_a_connection_ends_its_subscriptions(waits: bool) -> None:
    app = FastWS()
    told: list[Any] = []

    @app.on_unsubscribe("{topic}")
    async def left(conn: Connection, topic: str) -> None:
        if waits:
            await asyncio.sleep(0)
        told.append((topic, conn.id, conn.state["name"], conn.phase))

    async with staged(app) as stage:
        player = stage.connect()
        player.conn.state["name"] = "ann"
        player.say({"cmd": "sub", "topic": "t"}, {"cmd": "sub", "topic": "u"})
        player.vanish()
        await stage.settle()
        assert told == [("t", player.conn.id, "ann", 4), ("u", player.conn.id, "ann", 4)]
        assert stage.gateway.tasks == set()
        assert player.conn.session is None


async def test_those_of_one_connection_run_in_order_and_nobody_waits_for_them() -> None:
    app = FastWS()
    told: list[str] = []
    gate = asyncio.Event()

    @app.on_subscribe("{topic}")
    async def joined(conn: Connection, topic: str) -> None:
        await gate.wait()
        told.append(f"+{topic}")

    app.on_unsubscribe("{topic}")(lambda conn, topic: told.append(f"-{topic}"))
    async with staged(app) as stage:
        players = [stage.connect() for _ in range(2)]
        players[0].ask("sub", topic="t")
        players[0].ask("unsub", topic="t")
        players[1].ask("unsub", topic="t")
        await stage.settle()
        assert told == []
        gate.set()
        await stage.settle()
        assert told == ["+t", "-t"]


async def test_a_connection_that_causes_too_many_is_read_no_more() -> None:
    app = FastWS()
    gate = asyncio.Event()
    told: list[str] = []

    @app.on_unsubscribe("{topic}")
    async def left(conn: Connection, topic: str) -> None:
        await gate.wait()
        told.append(topic)

    async with staged(app) as stage:
        player = stage.connect()
        player.say({"cmd": "sub", "topic": "first"}, {"cmd": "unsub", "topic": "first"})
        await stage.settle()
        for number in range(MAX_QUEUED):
            assert not player.conn.paused
            player.say({"cmd": "sub", "topic": f"t{number}"}, {"cmd": "unsub", "topic": f"t{number}"})
        assert player.conn.paused
        player.conn.resume_reading()  # as commands do that waited for an engine
        player.say({"cmd": "sub", "topic": "t"}, {"cmd": "unsub", "topic": "t"})
        assert player.conn.paused
        gate.set()
        await stage.settle()
        assert not player.conn.paused
        assert len(told) == MAX_QUEUED + 2


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("error", [ValueError("a bug"), asyncio.CancelledError("of what it waited for")])
async def test_one_that_fails_is_logged_and_keeps_no_other_from_being_told(
    error: BaseException, waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastWS()
    told: list[str] = []

    @app.on_subscribe("{topic}")
    async def fails(conn: Connection, topic: str) -> None:
        if waits:
            await asyncio.sleep(0)
        raise error

    app.on_subscribe("t")(lambda conn: told.append("t"))
    async with staged(app) as stage:
        player = stage.connect()
        assert player.ask("sub", topic="t")["topic"] == "t"
        await stage.settle()
        assert told == ["t"]
        assert player.ask("ping")
    assert [record.getMessage() for record in caplog.records] == [
        "the hook test_one_that_fails_is_logged_and_keeps_no_other_from_being_told.<locals>.fails failed"
    ]
    assert caplog.records[0].conn == player.conn.id  # type: ignore[attr-defined]


async def test_the_end_of_the_server_cancels_them() -> None:
    app = FastWS()
    told: list[str] = []

    @app.on_subscribe("{topic}")
    async def joined(conn: Connection, topic: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.append(topic)

    async with staged(app) as stage:
        player = stage.connect()
        player.say({"cmd": "sub", "topic": "t"}, {"cmd": "sub", "topic": "u"})
        await stage.settle()
    assert told == ["t"]


async def test_with_an_engine_elsewhere_the_reply_still_comes_first() -> None:
    app = FastWS()

    @app.on_subscribe("{topic}")
    async def joined(conn: Connection, topic: str) -> None:
        await app.publish(topic, "hello")

    engine = LateEngine()
    engine.gate.set()
    async with staged(app, engine) as stage:
        player = stage.connect()
        player.say({"id": 1, "cmd": "sub", "topic": "t"})
        await stage.settle()
        reply, publication = player.hear()
        assert (reply["id"], publication["data"]) == (1, "hello")


async def test_patterns_that_no_topic_can_match_are_logged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    app = FastWS(namespaces={"known": {}})
    for pattern in ("known:{x}", "lost:{x}", "{any}:x", "price"):
        app.can_subscribe(pattern)(lambda conn, **parameters: True)
        app.on_publish(pattern)(lambda conn, data, **parameters: data)
    async with staged(app, dev=False):
        pass
    assert len(caplog.records) == 1
    assert "'lost:{x}'" in caplog.text
    assert "[namespaces.lost]" in caplog.text
    caplog.clear()
    async with staged(app):
        assert caplog.text == ""
