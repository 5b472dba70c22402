"""The server of tests: it is the real one, and leaves nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvloop

from fastws import Connection, FastWS, Reject, UsageError
from fastws.errors import ConfigError, StartError
from fastws.gateway.auth.tokens import sign
from fastws.net.http import HttpRequest
from fastws.testing import Client, CommandError, ConnectError, ConnectionClosed, RefusedError, TestServer
from fastws.types import CloseInfo, ConnectionInfo
from tests.support.certificates import self_signed

ROOT = Path(__file__).resolve().parents[2]


class Recorded:
    """An application and what happened to it."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.app = app = FastWS(
            namespaces={"chat": {"subscribe": "all", "publish": "all"}, "own": {}}, keep_headers=("x-kept",)
        )
        note = self.notes.append

        @app.on_startup
        async def start() -> None:
            await asyncio.sleep(0)
            note("start")

        @app.on_shutdown
        def stop() -> None:
            note("stop")

        @app.on_connect
        def connect(conn: Connection) -> None:
            if conn.user == "banned":
                raise Reject(4507)
            note(f"connect {conn.user or '-'}")

        @app.on_disconnect
        def bye(info: ConnectionInfo, close: CloseInfo) -> None:
            note(f"disconnect {info.user or '-'} {int(close.code)}")

        @app.on_upgrade
        def upgrade(request: HttpRequest) -> None:
            if request.query.get("pay") == "no":
                raise Reject(402, "pay first")

        @app.raw("/headers")
        async def headers(conn: Connection) -> None:
            conn.send_json({"kept": conn.headers.get("x-kept"), "query": conn.query, "subprotocol": conn.subprotocol})
            async for _ in conn:
                pass

        @app.raw("/stuck")
        async def stuck(conn: Connection) -> None:
            await asyncio.Event().wait()

        @app.http("/hello", methods=("GET", "POST"))
        async def hello(request: HttpRequest) -> dict[str, str]:
            return {"method": request.method, "body": request.body.decode(), "own": request.headers.get("x-own", "")}


@pytest.mark.asyncio
async def test_the_example_of_the_contract() -> None:
    recorded = Recorded()
    async with TestServer(recorded.app) as server:
        ws = await server.connect(user="42")
        assert ws.welcome["user"] == "42"
        await ws.subscribe("own:1")
    assert recorded.notes == ["start", "connect 42", "disconnect 42 1001", "stop"]


@pytest.mark.asyncio
async def test_who_a_client_is() -> None:
    async with TestServer(Recorded().app) as server:
        ws = await server.connect(user="42", tenant="acme", device="web", claims={"permissions": {"sub": ["own:1"]}})
        assert [ws.welcome[name] for name in ("user", "tenant", "device")] == ["42", "acme", "web"]
        await ws.subscribe("own:1")
        with pytest.raises(ConnectionClosed) as caught:
            await server.connect(user="banned")
        assert (caught.value.code, caught.value.reason) == (4507, "permission_denied")
        with pytest.raises(RefusedError) as refused:
            await server.connect(token=server.token("42", ttl=-10))
        assert refused.value.status == 401
        with pytest.raises(RefusedError):
            await server.connect(token=sign({"sub": "42"}, "x" * 32))


@pytest.mark.asyncio
async def test_an_anonymous_client_may_do_what_is_open_to_all() -> None:
    async with TestServer(Recorded().app) as server:
        ws = await server.connect()
        assert ws.welcome["user"] == ""
        await ws.subscribe("chat:1")
        with pytest.raises(Exception, match="sub: 103 permission_denied"):
            await ws.subscribe("own:1")
        assert (await ws.authenticate(server.token("42")))["user"] == "42"
        await ws.subscribe("own:1")


@pytest.mark.asyncio
async def test_clients_may_have_to_authenticate_first() -> None:
    async with TestServer(Recorded().app, anonymous=False) as server:
        ws = await server.connect()
        assert ws.welcome == {}
        await ws.nothing_arrives()
        assert (await ws.authenticate(server.token("42")))["user"] == "42"
        assert ws.id


