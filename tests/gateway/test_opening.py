"""From the upgrade to the welcome, with tokens and without; what ends with a token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastws import FastWS, Reject
from fastws.engine.memory import MemoryEngine
from fastws.gateway.auth.tokens import sign
from tests.gateway.engines import DistantEngine
from tests.gateway.stage import JSON, MSGPACK, Player, Stage, staged

pytestmark = pytest.mark.asyncio

SECRET = "a secret of thirty-two characters at least"
NAMESPACES: dict[str, dict[str, Any]] = {
    "chat": {},
    "open": {"subscribe": "all"},
    "asked": {"subscribe": "token", "publish": "token"},
    "closed": {"subscribe": "nobody"},
}
both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])


def token(lasts_s: float | None = None, **claims: Any) -> str:
    times = {} if lasts_s is None else {"exp": int(time.time() + lasts_s)}
    return sign(times | claims, SECRET)


@asynccontextmanager
async def keyed(app: FastWS | None = None, engine: Any = None, **settings: Any) -> AsyncIterator[Stage]:
    """A stage that verifies tokens."""
    async with staged(
        app, engine, **{"jwt_secret": SECRET, "dev": False, "namespaces": NAMESPACES, **settings}
    ) as stage:
        yield stage


def knock(stage: Stage, codec: str = JSON, *, offered: str | None = None) -> Player:
    """A client that offers a token with its upgrade, or none."""
    query = b"" if offered is None else b"token=" + offered.encode()
    return stage.connect(subprotocol=codec, query=query, welcomed=False)


async def due(player: Player) -> None:
    """Its deadline has come."""
    player.conn.endpoint.on_deadline(player.conn)
    for _ in range(3):
        await asyncio.sleep(0)


# With the upgrade.


@both_codecs
async def test_the_welcome_is_the_first_frame_and_tells_who_it_is(codec: str) -> None:
    async with keyed() as stage:
        player = knock(stage, codec, offered=token(60, sub="42", tenant="acme", device="web", info={"a": 1}))
        welcome = player.hear_one()
        assert (welcome["event"], welcome["user"], welcome["tenant"], welcome["device"]) == (
            *("welcome", "42", "acme"),
            "web",
        )
        assert abs(welcome["expires"] - time.time() - 60) < 2
        assert (player.conn.user, player.conn.info) == ("42", {"a": 1})
        assert 58 < player.conn.deadline < 62
        assert stage.hub.connections_of("acme", "42") == (player.conn,)
        assert player.conn.query == {}
        assert player.conn.session.details is None, "nothing of the upgrade is kept"
        forever = knock(stage, codec, offered=token(sub="42"))
        assert "expires" not in forever.hear_one()
        assert forever.conn.deadline == 0


@both_codecs
@pytest.mark.parametrize(
    ("bad", "close"),
    [
        ("x", (4500, "invalid_token")),
        (token(-5, sub="42"), (4001, "token_expired")),
        (token(sub="42", topic="chat:a"), (4500, "invalid_token")),
        (token(), (4500, "invalid_token")),
    ],
)
async def test_a_bad_token_closes_without_a_word(codec: str, bad: str, close: tuple[int, str]) -> None:
    async with keyed() as stage:
        player = knock(stage, codec, offered=bad)
        assert player.hear() == []
        assert player.closed == close
        player.say({"cmd": "ping", "id": 1})
        assert player.hear() == []


async def test_a_token_without_a_user_is_anonymous_where_that_is_accepted() -> None:
    async with keyed(anonymous=True) as stage:
        player = knock(stage, offered=token(tenant="acme", permissions={"sub": ["chat:*"]}))
        welcome = player.hear_one()
        assert (welcome["user"], welcome["tenant"]) == ("", "acme")
        assert player.ask("sub", topic="chat:a")["topic"] == "chat:a"
        assert player.ask("sub", topic="open:a") == 103


async def test_nobody_sees_the_token_in_the_query() -> None:
    app = FastWS()
    seen: list[dict[str, str]] = []
    app.on_connect(lambda conn: seen.append(conn.query))
    async with keyed(app) as stage:
        query = b"room=1&token=" + token(sub="42").encode() + b"&%74oken=x&tokens=2"
        player = stage.connect(query=query)
        assert seen == [player.conn.query] == [{"room": "1", "tokens": "2"}]


@both_codecs
async def test_topics_of_the_token_are_subscribed_behind_the_welcome(codec: str) -> None:
    async with keyed(namespaces=NAMESPACES | {"closed": {"subscribe": "nobody", "history_size": 5}}) as stage:
        player = knock(stage, codec, offered=token(sub="42", topics=["closed:a", "nowhere:a", "\0", "chat:b"]))
        welcome, first, second = player.hear()
        assert welcome["event"] == "welcome"
        assert (first["event"], first["topic"], first["offset"]) == ("subscribed", "closed:a", 0)
        assert second == {"event": "subscribed", "topic": "chat:b"}
        assert player.conn.topics == ("closed:a", "chat:b")
        assert player.ask("sub", topic="chat:b") == 105
        assert player.conn.session.work is None


async def test_topics_of_the_token_count_against_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    async with keyed(max_topics=1) as stage:
        for _ in range(2):
            player = knock(stage, offered=token(sub="42", topics=["chat:a", "chat:b", "chat:a"]))
            assert [heard["event"] for heard in player.hear()] == ["welcome", "subscribed"]
        assert player.ask("sub", topic="chat:c") == 106
        assert len([record for record in caplog.records if "topics" in record.message]) == 1


async def test_topics_of_the_token_while_the_engine_is_away(caplog: pytest.LogCaptureFixture) -> None:
    namespaces = {"kept": {"history_size": 5}, "chat": {}}
    engine = DistantEngine(prompt=True)
    async with keyed(None, engine, namespaces=namespaces) as stage:
        engine.go_away()
        for _ in range(2):
            player = knock(stage, offered=token(sub="42", topics=["kept:a", "chat:a", "kept:b"]))
            assert [heard["event"] for heard in player.hear()] == ["welcome", "subscribed", "degraded"]
            assert player.conn.topics == ("chat:a",)
        assert [record.levelname for record in caplog.records if "topics" in record.message] == ["WARNING"]


# With the command `auth`.


@both_codecs
async def test_a_stranger_authenticates(codec: str) -> None:
    async with keyed() as stage:
        player = knock(stage, codec)
        assert player.hear() == []
        assert player.ask("sub", topic="chat:a") == 101
        assert 9 < player.conn.deadline < 10.5
        player.say({"id": "x", "cmd": "auth", "token": token(60, sub="42", topics=["chat:a"])})
        player.say({"id": 2, "cmd": "pub", "topic": "chat:a", "data": 1})
        reply, welcome, subscribed, *rest = player.hear()
        assert reply == {"id": "x", "result": {"expires": welcome["expires"]}}
        assert (welcome["event"], welcome["user"], subscribed["event"]) == ("welcome", "42", "subscribed")
        assert {item.get("id") or item["event"] for item in rest} == {2, "publication"}
        assert player.conn.max_message_size == stage.settings.max_message_size
        assert 58 < player.conn.deadline < 62
        assert player.ask("auth", token=token(sub="42")) == 107
        assert player.conn.session.work is None


async def test_a_stranger_says_no_more_than_anybody() -> None:
    async with keyed(max_message_size=1000) as stage:
        player = knock(stage)
        player.say({"cmd": "ping", "id": 1, "pad": "x" * 900})
        assert player.hear_one()["id"] == 1
        player.say({"cmd": "ping", "id": 2, "pad": "x" * 1000})
        assert player.hear() == []
        assert player.closed is not None
        assert player.closed[0] == 1009


@pytest.mark.parametrize("asked", [True, False])
async def test_headers_of_strangers_are_kept_only_for_hooks_that_may_ask(asked: bool) -> None:
    app = FastWS(keep_headers=["x-kept"])
    seen: list[str | None] = []
    if asked:
        app.on_connect(lambda conn: seen.append(conn.headers.get("x-seen")))
    async with keyed(app) as stage:
        headers = ((b"x-seen", b"1"), (b"x-kept", b"2"))
        player = stage.connect(headers=headers, welcomed=False)
        assert (player.conn.session.details.request is not None) is asked
        player.say({"cmd": "auth", "token": token(sub="42")})
        assert player.hear_one()["event"] == "welcome"
        assert seen == ["1"] * asked
        assert dict(player.conn.headers) == {"x-kept": "2"}


@both_codecs
async def test_without_an_id_the_welcome_is_the_answer(codec: str) -> None:
    async with keyed() as stage:
        player = knock(stage, codec)
        player.say({"cmd": "auth", "token": token(sub="42")})
        assert player.hear_one()["event"] == "welcome"
        assert player.conn.deadline == 0
        assert player.conn.codec_index == (1 if codec == MSGPACK else 0)


async def test_what_waits_in_the_same_message_runs_behind_the_welcome() -> None:
    async with keyed() as stage:
        player = knock(stage)
        good = token(sub="42", topics=["chat:a"])
        player.say_text(f'{{"cmd":"ping","id":1}}\n{{"cmd":"auth","id":2,"token":"{good}"}}\n{{"cmd":"ping","id":3}}')
        told = [said.get("id", said.get("event")) for said in player.hear()]
        assert told == [1, 2, "welcome", "subscribed", 3]


@both_codecs
@pytest.mark.parametrize("with_id", [True, False])
async def test_a_bad_token_answers_101_and_closes(codec: str, with_id: bool) -> None:
    async with keyed() as stage:
        for bad in ("x", sign({"sub": "1"}, SECRET + "x"), token(tenant="acme"), token(sub="1", topic="chat:a")):
            player = knock(stage, codec)
            player.say({"cmd": "auth", "token": bad} | ({"id": 1} if with_id else {}))
            answer = player.hear_one()
            assert answer["error"]["code"] == 101
            assert ("event" in answer) is not with_id
            assert bad not in answer["error"]["message"]
            assert player.closed == (4500, "invalid_token")


@both_codecs
async def test_a_stranger_is_told_what_is_wrong_with_what_it_may_say(codec: str) -> None:
    async with keyed() as stage:
        player = knock(stage, codec)
        assert player.ask("auth") == 107
        assert player.ask("auth", token=5) == 107
        assert player.ask("auth", token=None) == 107
        player.say({"id": 1, "token": "x"}, {"id": 1, "cmd": 5}, {"id": {}, "cmd": "ping"})
        assert [said["error"]["code"] for said in player.hear()] == [107, 107, 107]
        assert player.ask("sub") == player.ask("nonsense") == player.ask("refresh", token=5) == player.ask("") == 101
        assert player.closed is None


@both_codecs
async def test_an_expired_token_answers_109_and_another_may_follow(codec: str) -> None:
    async with keyed() as stage:
        player = knock(stage, codec)
        assert player.ask("auth", token=token(-5, sub="42")) == 109
        assert 9 < player.conn.deadline < 10.5, "the time to authenticate goes on"
        player.say({"cmd": "auth", "token": token(sub="42")})
        assert player.hear_one()["user"] == "42"
        assert player.ask("refresh", token=token(-5, sub="42")) == 109
        assert player.ask("ping")


async def test_who_authenticates_too_late() -> None:
    async with keyed() as stage:
        player = knock(stage)
        await due(player)
        player.hear()
        assert player.closed == (4502, "auth_timeout")


@both_codecs
async def test_an_anonymous_client_becomes_a_user_and_keeps_what_it_has(codec: str) -> None:
    async with keyed(anonymous=True) as stage:
        player = stage.connect(subprotocol=codec)
        conn_id = player.conn.id
        player.ask("sub", topic="open:a")
        assert player.ask("sub", topic="chat:a") == 103
        assert player.ask("auth", token=token(-5, sub="42")) == 109
        player.say({"cmd": "auth", "id": 1, "token": token(60, sub="42", topics=["chat:b"])})
        reply, welcome, subscribed = player.hear()
        assert reply["result"]["expires"] == welcome["expires"]
        assert (welcome["conn"], welcome["user"], subscribed["topic"]) == (conn_id, "42", "chat:b")
        assert player.conn.topics == ("open:a", "chat:b")
        assert player.ask("sub", topic="chat:a")["topic"] == "chat:a"
        assert stage.hub.connections_of("", "42") == (player.conn,)
        assert player.ask("auth", token=token(sub="42")) == 107
        player.vanish()
        await stage.settle()
        assert stage.hub.users.count == 0


@both_codecs
async def test_presence_tells_who_it_is_now(codec: str) -> None:
    async with keyed(anonymous=True, namespaces={"open": {"subscribe": "all", "presence": True}}) as stage:
        player = stage.connect(subprotocol=codec)
        player.ask("sub", topic="open:a")
        conn_id = player.conn.id
        for cmd, claims in (("auth", {"sub": "42", "info": 1}), ("refresh", {"sub": "42", "info": 2, "device": "web"})):
            player.say({"cmd": cmd, "token": token(60, **claims)})
            player.hear()
            found = player.ask("presence", topic="open:a")
            member = {"user": "42", "device": claims.get("device", "default"), "info": claims["info"]}
            assert found == {"members": {conn_id: member}, "connections": 1, "users": 1}


async def test_an_engine_that_keeps_members_is_told_who_it_is_now() -> None:
    told: list[tuple[str, str, str, bool, bool]] = []

    class Keeping(MemoryEngine):
        def present(self, topic: str, conn: str, member: Any, *, announce: bool, is_known: bool = False) -> None:
            told.append((topic, member.user, member.device, announce, is_known))

    namespaces = {"open": {"subscribe": "all", "presence": True, "join_leave": True}}
    async with keyed(None, Keeping(), anonymous=True, namespaces=namespaces) as stage:
        player = stage.connect()
        player.ask("sub", topic="open:a")
        for cmd, device in (("auth", "web"), ("refresh", "web"), ("refresh", "phone")):
            player.say({"cmd": cmd, "token": token(60, sub="42", device=device)})
        assert told == [
            ("open:a", "", "default", True, False),
            ("open:a", "42", "web", True, True),
            ("open:a", "42", "phone", True, True),
        ]


async def test_topics_of_another_tenant_are_others() -> None:
    async with keyed(anonymous=True) as stage:
        player = stage.connect()
        for name in "abc":
            player.ask("sub", topic=f"open:{name}")
        player.say({"cmd": "auth", "token": token(sub="42", tenant="acme")})
        welcome, *ended = player.hear()
        assert welcome["tenant"] == "acme"
        assert ended == [
            {
                "event": "unsubscribed",
                "topic": f"open:{name}",
                "code": 2500,
                "reason": "insufficient_state",
                "resubscribe": True,
            }
            for name in "abc"
        ]
        assert player.ask("sub", topic="open:a")["topic"] == "open:a"
        assert set(stage.hub.topics) == {"acme\0open:a"}


# The application's hooks.


def asking(log: list[Any], *, waits: bool) -> FastWS:
    """An application that looks at who comes."""
    app = FastWS()

    @app.on_connect
    async def connect(conn: Any) -> None:
        if waits:
            await asyncio.sleep(0)
        log.append((conn.user, conn.claims.get("sub"), conn.claims.get("rooms"), bool(conn.claims.get("exp"))))
        conn.send("early")
        if conn.user == "banned":
            raise Reject(4507)

    @app.on_disconnect
    def disconnect(info: Any, close: Any) -> None:
        log.append((info.user, close.code))

    return app


@pytest.mark.parametrize("waits", [True, False])
async def test_hooks_see_the_user_and_all_claims_and_speak_behind_the_welcome(waits: bool) -> None:
    log: list[Any] = []
    async with keyed(asking(log, waits=waits)) as stage:
        claims = {"sub": "42", "rooms": ["a"], "topics": ["chat:a"]}
        first = knock(stage, offered=token(60, **claims))
        second = knock(stage)
        second.say({"cmd": "auth", "id": 1, "token": token(60, **claims)}, {"cmd": "ping", "id": 2})
        await stage.settle()
        assert log == [("42", "42", ["a"], True)] * 2
        for player, expected in (
            (first, ["welcome", "subscribed", "message"]),
            (second, [1, "welcome", "subscribed", "message", 2]),
        ):
            assert [said.get("id") or said["event"] for said in player.hear()] == expected
            assert player.conn.claims == {"sub": "42"}, "nobody may ask for more of them any longer"
            assert player.conn.session.details is None or player.conn.session.details.credentials is None
            assert player.conn.session.work is None
        second.vanish()
        await stage.settle()
        assert log[2:] == [("42", 1006)]


async def test_what_hooks_said_is_not_said_again_to_a_user() -> None:
    async with keyed(asking([], waits=False), anonymous=True, messages_per_second=100) as stage:
        player = knock(stage)
        player.say({"cmd": "auth", "token": token(sub="42")})
        heard = [said["event"] for said in player.hear()]
        assert heard.count("message") == heard.count("welcome") == 2


@pytest.mark.parametrize("waits", [True, False])
async def test_hooks_refuse_users_however_they_come(waits: bool) -> None:
    log: list[Any] = []
    async with keyed(asking(log, waits=waits), anonymous=True) as stage:
        banned = token(sub="banned")
        for player in (knock(stage, offered=banned), knock(stage)):
            await stage.settle()
            if player.closed is None:
                player.hear()
                player.say({"cmd": "auth", "id": 1, "token": banned}, {"cmd": "ping"})
                await stage.settle()
            assert [said for said in player.hear() if "result" in said] == []
            assert player.closed == (4507, "permission_denied")
            player.vanish()
        await stage.settle()
        assert [entry[0] for entry in log] == ["banned", "", "banned", "banned"]


@pytest.mark.parametrize("welcomed", [True, False])
async def test_who_leaves_while_hooks_wait_is_gone_once(welcomed: bool) -> None:
    log: list[Any] = []
    async with keyed(asking(log, waits=True), anonymous=welcomed) as stage:
        player = knock(stage)
        await stage.settle()
        player.say({"cmd": "auth", "token": token(sub="42")})
        player.vanish()
        await stage.settle()
        assert [entry for entry in log if len(entry) == 2] == [("42", 1006)]
        assert stage.hub.users.count == 0


@pytest.mark.parametrize("welcomed", [True, False])
@pytest.mark.parametrize("waits", ["before", "after"])
async def test_who_leaves_while_middleware_waits_is_gone_once(welcomed: bool, waits: str) -> None:
    app = FastWS()
    gate = asyncio.Event()
    came: list[str] = []
    left: list[int] = []
    app.on_connect(lambda conn: came.append(conn.user))
    app.on_disconnect(lambda info, close: left.append(close.code))

    @app.use
    async def middleware(ctx: Any, call_next: Any) -> Any:
        if ctx.cmd == "auth" and waits == "before":
            await gate.wait()
        result = await call_next(ctx)
        if ctx.cmd == "auth" and waits == "after":
            await gate.wait()
        return result

    async with keyed(app, anonymous=welcomed) as stage:
        player = knock(stage)
        await stage.settle()
        player.say({"id": 1, "cmd": "auth", "token": token(sub="42", topics=["chat:a"])})
        await stage.settle()
        player.vanish()
        gate.set()
        await stage.settle()
        assert came == [""] * welcomed + ["42"] * (waits == "after")
        assert left == [1006] * bool(came)
        assert len(stage.hub.connections) == 0
        assert stage.hub.users.count == 0
        assert stage.hub.topics == {}


@pytest.mark.parametrize("waits", ["before", "after"])
async def test_who_leaves_while_middleware_waits_is_not_refreshed(waits: str, caplog: pytest.LogCaptureFixture) -> None:
    app = FastWS()
    gate = asyncio.Event()

    @app.use
    async def middleware(ctx: Any, call_next: Any) -> Any:
        if ctx.cmd == "refresh" and waits == "before":
            await gate.wait()
        result = await call_next(ctx)
        if ctx.cmd == "refresh" and waits == "after":
            await gate.wait()
        return result

    async with keyed(app) as stage:
        player = knock(stage, offered=token(sub="42"))
        await stage.settle()
        player.say({"cmd": "refresh", "token": token(sub="42", device="web", topics=["chat:a"])})
        await stage.settle()
        player.vanish()
        gate.set()
        await stage.settle()
        assert stage.hub.connections_of("", "42") == ()
        assert stage.hub.users.audience_of("") is None
        assert stage.hub.topics == {}
        assert not caplog.records


async def test_a_token_that_ends_while_hooks_wait() -> None:
    app = FastWS()
    gate = asyncio.Event()

    @app.on_connect
    async def connect(conn: Any) -> None:
        await gate.wait()

    async with keyed(app) as stage:
        player = knock(stage, offered=token(60, sub="42"))
        await due(player)
        assert player.hear() == []
        assert player.closed == (4001, "token_expired")
        gate.set()
        await stage.settle()
        assert player.hear() == []


async def test_own_claims_stay_where_rules_may_ask_for_them() -> None:
    app = FastWS()

    @app.can_subscribe("chat:{room}")
    async def may_join(conn: Any, room: str) -> bool:
        return room in conn.claims["rooms"]

    async with keyed(app) as stage:
        player = knock(stage, offered=token(60, sub="42", rooms=["a"]))
        player.hear_one()
        assert player.conn.claims == {"sub": "42", "rooms": ["a"]}
        player.say({"cmd": "sub", "id": 1, "topic": "chat:a"}, {"cmd": "sub", "id": 2, "topic": "chat:b"})
        await stage.settle()
        first, second = player.hear()
        assert (first["id"], "result" in first) == (1, True)
        assert second["error"]["code"] == 103
        player.say({"cmd": "refresh", "token": token(60, sub="42", rooms=["b"])})
        player.say({"cmd": "sub", "id": 3, "topic": "chat:b"})
        await stage.settle()
        assert "result" in player.hear_one()


# With the command `refresh`.


@both_codecs
async def test_a_newer_token_of_the_same_user(codec: str) -> None:
    async with keyed() as stage:
        player = knock(stage, codec, offered=token(60, sub="42"))
        player.hear_one()
        assert player.ask("refresh", token=token(600, sub="42", device="web"))["expires"] > time.time() + 500
        assert 500 < player.conn.deadline < 602
        assert player.conn.device == "web"
        assert player.ask("refresh", token=token(sub="42")) == {}
        assert player.conn.deadline == 0
        assert player.conn.device == "default"
        assert stage.hub.connections_of("", "42") == (player.conn,)


async def test_an_anonymous_client_has_a_newer_token() -> None:
    async with keyed(anonymous=True) as stage:
        player = knock(stage, offered=token(60, permissions={"sub": ["chat:*"]}))
        player.hear_one()
        assert player.ask("sub", topic="chat:a")["topic"] == "chat:a"
        player.say({"cmd": "refresh", "id": 1, "token": token(600)})
        reply, ended = player.hear()
        assert reply["result"]["expires"] > time.time() + 500
        assert ended["reason"] == "permission_revoked"
        assert player.ask("sub", topic="chat:a") == 103
        assert player.ask("refresh", token=token(600, sub="42")) == 101
        assert player.closed == (4500, "invalid_token")


@both_codecs
@pytest.mark.parametrize(
    "other", [{"sub": "43"}, {"sub": "42", "tenant": "acme"}, {"tenant": "acme"}, {}, {"sub": "42", "topic": "chat:a"}]
)
async def test_a_token_of_somebody_else_ends_the_connection(codec: str, other: dict[str, str]) -> None:
    async with keyed(anonymous=True) as stage:
        player = knock(stage, codec, offered=token(60, sub="42"))
        player.hear_one()
        assert player.ask("refresh", token=token(60, **other)) == 101
        player.hear()
        assert player.closed == (4500, "invalid_token")


@both_codecs
async def test_what_the_newer_token_does_not_permit_ends(codec: str) -> None:
    async with keyed() as stage:
        player = knock(
            stage, codec, offered=token(60, sub="42", permissions={"sub": ["chat:*"]}, topics=["closed:by-server"])
        )
        player.hear()
        for topic in ("chat:a", "chat:b"):
            player.ask("sub", topic=topic)
        newer = token(60, sub="42", permissions={"sub": ["chat:b"]}, topics=["closed:new"])
        player.say({"cmd": "refresh", "id": 1, "token": newer})
        reply, ended, begun = player.hear()
        assert reply["id"] == 1
        assert ended == {
            "event": "unsubscribed",
            "topic": "chat:a",
            "code": 2002,
            "reason": "permission_revoked",
            "resubscribe": False,
        }
        assert begun["topic"] == "closed:new"
        assert set(player.conn.topics) == {"chat:b", "closed:by-server", "closed:new"}
        assert player.ask("sub", topic="chat:a") == 103
        assert player.ask("history", topic="chat:a") == 103


# What ends with a token.


async def test_the_connection_ends_with_its_token() -> None:
    async with keyed() as stage:
        player = knock(stage, offered=token(60, sub="42"))
        player.hear_one()
        await due(player)
        player.hear()
        assert player.closed == (4001, "token_expired")


@both_codecs
async def test_a_subscription_ends_with_its_token(codec: str) -> None:
    async with keyed() as stage:
        loop = asyncio.get_running_loop()
        player = knock(stage, codec, offered=token(60, sub="42"))
        player.hear_one()
        assert player.ask("sub", topic="asked:a") == 103
        for topic, lasts_s in (("asked:a", 20), ("asked:b", 40), ("asked:c", None)):
            of_topic = token(lasts_s, sub="42", topic=topic, pub=topic == "asked:a")
            assert player.ask("sub", topic=topic, token=of_topic)["topic"] == topic
        assert 17 < player.conn.deadline < 22
        assert player.ask("pub", topic="asked:b", data=1) == 103
        player.say({"cmd": "pub", "topic": "asked:a", "data": 1, "echo": False})
        assert player.hear() == []
        passes = player.conn.session.passes
        passes.note("asked:a", loop.time() - 1, may_publish=True)
        await due(player)
        assert player.hear_one() == {
            "event": "unsubscribed",
            "topic": "asked:a",
            "code": 2501,
            "reason": "token_expired",
            "resubscribe": True,
        }
        assert player.ask("pub", topic="asked:a", data=1) == 103
        assert player.conn.topics == ("asked:b", "asked:c")
        assert 37 < player.conn.deadline < 42
        player.ask("unsub", topic="asked:b")
        await due(player)
        assert player.hear() == []
        assert 57 < player.conn.deadline < 62, "what is left is the connection's own token"
        passes.identity_ends_s = loop.time() - 1
        await due(player)
        player.hear()
        assert player.closed == (4001, "token_expired")


@pytest.mark.parametrize("whom", ["engine", "rule"])
async def test_a_subscription_does_not_begin_when_its_token_has_ended(whom: str) -> None:
    app = FastWS(namespaces={"kept": {"subscribe": "token", "history_size": 10}})
    engine = DistantEngine(prompt=whom == "rule")
    allowed = asyncio.Event()

    if whom == "rule":

        @app.can_subscribe("kept:{room}")
        async def rule(conn: Any, room: str) -> bool:
            return await allowed.wait()

    async with keyed(app, engine) as stage:
        player = knock(stage, offered=token(sub="42"))
        player.hear()
        player.say({"id": 1, "cmd": "sub", "topic": "kept:a", "token": token(60, sub="42", topic="kept:a")})
        await stage.settle()
        player.conn.session.passes.note("kept:a", 0.0, may_publish=False)  # its time is over
        await due(player)
        allowed.set()
        engine.answer_all()
        await stage.settle()
        assert player.hear_one()["error"]["code"] == 109
        assert player.conn.topics == ()
        assert stage.hub.topics == {}


async def test_a_refresh_with_subscription_tokens_moves_the_connection_alone() -> None:
    async with keyed() as stage:
        player = knock(stage, offered=token(10, sub="42"))
        player.hear_one()
        player.ask("sub", topic="asked:a", token=token(40, sub="42", topic="asked:a"))
        assert player.conn.deadline < 12
        player.ask("refresh", token=token(600, sub="42"))
        assert 37 < player.conn.deadline < 42
        player.ask("refresh", token=token(20, sub="42"))
        assert 17 < player.conn.deadline < 22
        player.ask("refresh", token=token(sub="42"))
        assert 37 < player.conn.deadline < 42


@both_codecs
@pytest.mark.parametrize("waits", [True, False])
async def test_middleware_around_auth_and_refresh(codec: str, waits: bool) -> None:
    """The reply, the welcome and the rest keep their order inside an onion."""
    app = FastWS()
    seen: list[tuple[str, str]] = []

    @app.use
    async def watch(ctx: Any, call_next: Any) -> Any:
        if waits:
            await asyncio.sleep(0)
        result = await call_next(ctx)
        seen.append((ctx.cmd, ctx.conn.user))
        return result

    async with keyed(app) as stage:
        player = knock(stage, codec)
        player.say({"cmd": "auth", "id": 1, "token": token(60, sub="42", topics=["chat:a"])}, {"cmd": "ping", "id": 2})
        await stage.settle()
        assert [said.get("id") or said["event"] for said in player.hear()] == [1, "welcome", "subscribed", 2]
        player.say({"cmd": "refresh", "id": 3, "token": token(60, sub="42", topics=["chat:b"])})
        await stage.settle()
        assert [said.get("id") or said["event"] for said in player.hear()] == [3, "subscribed"]
        assert ("auth", "42") in seen
        assert ("refresh", "42") in seen
        assert player.conn.session.work is None
