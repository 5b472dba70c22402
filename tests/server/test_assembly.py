"""From settings and an application to what is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from fastws.app import FastWS
from fastws.config import Settings
from fastws.core.upgrade import OriginRules
from fastws.errors import ConfigError
from fastws.net.raw import MessageRunner, StreamRunner
from fastws.server import assembly
from fastws.server.assembly import Assembly
from fastws_ext.loop_data import LoopData


def application() -> FastWS:
    app = FastWS(keep_headers=("X-Kept",))

    @app.raw("/plain")
    def plain(conn: Any, message: Any) -> None: ...

    @app.raw("/stream", auth=True)
    async def stream(conn: Any) -> None: ...

    @app.http("/page")
    def page(request: Any) -> str:
        return "page"

    return app


def assemble(app: FastWS | None = None, **options: Any) -> Assembly:
    loop = asyncio.get_running_loop()
    return Assembly(
        Settings(**options),
        app or application(),
        loop,
        LoopData(loop),
        is_ready=lambda: (True, {}),
        demo_page=None,
    )


@asynccontextmanager
async def running(app: FastWS) -> AsyncIterator[Assembly]:
    parts = assemble(app)
    await parts.start()
    try:
        yield parts
    finally:
        await parts.end_handlers(0)
        await parts.stop()


@pytest.mark.asyncio
async def test_paths_and_limits() -> None:
    parts = assemble(path="/chat", max_message_size=1000, max_outbox=0, ping_interval=7.0, node_name="n")
    assert set(parts.site.sockets) == {b"/plain", b"/stream", b"/chat"}
    assert set(parts.site.http) == {b"/page"}
    endpoint = parts.site.sockets[b"/plain"].endpoint
    assert (endpoint.path, endpoint.max_message_size) == ("/plain", 1000)
    assert endpoint.max_outbox >= 2**31 - 1
    assert isinstance(parts.runners["/plain"], MessageRunner)
    assert isinstance(parts.runners["/stream"], StreamRunner)
    assert parts.site.keep_headers == {b"x-kept"}


@pytest.mark.asyncio
async def test_what_can_do_without_its_request() -> None:
    sockets = assemble().site.sockets
    assert sockets[b"/plain"].is_common
    assert not sockets[b"/stream"].is_common
    assert sockets[b"/ws"].is_common
    app = application()
    app.on_connect(lambda conn: None)
    assert not assemble(app).site.sockets[b"/ws"].is_common


@pytest.mark.asyncio
async def test_origins_and_proxies() -> None:
    plain = assemble().site
    assert plain.origins == OriginRules()
    assert plain.proxies is not None
    assert "127.0.0.1" in plain.proxies
    other = assemble(origins=("https://a.example",), proxy_headers=False).site
    assert other.origins.allows(b"https://a.example", b"h")
    assert not other.sockets[b"/plain"].rules.origins.allows(b"http://h", b"h")
    assert other.proxies is None


@pytest.mark.asyncio
async def test_deflate_only_where_it_is_on() -> None:
    assert not any(socket.rules.deflate for socket in assemble().site.sockets.values())
    assert all(socket.rules.deflate for socket in assemble(deflate=True).site.sockets.values())


@pytest.mark.asyncio
async def test_the_path_of_the_protocol_is_taken() -> None:
    for path in ("/plain", "/page"):
        with pytest.raises(ConfigError, match="--path"):
            assemble(path=path)


@pytest.mark.asyncio
async def test_services_work_while_it_runs() -> None:
    app = application()
    async with running(app) as parts:
        async with asyncio.timeout(30):
            while not parts.engine_works():  # Redis has to answer first
                await asyncio.sleep(0.001)
        assert not (await app.publish("price", 1)).duplicate
    assert not parts.engine_works()


@pytest.mark.asyncio
async def test_handlers_have_a_moment_to_end() -> None:
    app = application()
    async with running(app) as parts:
        ended: list[str] = []

        async def brief() -> None:
            await asyncio.sleep(0.01)
            ended.append("brief")

        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        for work in (brief(), endless()):
            parts.runners["/plain"].tasks.add(asyncio.ensure_future(work))
        await parts.end_handlers(0.1)
        assert ended == ["brief", "cancelled"]


@pytest.mark.asyncio
async def test_handlers_that_do_not_care_about_being_cancelled_are_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(assembly, "CANCELLED_S", 0.01)
    async with running(application()) as parts:
        may_end = asyncio.Event()

        async def deaf() -> None:
            while not may_end.is_set():
                with suppress(asyncio.CancelledError):
                    await may_end.wait()

        task = asyncio.ensure_future(deaf())
        parts.runners["/plain"].tasks.add(task)
        await parts.end_handlers(0)
        assert not task.done()
        assert "1 handlers go on 0.01 s after they were cancelled" in caplog.text
        may_end.set()
        await task
