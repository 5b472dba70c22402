"""Middleware: the order of its layers, what it sees and changes, what it may refuse, and what its failures do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import pytest

from fastws import Context, FastWS, Reject, TopicError
from tests.gateway.commands.test_common import LateEngine
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])
Next = Callable[[Context], Awaitable[Any]]
SECRET = "a secret that is long enough to be one"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_without_middleware_there_is_no_onion() -> None:
    async with staged() as stage:
        handlers = stage.gateway._execution._handlers
        assert {getattr(handler, "__func__", None) for handler in handlers.values()} != {None}
        assert stage.gateway.around_connect is None


@both_codecs
async def test_layers_in_their_order_around_connecting_and_every_command(codec: str) -> None:
    app = FastWS()
    order: list[str] = []

    def layer(name: str) -> None:
        @app.use
        async def middleware(ctx: Context, call_next: Next) -> Any:
            order.append(f"{name}>{ctx.cmd}")
            result = await call_next(ctx)
            order.append(f"{ctx.cmd}<{name}")
            return result

    layer("a")
    layer("b")
    app.on_connect(lambda conn: order.append("hook"))
    app.rpc("m")(lambda conn, data: order.append("method"))
    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        assert order == ["a>connect", "b>connect", "hook", "connect<b", "connect<a"]
        order.clear()
        assert player.ask("rpc", method="m") == {"data": None}
        assert order == ["a>rpc", "b>rpc", "method", "rpc<b", "rpc<a"]
        order.clear()
        player.say({"cmd": "sub", "topic": "t"}, {"cmd": "nope"}, {"cmd": "pub"})
        player.say_text("PING") if codec == JSON else None
        assert order[::4] == ["a>sub"]  # what is no command goes through no layer
        player.hear() if codec == MSGPACK else player.frames()
        assert player.conn.session.work is None


async def test_what_it_sees() -> None:
    app = FastWS(keep_headers=("traceparent",))
    seen: list[Any] = []

    @app.use
    def middleware(ctx: Context, call_next: Next) -> Any:
        seen.append((ctx.conn.id, ctx.cmd, dict(ctx.data), ctx.request_id, ctx.trace))
        assert ctx.cmd in repr(ctx)
        return call_next(ctx)

    async with staged(app) as stage:
        player = stage.connect(headers=((b"traceparent", TRACE.encode()),))
        other = stage.connect()
        since = {"epoch": "e", "offset": 5}
        player.say(
            {"cmd": "sub", "topic": "t", "recover": since, "token": None, "id": "x"},
            {"cmd": "pub", "topic": "t", "data": None, "trace": "its own"},
            {"cmd": "rpc", "method": "m", "id": 0},
        )
        other.say({"cmd": "ping"})
        me, it = player.conn.id, other.conn.id
    assert seen == [
        (me, "connect", {}, None, TRACE),
        (it, "connect", {}, None, None),
        (me, "sub", {"topic": "t", "recover": since}, "x", TRACE),
        (me, "pub", {"topic": "t", "data": None, "trace": "its own"}, None, "its own"),
        (me, "rpc", {"method": "m", "data": None}, 0, TRACE),
        (it, "ping", {}, None, None),
    ]


@both_codecs
@pytest.mark.parametrize("replaced", [False, True])
async def test_it_changes_what_is_said_further_inside(codec: str, replaced: bool) -> None:
    app = FastWS()

    @app.use
    async def outer(ctx: Context, call_next: Next) -> Any:
        ctx.state["user"] = "somebody"
        if ctx.cmd in ("sub", "pub"):
            if replaced:
                ctx.data = {**ctx.data, "topic": f"lobby-{ctx.data['topic']}"}
            else:
                ctx.data["topic"] = f"lobby-{ctx.data['topic']}"
        return await call_next(ctx)

    @app.use
    async def inner(ctx: Context, call_next: Next) -> Any:
        if ctx.cmd == "pub":
            ctx.data["data"] = {"by": ctx.state["user"], "said": ctx.data["data"]}
        return await call_next(ctx)

    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        recover = {"epoch": "other", "offset": 1}
        assert player.ask("sub", topic="t", recover=recover)["topic"] == "lobby-t"
        assert player.ask("pub", topic="t", data="x", echo=False)["offset"] == 1
        history = player.ask("history", topic="lobby-t")["publications"]
        assert [entry["data"] for entry in history] == [{"by": "somebody", "said": "x"}]


@both_codecs
async def test_it_answers_itself_and_changes_results(codec: str) -> None:
    app = FastWS()

    @app.use
    async def middleware(ctx: Context, call_next: Next) -> Any:
        if ctx.cmd == "ping":
            return {"ts": 5}
        result = await call_next(ctx)
        return {**result, "more": True} if ctx.cmd in ("unsub", "sub") else result

    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        assert player.ask("ping") == {"ts": 5}
        assert player.ask("sub", topic="t")["more"] is True
        assert player.ask("unsub", topic="t") == {"more": True}


@both_codecs
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [(TopicError(1234, "no"), 1234), (TopicError(103), 103), (ValueError("secret"), 100), (Reject(4507), 100)],
)
async def test_it_refuses_commands(
    codec: str, waits: bool, error: Exception, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastWS()

    @app.use
    async def middleware(ctx: Context, call_next: Next) -> Any:
        if ctx.cmd == "ping":
            if waits:
                await asyncio.sleep(0)
            raise error
        return await call_next(ctx)

    async with staged(app) as stage:
        player = stage.connect(subprotocol=codec)
        player.say({"id": 1, "cmd": "ping"}, {"id": 2, "cmd": "unsub", "topic": "t"})
        await stage.settle()
        refused, after = player.hear()
        assert (refused["id"], refused["error"]["code"]) == (1, code)
        assert "secret" not in refused["error"]["message"]
        assert after == {"id": 2, "result": {}}
    assert bool(caplog.records) == (code == 100)
    assert all(record.conn == player.conn.id for record in caplog.records)  # type: ignore[attr-defined]


@pytest.mark.parametrize("returned", [None, "text", [1]])
async def test_what_is_no_result_names_the_layer(returned: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = FastWS()

    @app.use
    async def forgetful(ctx: Context, call_next: Next) -> Any:
        await call_next(ctx)
        return returned

    async with staged(app) as stage:
        assert stage.connect().ask("ping") == 100
    assert "forgetful returned" in caplog.text
    assert "return what `await call_next(ctx)` returned" in caplog.text


async def test_a_command_that_it_spoilt_answers_100(caplog: pytest.LogCaptureFixture) -> None:
    app = FastWS()

    @app.use
    async def middleware(ctx: Context, call_next: Next) -> Any:
        ctx.data["topic"] = 5
        return await call_next(ctx)

    async with staged(app) as stage:
        assert stage.connect().ask("unsub", topic="t") == 100
    assert "topic" in caplog.text


@pytest.mark.parametrize(
    ("error", "closed"),
    [
        (Reject(4507), (4507, "permission_denied")),
        (Reject(403), (1008, "policy")),
        (TopicError(103), (1011, "internal")),
        (ValueError(), (1011, "internal")),
    ],
)
@pytest.mark.parametrize("before", [False, True])
async def test_it_refuses_connections(error: Exception, closed: tuple[int, str], before: bool) -> None:
    app = FastWS()
    hooks: list[Any] = []
    app.on_connect(hooks.append)
    app.on_disconnect(lambda info, close: hooks.append(close))

    @app.use
    async def middleware(ctx: Context, call_next: Next) -> None:
        assert ctx.cmd == "connect"
        if not before:
            await call_next(ctx)
        raise error

    async with staged(app) as stage:
        player = stage.connect(welcomed=False)
        assert player.hear() == []
        assert player.closed == closed
        player.go()
        await stage.settle()
    assert len(hooks) == (not before)


async def test_a_connection_that_it_keeps_from_the_hooks_is_welcomed_all_the_same() -> None:
    app = FastWS()
    asked: list[Any] = []
    app.on_connect(asked.append)

    @app.use
    def middleware(ctx: Context, call_next: Next) -> Any:
        return None if ctx.cmd == "connect" else call_next(ctx)

    async with staged(app) as stage:
        assert stage.connect().ask("ping")
    assert asked == []


@both_codecs
@pytest.mark.parametrize("late", [False, True])
async def test_the_reply_to_sub_comes_before_publications_whatever_it_waits_for(codec: str, late: bool) -> None:
    app = FastWS()
    gate = asyncio.Event()

    @app.use
    async def middleware(ctx: Context, call_next: Next) -> Any:
        result = await call_next(ctx)
        if ctx.cmd == "sub":
            result["before"] = True
            await gate.wait()
            result["after"] = True
        return result

    engine = LateEngine()
    async with staged(app, engine if late else None) as stage:
        player = stage.connect(subprotocol=codec)
        player.say({"id": 1, "cmd": "sub", "topic": "t"}, {"id": 2, "cmd": "unsub", "topic": "t"})
        engine.gate.set()
        await stage.settle()
        await app.publish("t", "early")
        await stage.settle()
        reply, publication = player.hear()
        assert (reply["id"], reply["result"]["topic"], reply["result"]["before"]) == (1, "t", True)
        assert "after" not in reply["result"]
        assert publication["data"] == "early"
        gate.set()
        await stage.settle()
        assert player.hear_one() == {"id": 2, "result": {}}
        assert stage.gateway.commands["sub", 0] == 1


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("error", [ValueError("too late"), asyncio.CancelledError("too late")])
async def test_a_failure_after_the_subscription_was_answered_is_only_logged(
    error: BaseException, answered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastWS()

    @app.use
    async def middleware(ctx: Context, call_next: Next) -> Any:
        result = await call_next(ctx)
        if ctx.cmd == "sub":
            if answered:
                await asyncio.sleep(0)
            raise error
        return result

    async with staged(app) as stage:
        player = stage.connect()
        player.say({"id": 1, "cmd": "sub", "topic": "t"})
        await stage.settle()
        answer = player.hear_one()
        assert ("result" in answer) is answered
        assert "too late" in caplog.text
        assert player.ask("unsub", topic="t") == {}


async def test_a_layer_that_waits_is_cancelled_when_the_server_stops() -> None:
    app = FastWS()
    ended: list[str] = []

    @app.use
    async def middleware(ctx: Context, call_next: Next) -> Any:
        result = await call_next(ctx)
        if ctx.cmd == "sub":
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(ctx.cmd)
        return result

    async with staged(app) as stage:
        stage.connect().say({"id": 1, "cmd": "sub", "topic": "t"})
        await stage.settle()
        assert ended == []
    assert ended == ["sub"]


@both_codecs
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("does", ["nothing", "another result", "fails", "meets a cancellation"])
async def test_who_authenticates_is_welcomed_whatever_becomes_of_the_reply(
    codec: str, waits: bool, does: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastWS()
    seen: list[Any] = []

    @app.use
    async def middleware(ctx: Context, call_next: Next) -> Any:
        result = await call_next(ctx)
        seen.append((ctx.cmd, ctx.conn.user))
        if ctx.cmd == "auth":
            if waits:
                await asyncio.sleep(0)
            if does == "fails":
                raise ValueError("too late")
            if does == "meets a cancellation":
                raise asyncio.CancelledError("too late")
            if does == "another result":
                return {"more": True}
        return result

    async with staged(app, jwt_secret=SECRET, dev=False) as stage:
        player = stage.connect(subprotocol=codec, welcomed=False)
        token = jwt.encode({"sub": "ann"}, SECRET, "HS256")
        player.say({"id": 1, "cmd": "auth", "token": token}, {"id": 2, "cmd": "ping"})
        await stage.settle()
        reply, welcome, pong = player.hear()
        assert reply == {"id": 1, "result": {"more": True} if does == "another result" else {}}
        assert (welcome["event"], welcome["user"]) == ("welcome", "ann")
        assert pong["id"] == 2
    assert sorted(seen) == [("auth", "ann"), ("connect", "ann"), ("ping", "ann")]
    assert ("too late" in caplog.text) == (does in ("fails", "meets a cancellation"))


@both_codecs
async def test_who_is_kept_from_authenticating_may_try_again(codec: str) -> None:
    app = FastWS()
    refusals = [TopicError(111)]

    @app.use
    async def middleware(ctx: Context, call_next: Next) -> Any:
        if refusals and ctx.cmd == "auth":
            raise refusals.pop()
        return await call_next(ctx)

    async with staged(app, jwt_secret=SECRET, dev=False) as stage:
        player = stage.connect(subprotocol=codec, welcomed=False)
        token = jwt.encode({"sub": "ann"}, SECRET, "HS256")
        player.say({"id": 1, "cmd": "auth", "token": token})
        await stage.settle()
        assert player.hear_one()["error"]["code"] == 111
        player.say({"id": 2, "cmd": "auth", "token": token})
        await stage.settle()
        assert [answer.get("event", answer.get("id")) for answer in player.hear()] == [2, "welcome"]
        player.say({"id": 3, "cmd": "auth", "token": "x.y.z"})
        await stage.settle()
        assert player.hear_one()["error"]["code"] == 107
