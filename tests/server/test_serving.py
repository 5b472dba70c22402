"""What is given back, however a start or an end goes. All the rest: `test_worker.py`, and the tests of `TestServer`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from fastws import FastWS
from fastws.config.embedded import embedded
from fastws.errors import StartError
from fastws.server import lifespan, serving
from fastws.server.serving import Serving

pytestmark = pytest.mark.asyncio


def make_serving(app: FastWS, **settings: Any) -> Serving:
    given = {"port": 0, "admin_port": 0, "anonymous": True, "drain_timeout": 1, **settings}
    return Serving(embedded(given, name="tests:app", environ={}, look_for_file=False), app)


async def start(serving: Serving) -> None:
    serving.build()
    serving.bind()
    serving.bind_admin()
    await serving.open()
    await serving.run_startup_hooks()
    await serving.listen()
    await serving.serve_admin()


def open_sockets() -> int:
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    return sum(link.readlink().name.startswith("socket:") for link in links if link.is_symlink())


async def test_an_end_that_is_cancelled_gives_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifespan, "HASTE_S", 0.01)
    app = FastWS()
    began = asyncio.Event()
    blocked = asyncio.Event()

    @app.on_shutdown
    async def stop() -> None:
        began.set()
        await blocked.wait()

    before = open_sockets()
    place = tmp_path / "s"
    served = make_serving(app, uds=str(place))
    await start(served)
    ending = asyncio.ensure_future(served.shutdown(0))
    await began.wait()
    ending.cancel()
    await asyncio.wait((ending,))
    assert ending.cancelled()
    assert not place.exists()
    assert open_sockets() == before
    assert asyncio.all_tasks() == {asyncio.current_task()}
    blocked.set()
    served = make_serving(app)
    await start(served)
    await served.shutdown(0)
    assert open_sockets() == before


async def test_an_application_that_does_not_end_is_not_waited_for_without_a_bound(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has what the drain has left, and some seconds."""
    monkeypatch.setattr(lifespan, "WARN_S", 0.01)
    monkeypatch.setattr(serving, "END_S", 0.1)
    app = FastWS()

    @app.on_shutdown
    async def stop() -> None:
        await asyncio.Event().wait()

    before = open_sockets()
    served = make_serving(app, drain_timeout=0)
    await start(served)
    assert await served.empty() == 0
    await served.shutdown(0)
    assert open_sockets() == before
    messages = [record.message for record in caplog.records if "on_shutdown" in record.message]
    assert len(messages) == 2
    assert "stop, which is cut short" in messages[0]
    assert messages[1].startswith("on_shutdown was cut short in ")


async def test_a_start_that_fails_at_any_point_gives_everything_back() -> None:
    async def fails() -> None:
        raise OSError("no disk")

    before = open_sockets()
    app = FastWS()
    for steps in range(5):
        served = make_serving(app)
        served.build()
        if steps > 0:
            served.bind()
        if steps > 1:
            served.bind_admin()
        if steps > 2:
            await served.open()
        if steps > 3:
            await served.listen()
        await served.shutdown(0)
        assert open_sockets() == before
    app.on_startup(fails)
    served = make_serving(app)
    with pytest.raises(StartError, match="no disk"):
        await start(served)
    await served.shutdown(0)
    assert open_sockets() == before
    assert asyncio.all_tasks() == {asyncio.current_task()}
