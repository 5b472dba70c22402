"""`pub` and `history`."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import msgspec
import pytest

from fastws import Connection, FastWS, TopicError
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


class TestPub:
    """`pub`."""

    async def test_echo(self) -> None:
        app = FastWS(namespaces={"quiet": {"subscribe": "all", "publish": "all", "echo": False}})
        async with staged(app) as stage:
            player, other = stage.connect(), stage.connect()
            for topic in ("t", "quiet:t"):
                for client in (player, other):
                    client.ask("sub", topic=topic)
            for number, (topic, echo) in enumerate(
                [("t", None), ("t", False), ("t", True), ("quiet:t", None), ("quiet:t", False), ("quiet:t", True)]
            ):
                player.say({"cmd": "pub", "topic": topic, "data": number, **({} if echo is None else {"echo": echo})})
            await stage.settle()
            assert [heard["data"] for heard in player.hear()] == [0, 2, 5]
            assert [heard["data"] for heard in other.hear()] == [0, 1, 2, 3, 4, 5]

    async def test_a_key_publishes_once(self) -> None:
        app = FastWS(namespaces={"plain": {"subscribe": "all", "publish": "all"}})
        async with staged(app) as stage:
            player, hearer = stage.connect(), stage.connect()
            for topic in ("t", "plain:t"):
                hearer.ask("sub", topic=topic)
            for topic in ("t", "plain:t"):
                first = player.ask("pub", topic=topic, data=1, key="k")
                second = player.ask("pub", topic=topic, data=2, key="k")
                assert second == {**first, "duplicate": True}
                assert first["duplicate"] is False
            await stage.settle()
            assert [heard["data"] for heard in hearer.hear()] == [1, 1]

    @pytest.mark.parametrize(
        "data",
        [b"bin", float("nan"), float("inf"), {"a": [float("-inf")]}, {1: 2}, {b"k": 1}, [None, {"x": float("nan")}]],
    )
    async def test_data_that_has_no_form_in_json(self, data: Any) -> None:
        async with staged() as stage:
            assert stage.connect(subprotocol=MSGPACK).ask("pub", topic="t", data=data) == 107

    @pytest.mark.parametrize("data", ["18446744073709551616", "-9223372036854775809", "1e999", "[" * 300 + "]" * 300])
    async def test_numbers_and_depths_that_not_everybody_holds(self, data: str) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text(f'{{"id":1,"cmd":"pub","topic":"t","data":{data}}}')
            answer = player.hear_one()
            assert (answer["id"], answer["error"]["code"]) == (1, 107)

    @pytest.mark.parametrize("data", ["18446744073709551615", "-9223372036854775808", "null", '""', "0.1", "[]", "{}"])
    async def test_the_edges_of_what_everybody_holds(self, data: str) -> None:
        async with staged() as stage:
            players = [stage.connect(subprotocol=name) for name in (JSON, MSGPACK)]
            for player in players:
                player.ask("sub", topic="t")
            players[0].say_text(f'{{"cmd":"pub","topic":"t","data":{data}}}')
            await stage.settle()
            heard = [player.hear_one()["data"] for player in players]
            assert heard[0] == heard[1]
            assert repr(heard[0]) in (data, "None", "''")

    async def test_data_is_required(self) -> None:
        async with staged() as stage:
            assert stage.connect().ask("pub", topic="t") == 107


class TestHooks:
    """`@app.on_publish`."""

    @both_codecs
    @pytest.mark.parametrize("waits", [None, False, True])
    async def test_they_change_what_is_stored(self, codec: str, waits: bool | None) -> None:
        app = FastWS()

        def plain(conn: Connection, data: Any, room: str) -> Any:
            return {"said": data, "room": room, "by": conn.id}

        async def coroutine(conn: Connection, data: Any, room: str) -> Any:
            if waits:
                await asyncio.sleep(0)
            return plain(conn, data, room)

        app.on_publish("chat:{room}")(plain if waits is None else coroutine)
        async with staged(app) as stage:
            player = stage.connect(subprotocol=codec)
            player.say(
                {"id": 1, "cmd": "pub", "topic": "chat:7", "data": "x"},
                {"id": 2, "cmd": "pub", "topic": "chat:7", "data": None},
                {"id": 3, "cmd": "history", "topic": "chat:7"},
                {"id": 4, "cmd": "pub", "topic": "other", "data": "x"},
            )
            await stage.settle()
            first, _, history, _ = player.hear()
            assert first["result"]["offset"] == 1
            stored = [entry["data"] for entry in history["result"]["publications"]]
            assert stored == [{"said": said, "room": "7", "by": player.conn.id} for said in ("x", None)]
            await app.publish("chat:7", "as it is")
            assert (await app.history("chat:7")).publications[-1].data == "as it is"

    @pytest.mark.parametrize("waits", [False, True])
    @pytest.mark.parametrize(("error", "code"), [(TopicError(107, "rude"), 107), (ValueError("secret"), 100)])
    async def test_they_refuse(
        self, waits: bool, error: Exception, code: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = FastWS()

        @app.on_publish("{topic}")
        async def judge(conn: Connection, data: Any, topic: str) -> Any:
            if waits:
                await asyncio.sleep(0)
            raise error

        async with staged(app) as stage:
            player = stage.connect()
            player.say({"id": 1, "cmd": "pub", "topic": "t", "data": 1}, {"id": 2, "cmd": "history", "topic": "t"})
            await stage.settle()
            refused, history = player.hear()
            assert refused["error"]["code"] == code
            assert history["result"]["publications"] == []
        assert [record.conn for record in caplog.records] == [player.conn.id] * (code == 100)  # type: ignore[attr-defined]

    async def test_they_come_after_access_and_before_the_schema(self) -> None:
        class Price(msgspec.Struct):
            value: float

        app = FastWS(
            namespaces={"price": {"publish": "all", "schema": Price}, "closed": {"publish": "nobody"}, "x": {}}
        )
        asked: list[str] = []

        @app.on_publish("{kind}:{name}")
        def judge(conn: Connection, data: Any, kind: str, name: str) -> Any:
            asked.append(f"{kind}:{name}")
            return Price(data["value"]) if name == "x" else {"value": "wrong"}

        async with staged(app) as stage:
            player = stage.connect()
            assert player.ask("pub", topic="closed:x", data={"value": 1}) == 103
            assert player.ask("pub", topic="price:x", data={"value": 1, "more": 2}) == {"duplicate": False}
            assert player.ask("pub", topic="price:y", data={"value": 1}) == 107
            assert asked == ["price:x", "price:y"]

    async def test_they_see_nothing_that_json_cannot_hold(self) -> None:
        app = FastWS()
        asked: list[Any] = []

        @app.on_publish("{topic}")
        def judge(conn: Connection, data: Any, topic: str) -> Any:
            asked.append(data)
            data["at"] = datetime.date(2024, 5, 30)
            return data

        async with staged(app) as stage:
            player = stage.connect(subprotocol=MSGPACK)
            for wrong in (b"bin", {1: 2}, {"at": datetime.datetime.now(datetime.UTC)}, float("nan")):
                assert player.ask("pub", topic="t", data=wrong) == 107
            assert player.ask("pub", topic="t", data={"a": 1})["offset"] == 1
            assert len(asked) == 1
            assert (await app.history("t")).publications[0].data == {"a": 1, "at": "2024-05-30"}

    async def test_one_that_forgets_to_return_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        app = FastWS()
        app.on_publish("{topic}")(lambda conn, data, topic: None)
        async with staged(app) as stage:
            player = stage.connect()
            assert player.ask("pub", topic="t", data=1) == 100
            assert player.ask("pub", topic="t", data=None)["offset"] == 1
        assert "returned None" in caplog.text
        assert "return the data" in caplog.text


class TestHistory:
    """`history`."""

    @both_codecs
    async def test_pages(self, codec: str) -> None:
        async with staged() as stage:
            player = stage.connect(subprotocol=codec)
            for number in range(1, 151):
                player.ask("pub", topic="t", data=number)

            def page(**fields: Any) -> list[int]:
                answer = player.ask("history", topic="t", **fields)
                assert answer["offset"] == 150
                return [entry["offset"] for entry in answer["publications"]]

            epoch = player.ask("history", topic="t", limit=0)["epoch"]
            assert page() == list(range(51, 151))  # 100 are kept
            assert page(limit=3) == [51, 52, 53]
            assert page(limit=0) == []
            assert page(limit=1000) == list(range(51, 151))
            assert page(reverse=True, limit=3) == [150, 149, 148]
            assert page(since={"epoch": epoch, "offset": 148}) == [149, 150]
            assert page(since={"epoch": epoch, "offset": 53}, reverse=True) == [52, 51]
            assert page(since={"epoch": epoch, "offset": 999}) == []
            assert player.ask("history", topic="t", limit=1001) == 106
            assert player.ask("history", topic="t", limit=-1) == 107
            assert player.ask("history", topic="t", since={"epoch": "other", "offset": 1}) == 112

    async def test_it_needs_no_subscription_but_the_permission_of_one(self) -> None:
        app = FastWS(namespaces={"secret": {"subscribe": "nobody", "history_size": 5}})
        async with staged(app) as stage:
            assert stage.connect().ask("history", topic="secret:t") == 103
            assert stage.connect().ask("history", topic="t")["publications"] == []
