"""The ASGI application: its life, and what frameworks do with it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from fastws import Connection, FastWS, UsageError
from fastws.asgi import Mounted, mount
from fastws.errors import ConfigError, StartError
from tests.asgi.calling import Call, Caller, calling, scope_of


class Recorded:
    """An application and what happened to it."""

    def __init__(self, **settings: Any) -> None:
        self.notes: list[str] = []
        self.app = FastWS(namespaces={"chat": {"subscribe": "all", "publish": "all"}})
        self.mounted = mount(self.app, **{"anonymous": True, **settings})

        @self.app.on_startup
        async def start() -> None:
            await asyncio.sleep(0)
            self.notes.append("start")

        @self.app.on_shutdown
        async def stop() -> None:
            await asyncio.sleep(0)
            self.notes.append("stop")

        @self.app.on_disconnect
        def bye(info: object, close: Any) -> None:
            self.notes.append(f"disconnect {int(close.code)}")

        @self.app.raw("/echo")
        def echo(conn: Connection, message: str | bytes) -> None:
            conn.send(message)

        @self.app.http("/hello")
        def hello(request: object) -> dict[str, str]:
            return {"hello": "you"}


def talk(client: TestClient, url: str) -> None:
    with client.websocket_connect(url, subprotocols=["fastws.json.v1"]) as ann:
        assert ann.accepted_subprotocol == "fastws.json.v1"
        assert ann.receive_json()["event"] == "welcome"
        ann.send_json({"id": 1, "cmd": "sub", "topic": "chat:1"})
        assert ann.receive_json()["id"] == 1
        ann.send_json({"cmd": "pub", "topic": "chat:1", "data": "hello"})
        assert ann.receive_json()["data"] == "hello"


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_mounted_with_its_lifespan(framework: type[Starlette]) -> None:
    recorded = Recorded()
    api = framework(lifespan=recorded.mounted.lifespan)
    api.mount("/realtime", recorded.mounted)
    with TestClient(api) as client:
        assert recorded.notes == ["start"]
        talk(client, "/realtime/ws")
        talk(client, "/realtime/ws")
        assert client.get("/realtime/hello").json() == {"hello": "you"}
        assert client.get("/realtime/nothing").status_code == 404
        with client.websocket_connect("/realtime/echo") as ws:
            ws.send_bytes(b"\xff")
            assert ws.receive_bytes() == b"\xff"
            ws.close(4321)
    assert recorded.notes == ["start", "disconnect 1000", "disconnect 1000", "stop"]
    with TestClient(api) as client:
        talk(client, "/realtime/ws")


def test_mounted_without_its_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded()
    client = TestClient(FastAPI(routes=[Mount("/realtime", recorded.mounted)]))
    assert recorded.notes == []
    with caplog.at_level(logging.WARNING, "fastws.asgi"):
        talk(client, "/realtime/ws")
    assert "lifespan=mounted.lifespan" in caplog.text
    # Each session of this client has an event loop, which has ended.
    assert recorded.notes == ["start", "disconnect 1000", "stop"]
    talk(client, "/realtime/ws")
    assert recorded.notes == 2 * ["start", "disconnect 1000", "stop"]


def test_as_a_route() -> None:
    mounted = Recorded(path="/socket").mounted
    with TestClient(Starlette(routes=[WebSocketRoute("/socket", mounted)], lifespan=mounted.lifespan)) as client:
        talk(client, "/socket")


def test_in_a_lifespan_of_ones_own() -> None:
    recorded = Recorded()

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        async with recorded.mounted.lifespan():
            recorded.notes.append(f"published {(await recorded.app.publish('chat:1', 1)).duplicate}")
            yield

    with TestClient(FastAPI(lifespan=lifespan)):
        assert recorded.notes == ["start", "published False"]


def test_by_itself() -> None:
    recorded = Recorded()
    with TestClient(recorded.mounted) as client:
        assert recorded.notes == ["start"]
        talk(client, "/ws")
        assert client.get("/healthz").status_code == 200
    assert recorded.notes == ["start", "disconnect 1000", "stop"]


def test_refusals_and_close_codes() -> None:
    recorded = Recorded(jwt_secret="x" * 32, anonymous=False)
    with TestClient(recorded.mounted) as client:
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/nothing"):
            pass
        assert denied.value.status_code == 404
        assert denied.value.json()["error"]["status"] == 404
        with client.websocket_connect("/ws?token=wrong") as ws, pytest.raises(WebSocketDisconnect) as closed:
            ws.receive_text()
        assert (closed.value.code, closed.value.reason) == (4500, "invalid_token")


def test_two_loops_at_once() -> None:
    recorded = Recorded()
    with TestClient(recorded.mounted):
        with pytest.raises(UsageError, match="another event loop"):
            TestClient(recorded.mounted).get("/healthz")
        with pytest.raises(UsageError, match="served already"), TestClient(recorded.mounted):
            pass
    assert recorded.notes == ["start", "stop"]


def test_a_start_that_fails() -> None:
    app = FastWS()

    @app.on_startup
    def start() -> None:
        raise OSError("no disk")

    mounted = mount(app, anonymous=True)
    for whole in (FastAPI(lifespan=mounted.lifespan), mounted):
        with pytest.raises(StartError, match="no disk"), TestClient(whole):
            pass
    with pytest.raises(StartError, match="no disk"):
        TestClient(mounted).get("/healthz")


@pytest.mark.asyncio
async def test_what_cannot_be_built() -> None:
    app = FastWS()
    app.raw("/ws")(lambda conn, message: None)
    mounted = mount(app)
    for _ in range(2):
        with pytest.raises(ConfigError, match="/ws is a path of the application and --path too"):
            await Caller(mounted).ask("/healthz")


@pytest.mark.asyncio
async def test_a_start_that_is_cut_short() -> None:
    app = FastWS()
    began = asyncio.Event()

    @app.on_startup
    async def start() -> None:
        began.set()
        await asyncio.Event().wait()

    call = Caller(mount(app)).call("http", "/healthz")
    await began.wait()
    others = asyncio.all_tasks() - {asyncio.current_task(), call.task}
    for task in others:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.end()
    await asyncio.wait(others, timeout=30)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_a_lifespan_that_is_cut_short_is_over() -> None:
    app = FastWS()
    began = asyncio.Event()
    hindrance = asyncio.Event()

    @app.on_startup
    async def start() -> None:
        began.set()
        await hindrance.wait()

    mounted = mount(app)
    for kind in ("manager", "asgi"):
        if kind == "manager":
            starting = asyncio.ensure_future(mounted.lifespan().__aenter__())
        else:
            call = Call(mounted, {"type": "lifespan"})
            call.incoming.put_nowait({"type": "lifespan.startup"})
            starting = call.task
        await began.wait()
        began.clear()
        starting.cancel()
        await asyncio.wait((starting,))
        assert starting.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}
    hindrance.set()
    async with mounted.lifespan():
        assert (await Caller(mounted).ask("/healthz"))[0] == 200


@pytest.mark.asyncio
async def test_the_lifespan_of_asgi() -> None:
    recorded = Recorded()
    call = Call(recorded.mounted, {"type": "lifespan"})
    call.incoming.put_nowait({"type": "lifespan.startup"})
    assert (await call.hear())["type"] == "lifespan.startup.complete"
    with pytest.raises(UsageError, match="served already"):
        async with recorded.mounted.lifespan():
            pass
    client = await Caller(recorded.mounted).connect("/echo")
    call.incoming.put_nowait({"type": "lifespan.shutdown"})
    assert (await client.hear())["code"] == 1012
    assert (await call.hear())["type"] == "lifespan.shutdown.complete"
    await call.end()
    await client.end()
    assert recorded.notes == ["start", "stop"]


@pytest.mark.asyncio
async def test_the_lifespan_of_asgi_that_cannot_start() -> None:
    app = FastWS()

    @app.on_startup
    def start() -> None:
        raise OSError("no disk")

    call = Call(mount(app), {"type": "lifespan"})
    call.incoming.put_nowait({"type": "lifespan.startup"})
    failed = await call.hear()
    assert failed["type"] == "lifespan.startup.failed"
    assert "no disk" in failed["message"]
    with pytest.raises(StartError, match="no disk"):
        await call.end()


@pytest.mark.asyncio
async def test_a_scope_that_is_not_known() -> None:
    with pytest.raises(UsageError, match="'mqtt'"):
        await Call(Recorded().mounted, {"type": "mqtt"}).end()


@pytest.mark.asyncio
async def test_connections_that_come_at_once_start_it_once() -> None:
    recorded = Recorded()
    caller = Caller(recorded.mounted)
    calls = await asyncio.gather(*(caller.connect("/echo") for _ in range(5)))
    assert recorded.notes == ["start"]
    for call in calls:
        call.say(code=1000)
        await call.end()
    async with asyncio.timeout(30):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert recorded.notes == ["start", "stop"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("server", "is_served"),
    [
        (("127.0.0.1", 8000), True),
        (("::1", 8000, 0, 0), True),
        (("::ffff:127.0.0.1", 8000), True),
        (None, True),
        (("/run/app.sock", None), True),
        (("testserver", 80), True),
        (("0.0.0.0", 8000), False),
        (("10.1.2.3", 8000), False),
        (("2001:db8::1", 8000), False),
    ],
)
async def test_protected_mode(server: Any, is_served: bool, caplog: pytest.LogCaptureFixture) -> None:
    async with calling(mount(FastWS())) as caller:
        if is_served:
            await caller.connect(server=server)
            return
        for _ in range(2):
            status, _, body = await caller.refused(server=server)
            assert status == 403
            assert "jwt_secret" in json.loads(body)["error"]["message"]
        assert (await caller.ask("/healthz", server=server))[0] == 403
        assert caplog.text.count("protected mode") == 1
    for settings in ({"anonymous": True}, {"jwt_secret": "x" * 32}):
        async with calling(mount(FastWS(), **settings)) as caller:
            await caller.connect(server=server)


@pytest.mark.asyncio
async def test_where_it_is_mounted() -> None:
    """Frameworks that leave the whole path, those that cut it, and servers behind a proxy's prefix."""
    async with calling(Recorded().mounted) as caller:
        for path, root in (("/a/b/ws", "/a/b"), ("/ws", "/a/b"), ("/a/ws", "/a/"), ("/ws", "")):
            await caller.connect(path, root_path=root)
        assert (await caller.ask("/a", root_path="/a"))[0] == 404
        assert (await caller.ask("/ab/ws", root_path="/a"))[0] == 404


def test_settings() -> None:
    with pytest.raises(ConfigError, match="host, ping_interval cannot be given here"):
        mount(FastWS(), host="0.0.0.0", ping_interval=3)
    with pytest.raises(ConfigError, match="no option pth"):
        mount(FastWS(), pth="/ws")
    with pytest.raises(ConfigError, match="redis: embedded belongs to fastws-server"):
        mount(FastWS(), redis="embedded")
    with pytest.raises(ConfigError, match="data_dir cannot be given here"):
        mount(FastWS(), data_dir="data")
    assert isinstance(mount(FastWS(), max_topics=3), Mounted)
    assert mount(FastWS(), max_topics=3).settings.max_topics == 3


def test_environment_and_file_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTWS_MAX_TOPICS", "7")
    monkeypatch.setenv("FASTWS_PORT", "9999")
    assert mount(FastWS()).settings.max_topics == 7


def test_a_scope_is_what_uvicorn_makes() -> None:
    assert scope_of()["type"] == "websocket"
