"""`sub`, `unsub` and what subscribers hear."""

from __future__ import annotations

from typing import Any

import pytest

from fastws import FastWS
from tests.gateway.stage import JSON, MSGPACK, Player, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


@both_codecs
async def test_publications_reach_subscribers_in_their_own_codec(codec: str) -> None:
    async with staged() as stage:
        publisher = stage.connect(subprotocol=codec)
        hearers = [stage.connect(subprotocol=name) for name in ("", JSON, MSGPACK)]
        for hearer in hearers:
            hearer.ask("sub", topic="chat:a")
        result = publisher.ask("pub", topic="chat:a", data={"text": "hällo", "n": [1, 2.5, None, True]})
        epoch = result.pop("epoch")
        assert result == {"offset": 1, "duplicate": False}
        await stage.settle()
        for hearer in hearers:
            publication = hearer.hear_one()
            assert isinstance(publication.pop("ts"), int)
            assert publication == {
                "event": "publication",
                "topic": "chat:a",
                "data": {"text": "hällo", "n": [1, 2.5, None, True]},
                "offset": 1,
                "from": {"user": "", "conn": publisher.conn.id},
            }
        assert hearers[0].ask("history", topic="chat:a")["epoch"] == epoch
        assert publisher.hear() == []


@both_codecs
async def test_without_history_there_are_no_positions(codec: str) -> None:
    app = FastWS(namespaces={"price": {"subscribe": "all", "publish": "all"}})
    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        assert player.ask("sub", topic="price:a", recover={"epoch": "x", "offset": 1}) == {
            "topic": "price:a",
            "recovered": False,
            "publications": [],
        }
        player.say({"cmd": "pub", "id": 1, "topic": "price:a", "data": 5})
        await stage.settle()
        heard = sorted(player.hear(), key=lambda content: "event" in content)
        assert heard[0] == {"id": 1, "result": {"duplicate": False}}
        assert heard[1].keys() == {"event", "topic", "data", "ts", "from"}
        assert player.ask("history", topic="price:a") == 108