@pytest.mark.asyncio
async def test_every_way_to_offer_a_token_is_welcomed() -> None:
    async with TestServer(Recorded().app, anonymous=False) as server:
        token = server.token("42")
        for client in (
            await server.connect(headers={"Authorization": f"Bearer {token}"}),
            await server.connect(query={"token": token}),
            await server.connect(f"/ws?token={token}"),
            await server.connect(f"/ws?a=b&token={token}", query={"c": "d"}),
            await server.connect(subprotocol=["fastws.json.v1", f"fastws.token.{token}"]),
        ):
            assert client.welcome["user"] == "42"
            await client.subscribe("chat:1")


@pytest.mark.asyncio
async def test_a_server_without_a_secret() -> None:
    async with TestServer(Recorded().app, jwt_secret=None) as server:
        assert (await server.connect()).welcome["user"] == ""
        with pytest.raises(UsageError, match="jwt_secret"):
            server.token("42")


@pytest.mark.asyncio
async def test_what_an_upgrade_carries() -> None:
    async with TestServer(Recorded().app) as server:
        ws = await server.connect("/headers", headers={"X-Kept": "me"}, query={"a": "ä b"}, subprotocol="mine")
        assert await ws.receive() == '{"kept":"me","query":{"a":"ä b"},"subprotocol":""}'
        with pytest.raises(RefusedError) as refused:
            await server.connect(query={"pay": "no"})
        assert (refused.value.status, b"pay first" in refused.value.body) == (402, True)
        with pytest.raises(RefusedError) as refused:
            await server.connect(origin="https://evil.example")
        assert refused.value.status == 403
        assert (await server.connect(origin=server.http_url)).id
        assert (await server.connect(codec="msgpack")).subprotocol == "fastws.msgpack.v1"
        assert (await server.connect(subprotocol=())).subprotocol is None
        with pytest.raises(UsageError, match="json, msgpack"):
            server.connect(codec="xml")
        with pytest.raises(UsageError, match="'/headers'"):
            server.connect("headers")


@pytest.mark.asyncio
async def test_plain_http() -> None:
    async with TestServer(Recorded().app) as server:
        answer = await server.http_get("/hello", {"X-Own": "yes"})
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == {"method": "GET", "body": "", "own": "yes"}
        assert (await server.http("POST", "/hello", body=b"text")).json()["body"] == "text"
        assert (await server.http_get("/nothing")).status == 404
        assert (await server.http_get("/hello", {"host": "example.com"})).status == 200
        assert '"status":"ok"' in (await server.http_get("/healthz")).text


@pytest.mark.asyncio
async def test_http_that_is_not_answered() -> None:
    app = FastWS()

    @app.http("/stuck")
    async def stuck(request: HttpRequest) -> None:
        await asyncio.Event().wait()

    async with TestServer(app, drain_timeout=0.1) as server:
        with pytest.raises(AssertionError, match=r"GET /stuck was not answered within 0\.05 s"):
            await server.http_get("/stuck", timeout=0.05)


@pytest.mark.asyncio
@pytest.mark.parametrize("settings", [{}, {"admin_key": "k" * 16}])
async def test_the_control_api(settings: dict[str, str]) -> None:
    async with TestServer(Recorded().app, admin_port=0, **settings) as server:
        ws = await server.connect(user="42")
        assert (await server.api("push", user="42", data={"n": 1}))["connections"] == 1
        await ws.expect("message", data={"n": 1})
        with pytest.raises(CommandError, match="publish: 102"):
            await server.api("publish", topic="nowhere:1", data=1)
    async with TestServer(Recorded().app) as server:
        assert server.admin_url == ""
        with pytest.raises(UsageError, match="admin_port=0"):
            await server.api("nodes")


