"""What each command does, in both codecs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from fastws import FastWS
from fastws.core.publication import Position, Retention
from fastws.engine.contract import Outgoing, Page, Recovery
from fastws.engine.memory import MemoryEngine
from fastws.errors import EngineError
from fastws.types import Published
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


class TestHeartbeat:
    """`heartbeat` and `ping`."""

    @pytest.mark.parametrize(
        ("asked", "got"), [(30, 30), (10, 10), (9.5, 10), (-1, 10), (300, 300), (1e30, 300), (12.5, 12.5)]
    )
    async def test_the_reply_has_the_number_in_force(self, asked: float, got: float) -> None:
        async with staged() as stage:
            assert stage.connect().ask("heartbeat", interval=asked) == {"interval": got}

    @pytest.mark.parametrize("asked", [None, "30", True, [1]])
    async def test_nonsense(self, asked: Any) -> None:
        async with staged() as stage:
            player = stage.connect()
            assert player.ask("heartbeat", interval=asked) == 107
            assert player.ask("heartbeat") == 107
            assert stage.connect(subprotocol=MSGPACK).ask("heartbeat", interval=float("nan")) == 107

    async def test_a_server_without_pings_has_none(self) -> None:
        async with staged(ping_interval=0.0) as stage:
            assert stage.connect().ask("heartbeat", interval=30) == 108

    @both_codecs
    async def test_ping_tells_the_time(self, codec: str) -> None:
        async with staged() as stage:
            answer = stage.connect(subprotocol=codec).ask("ping")
            assert answer.keys() == {"ts"}
            assert answer["ts"] > 1_600_000_000_000


@both_codecs
@pytest.mark.parametrize("cmd", ["auth", "refresh"])
async def test_a_token_where_no_key_is_configured_ends_the_connection(codec: str, cmd: str) -> None:
    async with staged() as stage:
        player = stage.connect(subprotocol=codec)
        assert player.ask(cmd) == 107
        assert player.ask(cmd, token=5) == 107
        player.say({"cmd": cmd, "token": "x.y.z", "id": 1}, {"cmd": "ping", "id": 2})
        assert player.hear_one()["error"]["code"] == 101
        assert player.closed == (4500, "invalid_token")


class LateEngine(MemoryEngine):
    """Answers like one that is elsewhere: when `gate` is set, or with `failure`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def _late(self, answer: Any) -> Any:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return answer()

    def publish(self, outgoing: Outgoing) -> Awaitable[Published]:  # type: ignore[override]
        return self._late(lambda: MemoryEngine.publish(self, outgoing))

    def recover(self, *asked: Any) -> Awaitable[Recovery]:  # type: ignore[override]
        return self._late(lambda: MemoryEngine.recover(self, *asked))

    def history(  # type: ignore[override]
        self, topic: str, retention: Retention, since: Position | None, limit: int, *, reverse: bool = False
    ) -> Awaitable[Page]:
        return self._late(lambda: MemoryEngine.history(self, topic, retention, since, limit, reverse=reverse))


class TestAnEngineElsewhere:
    """Commands whose answers take time."""

    async def test_commands_stay_in_order(self) -> None:
        engine = LateEngine()
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say(
                {"id": 1, "cmd": "sub", "topic": "t"},
                {"id": 2, "cmd": "pub", "topic": "t", "data": 1, "echo": False},
                {"id": 3, "cmd": "ping"},
                {"id": 4, "cmd": "history", "topic": "t"},
                {"id": 5, "cmd": "history", "topic": "t", "since": {"epoch": "other", "offset": 0}},
                {"id": 6, "cmd": "unsub", "topic": "t"},
            )
            assert player.hear() == []
            player.say_text("PING")
            player.say({"type": "HEARTBEAT"})
            assert [frame.payload[:5] for frame in player.frames()] == [b"PONG", b'{"typ']
            engine.gate.set()
            await stage.settle()
            answers = player.hear()
            assert [answer["id"] for answer in answers] == [1, 2, 3, 4, 5, 6]
            assert answers[4]["error"]["code"] == 112
            assert len(answers[3]["result"]["publications"]) == 1
            assert player.conn.session.work is None
            assert stage.hub.topics == {}

    async def test_a_subscriber_that_left_meanwhile_leaves_nothing(self) -> None:
        engine = LateEngine()
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say({"cmd": "sub", "topic": "t"}, {"cmd": "sub", "topic": "u"})
            assert list(stage.hub.topics) == ["t"]
            player.vanish()
            engine.gate.set()
            await stage.settle()
            assert stage.hub.topics == {}
            assert stage.gateway.tasks == set()

    @pytest.mark.parametrize(("failure", "code"), [(EngineError("away"), 113), (ValueError("bug"), 100)])
    async def test_failures(self, failure: Exception, code: int, caplog: pytest.LogCaptureFixture) -> None:
        engine = LateEngine()
        engine.failure = failure
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say({"id": 1, "cmd": "sub", "topic": "t"}, {"id": 2, "cmd": "pub", "topic": "t", "data": 1})
            engine.gate.set()
            await stage.settle()
            first, second = player.hear()
            assert (first["error"]["code"], second["error"]["code"]) == (code, code)
            assert first["error"]["temporary"] is True
            assert "away" not in first["error"]["message"]
            assert "bug" not in first["error"]["message"]
            assert stage.hub.topics == {}
            assert ("failed" in caplog.text) == (code == 100)

    async def test_reading_pauses_while_too_much_waits(self) -> None:
        engine = LateEngine()
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say({"id": 0, "cmd": "pub", "topic": "t", "data": 0})
            for number in range(1, 200):
                player.say({"id": number, "cmd": "ping"})
            assert player.conn.paused
            assert not player.transport.reading
            assert len(player.conn.session.work.waiting) == 128
            engine.gate.set()
            await stage.settle()
            assert [answer["id"] for answer in player.hear()] == list(range(200))
            assert not player.conn.paused
            assert player.transport.reading

    async def test_reading_pauses_while_few_but_large_ones_wait(self) -> None:
        engine = LateEngine()
        async with staged(engine=engine) as stage:
            player = stage.connect()
            player.say({"id": 0, "cmd": "pub", "topic": "t", "data": 0})
            for number in range(1, 20):
                player.say({"id": number, "cmd": "ping", "more": "x" * 50_000})
            assert player.conn.paused
            assert len(player.conn.session.work.waiting) == 6
            engine.gate.set()
            await stage.settle()
            assert [answer["id"] for answer in player.hear()] == list(range(20))
            assert not player.conn.paused

    async def test_an_engine_that_fails_at_once_leaves_nothing(self) -> None:
        class Broken(MemoryEngine):
            def recover(self, *_asked: Any) -> Recovery:
                raise EngineError("away")

        async with staged(engine=Broken()) as stage:
            assert stage.connect().ask("sub", topic="t") == 113
            assert stage.hub.topics == {}


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
