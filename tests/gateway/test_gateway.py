"""Opening, welcoming and ending connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws import FastWS, __version__
from fastws.errors import ConfigError
from fastws.gateway.gateway import merged_namespaces
from fastws.types import SendStatus
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("subprotocol", ["", JSON, MSGPACK])
async def test_welcome_comes_at_once_and_has_everything_but_what_has_no_value(subprotocol: str) -> None:
    async with staged() as stage:
        player = stage.connect(subprotocol=subprotocol, welcomed=False)
        assert player.hear_one() == {
            "event": "welcome",
            "conn": player.conn.id,
            "user": "",
            "tenant": "",
            "device": "default",
            "node": "n1",
            "ping": 25,
            "server": f"fastws/{__version__}",
        }
        assert player.conn.subprotocol == subprotocol


@pytest.mark.parametrize(("interval", "shown"), [(0.0, 0), (12.5, 12.5), (60.0, 60)])
async def test_welcome_says_how_often_it_pings(interval: float, shown: float) -> None:
    async with staged(ping_interval=interval) as stage:
        assert stage.connect(welcomed=False).hear_one()["ping"] == shown


@pytest.mark.parametrize(
    "offer",
    [
        {"query": b"token=x"},
        {"query": b"a=1&token=&b=2"},
        {"headers": ((b"sec-websocket-protocol", b"fastws.json.v1, fastws.token.abc"),)},
        {"headers": ((b"authorization", b"Bearer x"),)},
    ],
)
async def test_a_token_is_invalid_where_no_key_is_configured(offer: Any) -> None:
    """And whoever offers one is never let in as anonymous instead."""
    async with staged() as stage:
        player = stage.connect(**offer, welcomed=False)
        assert player.hear() == []
        assert player.closed == (4500, "invalid_token")


async def test_other_queries_and_headers_are_no_tokens() -> None:
    async with staged() as stage:
        stage.connect(query=b"room=token", headers=((b"authorization", b"Basic YTpi"),))


async def test_strangers_have_to_authenticate_where_keys_are_configured() -> None:
    async with staged(jwt_secret="x" * 32, dev=False) as stage:
        player = stage.connect(welcomed=False)
        assert player.hear() == []
        assert player.ask("ping").keys() == {"ts"}
        player.say_text("PING")
        assert player.frames()[0].payload == b"PONG"
        for cmd, fields in (("sub", {"topic": "t"}), ("pub", {"topic": "t", "data": 1}), ("nope", {}), ("send", {})):
            assert player.ask(cmd, **fields) == 101
        player.say({"cmd": "sub", "topic": "t"})
        assert player.hear_one()["error"]["code"] == 101
        assert player.conn.max_message_size == 16384
        assert 9 < player.conn.deadline < 10.5
        player.conn.endpoint.on_deadline(player.conn)
        await stage.settle()
        player.hear()
        assert player.closed == (4502, "auth_timeout")


async def test_what_the_application_sends_arrives_as_a_message() -> None:
    async with staged() as stage:
        for subprotocol in ("", MSGPACK):
            player = stage.connect(subprotocol=subprotocol)
            assert player.conn.send({"a": [1, None]}) is SendStatus.SENT
            player.conn.send_json("text")
            await stage.settle()
            first, second = player.hear()
            assert (first["event"], first["data"], second["data"]) == ("message", {"a": [1, None]}, "text")
            assert isinstance(first["ts"], int)
            with pytest.raises(ValueError, match="no form in JSON"):
                player.conn.send({1: 2})


async def test_what_a_connection_had_is_given_back() -> None:
    async with staged() as stage:
        players = [stage.connect() for _ in range(5)]
        for player in players:
            player.ask("sub", topic="shared")
            player.ask("sub", topic=f"own:{player.conn.number}")
        assert len(stage.hub.topics) == 6
        assert set(players[0].conn.topics) == {"shared", f"own:{players[0].conn.number}"}
        for player in players:
            player.go()
            player.vanish()
        await stage.settle()
        assert stage.hub.topics == {}
        assert not stage.hub.connections
        assert stage.gateway.tasks == set()


async def test_errors_of_callbacks_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with staged() as stage:
        player = stage.connect()
        stage.hub.leave = None  # type: ignore[assignment,method-assign]
        player.vanish()
        await stage.settle()
        assert stage.gateway.errors == 1
        assert player.conn.id in {record.__dict__["conn"] for record in caplog.records}


async def test_stopping_ends_what_still_waits() -> None:
    app = FastWS()
    ended = []

    @app.on_connect
    async def connect(conn: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(conn.id)

    async with staged(app) as stage:
        player = stage.connect(welcomed=False)
        await stage.settle()
    assert ended == [player.conn.id]
    player.hear()
    assert player.closed == (1001, "going_away")


async def test_the_file_says_more_than_the_application() -> None:
    of_app = {"chat": {"subscribe": "all", "echo": False}, "mine": {"history_size": 5}}
    of_file = {"chat": {"subscribe": "nobody"}, "other": {}}
    assert merged_namespaces(of_app, of_file) == {
        "chat": {"subscribe": "nobody", "echo": False},
        "mine": {"history_size": 5},
        "other": {},
    }


async def test_namespaces_that_contradict_each_other() -> None:
    of_app = {"chat": {"history_size": 10, "recover": True}}
    with pytest.raises(ConfigError, match=r"\[namespaces\.chat\].*recover = true needs history_size"):
        merged_namespaces(of_app, {"chat": {"history_size": 0}})
    with pytest.raises(ConfigError, match="conflate"):
        merged_namespaces(of_app, {"chat": {"slow_policy": "conflate"}})
