"""`pub` and `history`."""

from __future__ import annotations

from typing import Any

import pytest

from fastws import FastWS
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
