"""What applications ask about users, connections and tenants."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fastws import FastWS, TopicError, UsageError
from fastws.errors import EngineError
from fastws.gateway.services import GatewayServices
from fastws.types import Author, HistoryEntry, TopicInfo, UserStatus
from tests.gateway.engines import DistantEngine
from tests.gateway.stage import JSON, MSGPACK, Player, Stage, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


def services(stage: Stage) -> GatewayServices:
    return stage.gateway.services


async def heard(stage: Stage, *players: Player) -> list[list[Any]]:
    await stage.settle()
    return [[content.get("data", content["event"]) for content in player.hear()] for player in players]


@both_codecs
async def test_pushing(codec: str) -> None:
    async with staged() as stage:
        players = [stage.connect(subprotocol=codec) for _ in range(4)]
        for player, user, tenant in zip(players, "uuvu", ("", "", "", "acme"), strict=True):
            stage.name(player, user, tenant)
        ask = services(stage)
        assert await ask.push(1, user="u") == 2
        assert await ask.push(2, user="u", tenant="acme") == 1
        assert await ask.push(3, user="x") == 0
        assert await ask.push(4, conn=players[2].conn) == 1
        assert await ask.push(5, conn=players[3].conn.id) == 1
        await ask.broadcast(6)
        await ask.broadcast(7, tenant="acme")
        await ask.broadcast(8, tenant="")
        assert await heard(stage, *players) == [[1, 6, 8], [1, 6, 8], [4, 6, 8], [2, 5, 6, 7]]
        for wrong in ({}, {"user": "u", "conn": "c"}, {"conn": 5}):
            with pytest.raises(UsageError):
                await ask.push(1, **wrong)
        with pytest.raises(TopicError):
            await ask.push(float("nan"), user="u")


async def test_nothing_is_done_by_halves_while_the_others_are_away() -> None:
    async with staged() as stage:
        ann, ben, raw = players = [stage.connect() for _ in range(3)]
        for player, user, tenant in zip(players, ("ann", "ben", "raw"), ("", "", "acme"), strict=True):
            stage.name(player, user, tenant)
        stage.hub.leave(raw.conn, ())
        ask = services(stage)
        stage.hub.on_degraded(1)
        for refused in (
            ask.broadcast(1),
            ask.broadcast(1, tenant=""),
            ask.push(1, user="ann"),
            ask.push(1, conn="gone-1"),
            ask.subscribe("ann", "t"),
            ask.unsubscribe("ann", "t"),
            ask.online("user", "ann"),
            ask.disconnect(user="ben"),
            ask.disconnect(tenant="acme"),
            ask.disconnect(conn="gone-1"),
        ):
            with pytest.raises(EngineError, match="cannot be reached"):
                await refused
        assert await ask.push(2, conn=ann.conn) == 1
        assert await ask.disconnect(conn=raw.conn) == 1
        assert await heard(stage, ann, ben) == [["degraded", 2], ["degraded"]]
        assert [player.closed for player in (ann, ben)] == [None, (4503, "kicked")]
        stage.hub.on_restored(2)
        assert await ask.push(3, user="ann") == 1


async def test_who_could_not_be_told_is_not_left_out_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged() as stage:
        ann = stage.connect()
        stage.name(ann, "ann", "")
        ask = services(stage)
        carry_out = stage.engine.order
        monkeypatch.setattr(stage.engine, "order", lambda order: carry_out(order)._replace(is_partial=True))
        for refused in (
            ask.push(1, user="ann"),
            ask.subscribe("ann", "t"),
            ask.online("user", "ann"),
            ask.broadcast(2, tenant=""),
            ask.push(3, conn="gone-1"),
        ):
            with pytest.raises(EngineError, match="not all servers could be told"):
                await refused
        assert await ask.push(4, conn=ann.conn) == 1, "nobody else can have it"
        assert await heard(stage, ann) == [[1, "subscribed", 2, 4]]
        with pytest.raises(EngineError, match="not all servers could be told"):
            await ask.disconnect(user="ann")
        assert await heard(stage, ann) == [[]]
        assert ann.closed == (4503, "kicked")


async def test_disconnecting_users_and_tenants() -> None:
    async with staged() as stage:
        players = [stage.connect() for _ in range(5)]
        for player, user, tenant in zip(players, "uuuvw", ("", "", "acme", "acme", ""), strict=True):
            stage.name(player, user, tenant)
        ask = services(stage)
        assert await ask.disconnect(user="u", reason="bye") == 2
        assert await ask.disconnect(user="u") == 0
        assert await ask.disconnect(tenant="acme", code=4006) == 2
        await stage.settle()
        for player in players:
            player.hear()
        kicked, moved = (4503, "bye"), (4006, "force_reconnect")
        assert [player.closed for player in players] == [kicked, kicked, moved, moved, None]
        elsewhere = stage.connect()
        stage.hub.leave(elsewhere.conn, ())
        assert await ask.disconnect(conn=elsewhere.conn.id) == 0
        assert await ask.disconnect(conn=elsewhere.conn, tenant="acme") == 0
        assert await ask.disconnect(conn=elsewhere.conn) == 1
        assert await ask.disconnect(conn=elsewhere.conn) == 0
        wrong: list[dict[str, Any]] = [
            {},
            {"user": "u", "conn": "c"},
            {"conn": players[0].conn, "reason": "x" * 124},
        ]
        for arguments in wrong:
            with pytest.raises(UsageError):
                await ask.disconnect(**arguments)


@both_codecs
@pytest.mark.parametrize("prompt", [True, False])
async def test_subscribing_and_unsubscribing_users(codec: str, prompt: bool) -> None:
    app = FastWS(namespaces={"plain": {}, "kept": {"history_size": 5}, "closed": {"subscribe": "nobody"}})
    engine = DistantEngine(prompt=prompt, direct=True)
    async with staged(app, engine, dev=False) as stage:
        players = [stage.name(stage.connect(subprotocol=codec), "u", tenant) for tenant in ("", "", "acme")]
        ask = services(stage)
        assert await ask.subscribe("u", "plain:a") == 2
        assert await ask.subscribe("u", "plain:a") == 0
        assert await ask.subscribe("u", "closed:a") == 2
        assert await ask.subscribe("nobody", "plain:a") == 0
        assert await ask.subscribe("u", "plain:a", tenant="acme") == 1
        told = {"event": "subscribed", "topic": "plain:a"}
        await stage.settle()
        assert players[0].hear() == players[1].hear() == [told, {**told, "topic": "closed:a"}]
        assert players[2].hear() == [told]
        await ask.publish("plain:a", 1)
        await ask.publish("plain:a", 2, tenant="acme")
        assert await heard(stage, *players) == [[1], [1], [2]]
        assert await ask.unsubscribe("u", "plain:a") == 2
        assert await ask.unsubscribe("u", "plain:a") == 0
        await ask.publish("plain:a", 3)
        await stage.settle()
        gone = {"event": "unsubscribed", "topic": "plain:a", "code": 2000}
        for player in players[:2]:
            assert player.hear() == [{**gone, "reason": "server_unsubscribe", "resubscribe": False}]
        for topic, code in (("other:a", 102), ("", 107)):
            for asked in (ask.subscribe, ask.unsubscribe):
                with pytest.raises(TopicError) as raised:
                    await asked("u", topic)
                assert raised.value.code == code


async def test_a_subscription_by_the_server_says_where_the_topic_is() -> None:
    engine = DistantEngine(direct=True)
    async with staged(engine=engine) as stage:
        player = stage.name(stage.connect(), "u")
        ask = services(stage)
        await ask.publish("t", 1)
        waiting = stage.gateway._loop.create_task(ask.subscribe("u", "t"))
        await stage.settle()
        await ask.publish("t", 2)
        player.say({"id": 1, "cmd": "sub", "topic": "t"})
        engine.answer(engine.questions[0])
        assert await waiting == 1
        await ask.publish("t", 3)
        engine.answer_all()
        await stage.settle()
        subscribed, publication, refused = player.hear()
        assert subscribed == {"event": "subscribed", "topic": "t", "epoch": engine._logs["t"].epoch, "offset": 2}
        assert (publication["data"], refused["error"]["code"]) == (3, 105)
        assert player.conn.topics == ("t",)


async def test_whichever_subscribes_first_the_other_has_nothing_to_do() -> None:
    engine = DistantEngine(direct=True)
    async with staged(engine=engine) as stage:
        player = stage.name(stage.connect(), "u")
        waiting = stage.gateway._loop.create_task(services(stage).subscribe("u", "t"))
        await stage.settle()
        player.say({"id": 1, "cmd": "sub", "topic": "t"})
        engine.answer(engine.questions[1])
        await stage.settle()
        engine.answer_all()
        assert await waiting == 0
        assert player.hear_one()["id"] == 1
        assert player.conn.topics == ("t",)
        gone = stage.name(stage.connect(), "v")
        waiting = stage.gateway._loop.create_task(services(stage).subscribe("v", "t"))
        await stage.settle()
        gone.vanish()
        engine.answer_all()
        assert await waiting == 0


async def test_limits_hold_for_subscriptions_by_the_server_too() -> None:
    app = FastWS(namespaces={"small": {"max_subscribers": 1}})
    async with staged(app, max_topics=2) as stage:
        player, other = (stage.name(stage.connect(), user) for user in "uv")
        ask = services(stage)
        assert await ask.subscribe("u", "small:a") == 1
        with pytest.raises(TopicError) as raised:
            await ask.subscribe("v", "small:a")
        assert raised.value.code == 106
        await ask.subscribe("u", "b")
        with pytest.raises(TopicError) as raised:
            await ask.subscribe("u", "c")
        assert raised.value.code == 106
        await stage.settle()
        player.hear()
        assert player.ask("sub", topic="d") == 106
        other.hear()
        assert other.ask("sub", topic="d") != 106


async def test_history() -> None:
    app = FastWS(namespaces={"plain": {}})
    async with staged(app) as stage:
        player = stage.connect()
        ask = services(stage)
        player.ask("pub", topic="t", data={"a": 1})
        for number in range(4):
            await ask.publish("t", number)
        page = await ask.history("t")
        first = page.publications[0]
        assert first == HistoryEntry({"a": 1}, 1, 1_000_000, Author("", player.conn.id))
        assert page.publications[1].author is None
        assert (page.offset, page.epoch) == (5, stage.engine._logs["t"].epoch)
        since = (page.epoch, 2)
        assert [entry.offset for entry in (await ask.history("t", since=since, limit=2)).publications] == [3, 4]
        assert [entry.offset for entry in (await ask.history("t", since=since, reverse=True)).publications] == [1]
        assert (await ask.history("t", limit=0)).publications == []
        asis = (await ask.history("t", raw=True)).publications
        assert [orjson.loads(entry.data) for entry in asis] == [entry.data for entry in page.publications]
        assert (await ask.history("t", tenant="acme")).offset == 0
        wrong: list[tuple[str, dict[str, Any], int]] = [
            ("plain:t", {}, 108),
            ("t", {"limit": 1001}, 106),
            ("t", {"limit": -1}, 107),
            ("t", {"since": ("other", 1)}, 112),
            ("t", {"tenant": "a\0b"}, 107),
        ]
        for topic, arguments, code in wrong:
            with pytest.raises(TopicError) as raised:
                await ask.history(topic, **arguments)
            assert raised.value.code == code


async def test_presence() -> None:
    app = FastWS(namespaces={"plain": {}})
    async with staged(app) as stage:
        player, other = (stage.name(stage.connect(), user) for user in "uu")
        for one in (player, other):
            one.ask("sub", topic="t")
        ask = services(stage)
        presence = await ask.presence("t")
        assert set(presence.members) == {player.conn.id, other.conn.id}
        assert await ask.presence_stats("t") == (2, 1)
        assert await ask.presence_stats("t", tenant="acme") == (0, 0)
        for asked in (ask.presence, ask.presence_stats):
            with pytest.raises(TopicError) as raised:
                await asked("plain:t")
            assert raised.value.code == 108


async def test_users_and_their_sessions() -> None:
    async with staged() as stage:
        player = stage.name(stage.connect(), "u", "acme", "web")
        other = stage.name(stage.connect(), "u", "acme", "phone")
        ask = services(stage)
        sessions = await ask.sessions("u", tenant="acme")
        assert [session[:5] for session in sessions] == [
            (one.conn.id, "u", "acme", device, "n1") for one, device in ((player, "web"), (other, "phone"))
        ]
        assert await ask.sessions("u") == []
        status = await ask.status(["u", "v"], tenant="acme")
        assert status == {
            "u": UserStatus(True, ["phone", "web"], 1_000_000),
            "v": UserStatus(False, (), None),
        }
        for one in (player, other):
            one.vanish()
        await stage.settle()
        stage.clock.now_s += 5
        assert await ask.status(["u"], tenant="acme") == {"u": UserStatus(False, (), 1_000_000)}
        with pytest.raises(TopicError):
            await ask.status(["acme\0u"])


async def test_counting_and_listing() -> None:
    async with staged() as stage:
        for user, tenant, device, info in (("u", "", "web", {"plan": "pro"}), ("v", "acme", "web", {"plan": "free"})):
            stage.name(stage.connect(), user, tenant, device, info).ask("sub", topic="t")
        ask = services(stage)
        assert await ask.online("device", "web") == 2
        assert await ask.online("device", "web", tenant="acme") == 1
        assert await ask.online("plan", "pro") == 1
        assert await ask.online("plan", "pro", tenant="acme") == 0
        assert await ask.topics() == [TopicInfo("t", 1)]
        assert await ask.topics("t", tenant="acme") == [TopicInfo("t", 1)]
        assert await ask.topics("x*") == []
        for pattern in ("a*b", "acme\0t"):
            with pytest.raises(TopicError):
                await ask.topics(pattern)


async def test_tenants_of_an_application() -> None:
    async with staged() as stage:
        player = stage.name(stage.connect(), "u", "acme")
        other = stage.name(stage.connect(), "u")
        acme = stage.app.tenant("acme")
        assert await acme.subscribe("u", "t") == 1
        await acme.publish("t", 1)
        await acme.broadcast(2)
        assert await acme.push("u", 3) == 1
        assert await heard(stage, player, other) == [["subscribed", 1, 2, 3], []]
        assert await acme.disconnect(user="u") == 1
