"""What applications ask of the running server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastws import FastWS, TopicError, UsageError
from tests.gateway.commands.test_common import LateEngine
from tests.gateway.stage import MSGPACK, staged

pytestmark = pytest.mark.asyncio


class Price(msgspec.Struct):
    value: float


async def test_publishing() -> None:
    async with staged() as stage:
        players = [stage.connect(), stage.connect(subprotocol=MSGPACK)]
        for player in players:
            player.ask("sub", topic="t")
        first = await stage.app.publish("t", {"a": 1}, key="k")
        assert (first.offset, first.duplicate) == (1, False)
        assert await stage.app.publish("t", {"a": 2}, key="k") == first._replace(duplicate=True)
        await stage.app.publish("t", 3, exclude=players[0].conn)
        await stage.app.publish("t", 4, exclude=players[1].conn.id)
        await stage.settle()
        heard = players[0].hear()
        assert [publication["data"] for publication in heard] == [{"a": 1}, 4]
        assert "from" not in heard[0]
        assert [publication["data"] for publication in players[1].hear()] == [{"a": 1}, 3]


@pytest.mark.parametrize(
    ("topic", "data", "code"),
    [
        ("", 1, 107),
        ("a\n", 1, 107),
        ("\ud800", 1, 107),
        ("undeclared:x", 1, 102),
        ("t", float("nan"), 107),
        ("t", object(), 107),
        ("t", "x" * 99, 110),
        ("price:x", {"value": "no"}, 107),
    ],
)
async def test_what_cannot_be_published(topic: str, data: Any, code: int) -> None:
    app = FastWS(namespaces={"price": {"publish": "nobody", "schema": Price}})
    async with staged(app, dev=False, max_message_size=100) as stage:
        with pytest.raises(TopicError) as raised:
            await app.publish(topic, data)
        assert raised.value.code == code
        await app.publish("t", "x" * 98)
        await app.publish("price:x", {"value": 1})
        assert stage.connect().ask("pub", topic="price:x", data={"value": 1}) == 103


async def test_clients_data_has_to_fit_the_schema_too() -> None:
    app = FastWS(namespaces={"price": {"publish": "all", "schema": Price}})
    async with staged(app) as stage:
        player = stage.connect()
        assert player.ask("pub", topic="price:x", data={"value": "no"}) == 107
        assert player.ask("pub", topic="price:x", data={"value": 1, "more": 2}) == {"duplicate": False}


async def test_broadcasting() -> None:
    async with staged() as stage:
        players = [stage.connect(), stage.connect(subprotocol=MSGPACK)]
        await stage.app.broadcast(["all"])
        await stage.settle()
        for player in players:
            assert player.hear_one()["data"] == ["all"]
        with pytest.raises(TopicError):
            await stage.app.broadcast(b"x")


async def test_disconnecting() -> None:
    async with staged() as stage:
        players = [stage.connect() for _ in range(3)]
        assert await stage.app.disconnect(conn=players[0].conn) == 1
        assert await stage.app.disconnect(conn=players[1].conn.id, code=4006) == 1
        assert await stage.app.disconnect(conn=players[2].conn.id, code=4321, reason="bye") == 1
        assert await stage.app.disconnect(conn="gone-1") == 0
        await stage.settle()
        for player in players:
            player.hear()
        closed = [player.closed for player in players]
        assert closed == [(4503, "kicked"), (4006, "force_reconnect"), (4321, "bye")]
        for code in (999, 1005, 1006, 1015, 5000):
            with pytest.raises(UsageError):
                await stage.app.disconnect(conn=players[0].conn, code=code)
        with pytest.raises(UsageError):
            await stage.app.disconnect(conn=5)
        with pytest.raises(UsageError):
            await stage.app.publish("t", 1, exclude=object())


async def test_an_engine_elsewhere_is_awaited() -> None:
    engine = LateEngine()
    engine.gate.set()
    async with staged(engine=engine) as stage:
        assert (await stage.app.publish("t", 1)).offset == 1


async def test_after_the_end_there_are_none() -> None:
    async with staged() as stage:
        pass
    with pytest.raises(UsageError):
        await stage.app.publish("t", 1)