@pytest.mark.asyncio
async def test_one_application_after_another_time() -> None:
    recorded = Recorded()
    for _ in range(3):
        recorded.notes.clear()
        async with TestServer(recorded.app) as server:
            await server.connect()
            await recorded.app.publish("chat:1", 1)
            with pytest.raises(UsageError, match="comes too late"):
                recorded.app.on_startup(lambda: None)
        assert recorded.notes == ["start", "connect -", "disconnect - 1001", "stop"]
        with pytest.raises(UsageError, match="needs a running server"):
            await recorded.app.publish("chat:1", 1)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nothing_is_left(loop: str) -> None:
    async def serve() -> None:
        async with TestServer(Recorded().app) as server:
            await (await server.connect("/stuck")).send_text("x")
            await server.connect()
            await (await server.connect()).abort()

    async def scenario() -> None:
        await serve()  # loops keep a descriptor or two of their own from their first stream on
        before = os.listdir("/proc/self/fd")
        await serve()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.sleep(0)
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= len(before)

    factory = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())


@pytest.mark.asyncio
@pytest.mark.parametrize("by", ["task", "scope"])
async def test_nothing_is_left_by_a_test_that_is_cancelled(by: str) -> None:
    """By a timeout of asyncio, which cancels once, and by one of anyio, which does so at each await."""
    recorded = Recorded()

    async def wait_for_ever() -> None:
        async with TestServer(recorded.app) as server:
            await (await server.connect("/stuck")).send_text("x")
            await (await server.connect()).receive(timeout=60)

    if by == "task":
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait_for_ever(), 0.2)
    else:
        with anyio.move_on_after(0.2):
            await wait_for_ever()
    assert recorded.notes[-1] == "stop"
    async with asyncio.timeout(30):
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
    async with TestServer(recorded.app) as server:
        await server.connect()


@pytest.mark.asyncio
async def test_a_drain_is_that_of_production() -> None:
    async with TestServer(Recorded().app) as server:
        clients = [await server.connect() for _ in range(3)]
        await server.drain()
        for client in clients:
            code, reason = await client.wait_closed()
            assert code == 1012
            assert reason.startswith("restarting retry_ms=")
        with pytest.raises(RefusedError) as refused:
            await server.connect()
        assert refused.value.status == 503
        assert int(refused.value.headers["Retry-After"]) > 0


