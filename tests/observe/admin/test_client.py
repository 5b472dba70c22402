"""Calling a server from the command line's side."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fastws.config import Settings
from fastws.errors import ConfigError
from fastws.net.listener import bind_tcp
from fastws.observe.admin import client
from fastws.observe.admin.client import CallError, Target, call, target_of
from fastws.observe.admin.guard import Guard
from fastws.observe.admin.server import AdminServer
from tests.observe.admin.doubles import canned


@pytest_asyncio.fixture
async def url() -> AsyncIterator[str]:
    _, context = canned()
    server = AdminServer(context, Guard("k3y-é", "127.0.0.1"), lambda: (True, {}))
    sockets = bind_tcp("127.0.0.1", 0)
    await server.start(sockets)
    yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    await server.stop()


async def called(target: Target, **fields: Any) -> Any:
    return await asyncio.to_thread(call, target, "publish", fields)


@pytest.mark.asyncio
async def test_a_call(url: str) -> None:
    assert await called(Target(url, "k3y-é"), topic="news", data=1) == {"duplicate": False, "nodes": 1}
    with pytest.raises(CallError, match="102 unknown_topic: there is no namespace none"):
        await called(Target(url, "k3y-é"), topic="none:1", data=1)


@pytest.mark.asyncio
async def test_a_key_that_is_missing_or_wrong(url: str) -> None:
    with pytest.raises(CallError, match=r"101 unauthorized: .*; give --admin-key$"):
        await called(Target(url), topic="news", data=1)
    with pytest.raises(CallError, match=r"101 unauthorized: .*; give the right one"):
        await called(Target(url, "other"), topic="news", data=1)


def test_where_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(CallError, match=rf"cannot reach {address}: Connection refused\. .*--admin-url"):
            call(Target(address), "publish", {})
    with pytest.raises(CallError, match="cannot reach"):
        call(Target("http://nowhere.invalid"), "publish", {})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "answered 200, and not as"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\n[]", "answered 502, and not as"),
        (b'HTTP/1.1 404 Bad\r\nContent-Length: 12\r\n\r\n{"error": 1}', "answered 404, and not as"),
        (b"SSH-2.0\r\n\r\n", "cannot reach"),
        (b"", "cannot reach"),
    ],
)
async def test_what_is_no_control_api(answer: bytes, says: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(CallError, match=says):
            await called(Target(address), topic="news", data=1)


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(CallError, match=r"did not answer within 0\.05 s"),
    ):
        call(Target(f"http://127.0.0.1:{silent.getsockname()[1]}"), "publish", {})


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (Settings(), "http://127.0.0.1:9000"),
        (Settings(admin_host="0.0.0.0", admin_port=1, admin_key="k"), "http://127.0.0.1:1"),
        (Settings(admin_host="::", admin_port=1), "http://[::1]:1"),
        (Settings(admin_host="box", admin_port=1), "http://box:1"),
    ],
)
def test_the_configuration_says_where(settings: Settings, url: str) -> None:
    assert target_of(settings) == Target(url, settings.admin_key)
    assert target_of(settings, "https://admin.example/fastws/", "other") == Target(
        "https://admin.example/fastws", "other"
    )


@pytest.mark.parametrize("port", [0, -1])
def test_a_configuration_that_does_not(port: int) -> None:
    with pytest.raises(ConfigError, match="--admin-url"):
        target_of(Settings(admin_port=port))


@pytest.mark.parametrize("url", ["", "127.0.0.1:9000", "ftp://h", "http://", "http://h:port", "http://[h"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="--admin-url"):
        target_of(Settings(), url)


def test_a_key_is_such_as_can_be_sent() -> None:
    assert target_of(Settings(admin_key="k3y\n")).key == "k3y"
    with pytest.raises(ConfigError, match="--admin-key must have no control characters") as refused:
        target_of(Settings(), None, "se\ncret")
    assert "cret" not in str(refused.value)