class TestSub:
    """`sub` and `unsub`."""

    async def test_twice(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            first = player.ask("sub", topic="t")
            assert first.keys() == {"topic", "epoch", "offset", "recovered", "publications"}
            assert player.ask("sub", topic="t") == 105
            assert player.ask("unsub", topic="t") == {}
            assert player.ask("unsub", topic="t") == {}
            assert player.ask("unsub", topic="never") == {}
            assert player.ask("sub", topic="t") == first
            assert player.conn.topics == ("t",)

    async def test_names(self) -> None:
        async with staged(dev=False) as stage:
            player = stage.connect()
            for name in ("", "a" * 256, "a\x00", "a\x1fb", "\x7f", "ä" * 128, "a\x85"):
                assert player.ask("sub", topic=name) == 107
                assert player.ask("unsub", topic=name) == 107
                assert player.ask("pub", topic=name, data=1) == 107
                assert player.ask("history", topic=name) == 107
            for cmd in ("sub", "history"):
                assert player.ask(cmd, topic="undeclared:x") == 102
            assert player.ask("pub", topic="undeclared:x", data=1) == 102

    async def test_names_are_compared_byte_by_byte(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            for name in ("Chat:a", "chat:a", "chat:a ", "caf\u00e9", "cafe\u0301", "a" * 255, "ä" * 127):
                player.ask("sub", topic=name)
            assert len(player.conn.topics) == 7

    async def test_limits(self) -> None:
        app = FastWS(namespaces={"small": {"subscribe": "all", "max_subscribers": 2}})
        async with staged(app, max_topics=3) as stage:
            players = [stage.connect() for _ in range(3)]
            answers = [player.ask("sub", topic="small:a") for player in players]
            assert answers[2] == 106
            players[0].ask("unsub", topic="small:a")
            assert players[2].ask("sub", topic="small:a")["topic"] == "small:a"
            assert [player.ask("sub", topic="b") == 106 for player in players[2:]] == [False]
            assert players[2].ask("sub", topic="c") != 106
            assert players[2].ask("sub", topic="d") == 106
            players[2].ask("unsub", topic="c")
            assert players[2].ask("sub", topic="d") != 106

    async def test_no_limit(self) -> None:
        async with staged(max_topics=0) as stage:
            player = stage.connect()
            for number in range(300):
                assert player.ask("sub", topic=f"t{number}") != 106
            assert len(player.conn.topics) == 300

    async def test_no_limit_but_what_a_connection_can_hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastws.gateway.commands.subscribing.MAX_TOPICS", 3)
        async with staged(max_topics=0) as stage:
            player = stage.connect()
            assert [player.ask("sub", topic=f"t{number}") == 106 for number in range(4)] == [False] * 3 + [True]

    async def test_nothing_follows_the_reply_of_unsub_and_nothing_precedes_that_of_sub(self) -> None:
        async with staged() as stage:
            hearer, publisher = stage.connect(), stage.connect()
            for number in range(3):
                publisher.say({"cmd": "pub", "topic": "t", "data": number})
            hearer.say({"cmd": "sub", "topic": "t", "id": 1})
            publisher.say({"cmd": "pub", "topic": "t", "data": 3})
            hearer.say({"cmd": "unsub", "topic": "t", "id": 2})
            publisher.say({"cmd": "pub", "topic": "t", "data": 4})
            await stage.settle()
            first, second, third = hearer.hear()
            assert (first["id"], second["data"], third) == (1, 3, {"id": 2, "result": {}})

    async def test_without_id_it_simply_starts_the_flow(self) -> None:
        async with staged() as stage:
            hearer, publisher = stage.connect(), stage.connect()
            hearer.say({"cmd": "sub", "topic": "price"})
            assert hearer.hear() == []
            publisher.say({"cmd": "pub", "topic": "price", "data": 1024})
            await stage.settle()
            assert hearer.hear_one()["data"] == 1024
            assert publisher.hear() == []


class TestRecovery:
    """`sub` with `recover`."""

    @both_codecs
    async def test_what_was_missed_comes_in_order(self, codec: str) -> None:
        async with staged() as stage:
            player, publisher = stage.connect(subprotocol=codec), stage.connect()
            position = player.ask("sub", topic="t")
            assert (position["offset"], position["recovered"], position["publications"]) == (0, False, [])
            for number in range(5):
                publisher.ask("pub", topic="t", data=number)
            since = {"epoch": position["epoch"], "offset": 2}
            other = stage.connect(subprotocol=codec)
            answer = other.ask("sub", topic="t", recover=since)
            assert (answer["recovered"], answer["offset"], answer["epoch"]) == (True, 5, position["epoch"])
            assert [(entry["offset"], entry["data"]) for entry in answer["publications"]] == [(3, 2), (4, 3), (5, 4)]
            assert answer["publications"][0].keys() == {"data", "offset", "ts", "from"}
            up_to_date = stage.connect(subprotocol=codec).ask("sub", topic="t", recover={**since, "offset": 5})
            assert (up_to_date["recovered"], up_to_date["publications"]) == (True, [])

    async def test_what_cannot_be_proven_is_not_recovered(self) -> None:
        app = FastWS(
            namespaces={
                "short": {"subscribe": "all", "publish": "all", "history_size": 2, "recover": True},
                "never": {"subscribe": "all", "publish": "all", "history_size": 2},
            }
        )
        async with staged(app) as stage:
            publisher = stage.connect()
            for namespace in ("short", "never"):
                topic = f"{namespace}:t"
                for number in range(4):
                    publisher.ask("pub", topic=topic, data=number)
                epoch = publisher.ask("history", topic=topic, limit=0)["epoch"]
                wrong = [("", 0), ("other", 4), (epoch, 5), (epoch, 1), (epoch, 0)]
                for since in [*wrong, (epoch, 2)] if namespace == "never" else wrong:
                    answer = stage.connect().ask("sub", topic=topic, recover={"epoch": since[0], "offset": since[1]})
                    assert answer == {
                        "topic": topic,
                        "epoch": epoch,
                        "offset": 4,
                        "recovered": False,
                        "publications": [],
                    }, since
            answer = stage.connect().ask("sub", topic="short:t", recover={"epoch": epoch, "offset": 2})
            assert answer["recovered"] is False

    @pytest.mark.parametrize("since", [5, {}, {"epoch": "x"}, {"epoch": 1, "offset": 1}, {"epoch": "x", "offset": -1}])
    async def test_nonsense(self, since: Any) -> None:
        async with staged() as stage:
            assert stage.connect().ask("sub", topic="t", recover=since) == 107


async def test_subscribers_that_left_hear_nothing_and_those_that_stay_everything() -> None:
    async with staged() as stage:
        hearers: list[Player] = [stage.connect() for _ in range(20)]
        for hearer in hearers:
            hearer.ask("sub", topic="t")
        for number, hearer in enumerate(hearers):
            if number % 2:
                hearer.vanish()
        stage.connect().ask("pub", topic="t", data=1)
        await stage.settle()
        assert [len(hearer.hear()) for hearer in hearers] == [1, 0] * 10
        assert stage.hub.deliveries == 10