@pytest.mark.asyncio
async def test_an_upgrade_that_is_under_way_when_a_drain_begins() -> None:
    app = FastWS()
    asked, allowed = asyncio.Event(), asyncio.Event()

    @app.on_upgrade
    async def upgrade(request: HttpRequest) -> None:
        asked.set()
        await allowed.wait()

    async with TestServer(app, drain_timeout=60, drain_rate=0) as server:
        connecting = asyncio.ensure_future(server.connect())
        await asked.wait()
        draining = asyncio.ensure_future(server.drain())
        await asyncio.sleep(0)
        allowed.set()
        assert (await (await connecting).wait_closed()).code == 1012
        await asyncio.wait_for(draining, 30)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_is_just_coming_when_it_ends_is_told(loop: str) -> None:
    """In whatever turn of the loop: refused, reset or closed, but nobody waits for ever."""
    troubles: list[dict[str, Any]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
        app = Recorded().app
        for turns in range(8):
            async with TestServer(app) as server:
                coming = [asyncio.ensure_future(Client.open(server.url)) for _ in range(3)]
                for _ in range(turns):
                    await asyncio.sleep(0)
            done, waiting = await asyncio.wait(coming, timeout=30)
            assert not waiting, turns
            for client in done:
                if client.exception() is None:
                    await client.result().wait_closed()
                else:
                    assert isinstance(client.exception(), ConnectError)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(scenario())
    assert not troubles


@pytest.mark.asyncio
async def test_an_upgrade_that_is_not_answered() -> None:
    app = FastWS()

    @app.on_upgrade
    async def upgrade(request: HttpRequest) -> None:
        await asyncio.Event().wait()

    async with TestServer(app, handshake_timeout=0, drain_timeout=0.1) as server:
        with pytest.raises(AssertionError, match=r"the upgrade was not answered within 0\.05 s"):
            await server.connect(timeout=0.05)


@pytest.mark.asyncio
async def test_a_start_that_fails_leaves_nothing() -> None:
    app = FastWS()
    fail = [True]

    @app.on_startup
    def start() -> None:
        if fail:
            raise OSError("no disk")

    server = TestServer(app)
    with pytest.raises(StartError, match=r"on_startup failed in .*no disk"):
        await server.start()
    fail.clear()
    async with server:
        with pytest.raises(UsageError, match="runs already"):
            await server.start()
        assert (await server.connect()).id
    with pytest.raises(UsageError, match="does not run"):
        server.url  # noqa: B018
    await server.stop()


@pytest.mark.asyncio
async def test_an_application_is_served_once_at_a_time() -> None:
    recorded = Recorded()
    async with TestServer(recorded.app) as server:
        with pytest.raises(UsageError, match="served already"):
            await TestServer(recorded.app).start()
        ws = await server.connect()
        await ws.subscribe("chat:1")
        await recorded.app.publish("chat:1", 1)
        await ws.expect("publication", data=1)
    assert recorded.notes == ["start", "connect -", "disconnect - 1001", "stop"]


def test_settings_that_cannot_be() -> None:
    for no_app in ("chat:app", FastWS):
        with pytest.raises(UsageError, match="a FastWS is served here"):
            TestServer(no_app)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no option max_topic; the nearest known is 'max_topics'"):
        TestServer(FastWS(), max_topic=3)
    with pytest.raises(ConfigError, match="workers cannot be given"):
        TestServer(FastWS(), workers=3)


@pytest.mark.asyncio
async def test_neither_environment_nor_file_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTWS_MAX_TOPICS", "1")
    (tmp_path / "fastws.toml").write_text(
        "[server]\nhost = '0.0.0.0'\n[limits]\nmax_topics = 1\n[namespaces.file]\nsubscribe = 'all'\n"
    )
    async with TestServer(FastWS()) as server:
        assert server.settings.max_topics == 128
    async with TestServer(FastWS(), config="fastws.toml") as server:
        assert server.settings.max_topics == 1
        assert server.url.startswith("ws://127.0.0.1:")
        await (await server.connect()).subscribe("file:1")


@pytest.mark.asyncio
async def test_a_unix_socket_and_tls(tmp_path: Path) -> None:
    async with TestServer(Recorded().app, uds=str(tmp_path / "s")) as server:
        assert (await server.connect()).id
        assert (await server.http_get("/hello")).status == 200
    files = self_signed(tmp_path)
    async with TestServer(Recorded().app, ssl_certfile=files.certfile, ssl_keyfile=files.keyfile) as server:
        assert server.url.startswith("wss://127.0.0.1:")
        assert (await server.connect()).id
        assert (await server.http_get("/hello")).status == 200


@pytest.mark.asyncio
async def test_other_clients_than_its_own_are_closed_at_the_end() -> None:
    from websockets.asyncio.client import connect

    async with TestServer(Recorded().app) as server:
        other = await connect(server.url)
        assert "welcome" in await other.recv()
    await other.wait_closed()
    assert other.close_code == 1012


@pytest.mark.asyncio
async def test_nobody_is_there_any_more() -> None:
    async with TestServer(Recorded().app) as server:
        connecting = server.connect()
    with pytest.raises(ConnectError):
        await connecting


def test_pytest_takes_it_for_no_test(tmp_path: Path) -> None:
    """The example of the package's docstring, as somebody would begin."""
    (tmp_path / "test_it.py").write_text(
        "import pytest, pytest_asyncio\n"
        "from fastws import FastWS\n"
        "from fastws.testing import *\n"
        "from fastws.testing import TestServer\n"
        "app = FastWS(namespaces={'chat': {'subscribe': 'all', 'publish': 'all'}})\n"
        "@pytest_asyncio.fixture\n"
        "async def server():\n"
        "    async with TestServer(app) as server:\n"
        "        yield server\n"
        "@pytest.mark.asyncio\n"
        "async def test_it(server):\n"
        "    ws = await server.connect()\n"
        "    await ws.subscribe('chat:1')\n"
        "@pytest.mark.asyncio\n"
        "async def test_it_again(server):\n"
        "    assert (await server.connect()).id\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    run = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout
