"""Mounted in FastAPI under the ASGI servers that people use, on real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn
from fastapi import FastAPI

from fastws import Connection, FastWS
from fastws.asgi import mount
from fastws.gateway.auth.tokens import sign
from fastws.server.console.link import RefusedError, Target
from fastws.testing import Client, CommandError

pytestmark = pytest.mark.asyncio

HYPERCORN_TELLS = [1006, 1006]
"""It does not pass on what a client's close frame says."""
SECRET = "s" * 32


class Application:
    """FastWS inside FastAPI, and what happened to it."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.ended: asyncio.Queue[int] = asyncio.Queue()
        self.app = FastWS(namespaces={"chat": {"subscribe": "all", "history_size": 10, "recover": True}})
        mounted = mount(self.app, jwt_secret=SECRET, max_outbox=300_000)
        self.api = FastAPI(lifespan=mounted.lifespan)
        self.api.mount("/realtime", mounted)
        app = self.app

        @app.on_startup
        def start() -> None:
            self.notes.append("start")

        @app.on_shutdown
        def stop() -> None:
            self.notes.append("stop")

        @app.on_disconnect
        def bye(info: object, close: Any) -> None:
            self.ended.put_nowait(int(close.code))

        @app.raw("/echo")
        def echo(conn: Connection, message: str | bytes) -> None:
            if message == "flood":
                for _ in range(100):
                    conn.send("x" * 65536)
            conn.send(message)

        @self.api.post("/say/{text}")
        async def say(text: str) -> dict[str, int | None]:
            return {"offset": (await app.publish("chat:1", text)).offset}


Runner = Callable[[FastAPI, socket.socket, asyncio.Event], Coroutine[Any, Any, None]]


def uvicorn_with(ws: str) -> Runner:
    async def run(api: FastAPI, sock: socket.socket, ending: asyncio.Event) -> None:
        config = uvicorn.Config(api, ws=ws, log_config=None, lifespan="on", timeout_graceful_shutdown=5)  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=[sock]))
        await ending.wait()
        server.should_exit = True
        await serving

    return run


async def with_hypercorn(api: FastAPI, sock: socket.socket, ending: asyncio.Event) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.graceful_timeout = 0.3
    config.errorlog = None
    await hypercorn.asyncio.serve(api, config, shutdown_trigger=ending.wait)  # type: ignore[arg-type]


SERVERS: dict[str, Runner] = {
    "uvicorn, websockets": uvicorn_with("auto"),
    "uvicorn, wsproto": uvicorn_with("wsproto"),
    "hypercorn": with_hypercorn,
}


class Place:
    """Where it is served."""

    def __init__(self, port: int, application: Application) -> None:
        self.address = f"127.0.0.1:{port}"
        self.application = application

    def target(self, path: str, **options: Any) -> Target:
        return Target(f"ws://{self.address}/realtime{path}", **options)

    async def connect(self, user: str, **options: Any) -> Client:
        target = self.target("/ws", token=sign({"sub": user}, SECRET), subprotocols=("fastws.json.v1",), **options)
        client = await Client.open(target)
        await client.take_welcome()
        return client

    async def ended(self) -> int:
        async with asyncio.timeout(30):
            return await self.application.ended.get()


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[Place]:
    application = Application()
    ending = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        place = Place(sock.getsockname()[1], application)
        task = asyncio.ensure_future(SERVERS[name](application.api, sock.dup(), ending))
        try:
            while application.notes != ["start"]:
                assert not task.done(), task.result()
                await asyncio.sleep(0.005)
            yield place
        finally:
            ending.set()
            async with asyncio.timeout(30):
                await task
    assert application.notes == ["start", "stop"]


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


@pytest.mark.parametrize("name", SERVERS)
async def test_one_server_after_another(name: str) -> None:
    async with serving(name) as place:
        await talk(place)
        await close_codes(place)
        await refusals(place)
        await raw_messages(place)
        await a_reader_that_stops(place)


@pytest.mark.parametrize("name", SERVERS)
async def test_an_asgi_server_that_ends(name: str) -> None:
    async with serving(name) as place:
        ws = await place.connect("ann")
    code, _ = await ws.wait_closed()
    assert code in (1006, 1011, 1012)  # as the server likes
    assert place.application.ended.get_nowait() in (1001, 1006, 1012)
    assert place.application.notes == ["start", "stop"]


async def talk(place: Place) -> None:
    ann, ben = await place.connect("ann"), await place.connect("ben")
    assert ann.welcome["user"] == "ann"
    assert ann.subprotocol == "fastws.json.v1"
    first = await ann.subscribe("chat:1")
    await ben.publish("chat:1", {"n": 1})
    await ann.expect("publication", data={"n": 1}, topic="chat:1")
    with suppress(CommandError):
        await ben.subscribe("nowhere:1")
    await place.application.app.publish("chat:1", "from the application")
    await ann.expect("publication", data="from the application")
    await ann.nothing_arrives()
    later = await ben.subscribe("chat:1", recover=first)
    assert [entry["data"] for entry in later["publications"]] == [{"n": 1}, "from the application"]
    assert await ann.close() == (1000, "")
    assert await ben.close(4321, "enough") == (4321, "enough")
    assert sorted([await place.ended(), await place.ended()]) in ([1000, 4321], HYPERCORN_TELLS)


async def close_codes(place: Place) -> None:
    ws = await place.connect("cid")
    await ws.send_text("[]")
    assert await ws.wait_closed() == (4501, "bad_request")
    assert await place.ended() == 4501
    ws = await place.connect("dan")
    await ws.abort()
    assert await place.ended() in (1005, 1006)  # ASGI servers do not agree on what a lost connection is
    ws = await Client.open(place.target("/ws?token=wrong"))
    assert await ws.wait_closed() == (4500, "invalid_token")


async def refusals(place: Place) -> None:
    for path, options, status in (
        ("/nothing", {}, 404),
        ("/ws", {"headers": (("Origin", "https://evil.example"),)}, 403),
        ("/ws", {"token": "wrong"}, 401),
    ):
        with pytest.raises(RefusedError) as refused:
            await Client.open(place.target(path, **options))  # type: ignore[arg-type]
        assert refused.value.status == status


async def raw_messages(place: Place) -> None:
    ws = await Client.open(place.target("/echo"), codec=None)
    for message in ("", "grüß", "x" * 65536):
        await ws.send_text(message)
        assert await ws.receive() == message
        await ws.send_bytes(message.encode()[:65536])
        assert await ws.receive() == message.encode()[:65536]
    await ws.send_bytes(b"x" * 65537)
    assert (await ws.wait_closed())[0] == 1009


async def a_reader_that_stops(place: Place) -> None:
    """It costs this server what its outbox may hold, and then the connection."""
    ws = await Client.open(place.target("/echo"), codec=None)
    other = await Client.open(place.target("/echo"), codec=None)
    ws.pause_reading()
    await ws.send_text("flood")
    await other.send_text("still here")
    assert await other.receive() == "still here"
    ws.resume_reading()
    assert (await ws.wait_closed())[0] in (4003, 1006)
    await other.close()
