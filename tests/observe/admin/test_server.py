"""The admin address over real HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any, Self

import aiohttp
import pytest
import pytest_asyncio

from fastws.net.listener import bind_tcp
from fastws.observe.admin import server as admin
from fastws.observe.admin.guard import Guard
from fastws.observe.admin.server import MAX_CONNECTIONS, MIN_BODY, AdminServer
from tests.observe.admin.doubles import CannedServices, canned
from tests.support.raw_client import RawClient

PUBLISH = b'{"topic": "news", "data": 1}'


class Stand:
    """A server on a port of its own, and a client for it."""

    def __init__(self, key: str | None = None, host: str = "127.0.0.1", **options: Any) -> None:
        self.services, context = canned()
        self.ready: tuple[bool, dict[str, Any]] = True, {"accepting": True}
        self.server = AdminServer(
            context, Guard(key, host), lambda: self.ready, **{"max_message_size": 65536} | options
        )
        self.port = 0

    async def __aenter__(self) -> Self:
        sockets = bind_tcp("127.0.0.1", 0)
        self.port = sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        await self.server.start(sockets)
        self.client = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.server.stop()

    async def ask(
        self, path: str, body: bytes | None = b"{}", method: str = "POST", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        named = {"Content-Type": "application/json"} | {key.replace("_", "-"): text for key, text in headers.items()}
        data = BytesIO(body) if body is not None else None
        async with self.client.request(method, self.url + path, data=data, headers=named) as response:
            text = await response.text()
            return response.status, dict(response.headers), json.loads(text) if text else None


@pytest_asyncio.fixture
async def stand() -> AsyncIterator[Stand]:
    async with Stand() as made:
        yield made


@pytest.mark.asyncio
async def test_a_call(stand: Stand) -> None:
    status, headers, content = await stand.ask("/api/publish", PUBLISH)
    assert (status, content) == (200, {"result": {"duplicate": False, "nodes": 1}})
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "fastws"
    assert stand.services.calls[0][1]["topic"] == "news"


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_calls_are_posted(stand: Stand, method: str) -> None:
    status, headers, content = await stand.ask("/api/publish", PUBLISH, method)
    assert (status, headers["Allow"]) == (405, "POST")
    assert "Access-Control-Allow-Origin" not in headers
    assert content is None if method == "HEAD" else content["error"]["code"] == 107
    assert not stand.services.calls


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/", "/api", "/api/nonsense", "/api/openapi", "/metrics", "/API/publish"])
async def test_other_paths_are_404(stand: Stand, path: str) -> None:
    status, _, content = await stand.ask(path)
    assert (status, content["error"]["code"]) == (404, 104)


@pytest.mark.asyncio
async def test_health(stand: Stand) -> None:
    assert (await stand.ask("/healthz", None, "GET"))[::2] == (200, {"status": "ok"})
    ready = {"status": "ready", "checks": {"accepting": True}}
    assert (await stand.ask("/readyz", None, "GET"))[::2] == (200, ready)
    assert (await stand.ask("/readyz", None, "HEAD"))[::2] == (200, None)
    stand.ready = False, {"accepting": False}
    unavailable = {"status": "unavailable", "checks": {"accepting": False}}
    assert (await stand.ask("/readyz", None, "GET"))[::2] == (503, unavailable)
    assert (await stand.ask("/readyz"))[0] == 405


@pytest.mark.asyncio
async def test_everything_but_health_asks_for_the_key() -> None:
    async with Stand("k3y") as stand:
        for path, method in (("/api/publish", "POST"), ("/api/openapi.json", "GET"), ("/", "GET"), ("/x", "GET")):
            for headers in ({}, {"Authorization": "Bearer no"}):
                status, answered, content = await stand.ask(path, PUBLISH, method, **headers)
                assert (status, content["error"]["code"]) == (401, 101)
                assert answered["WWW-Authenticate"] == "Bearer"
        assert (await stand.ask("/healthz", None, "GET"))[0] == 200
        assert (await stand.ask("/readyz", None, "GET"))[0] == 200
        assert not stand.services.calls
        headers = {"Authorization": "Bearer k3y", "Origin": "https://admin.example", "Host": "admin.example"}
        assert (await stand.ask("/api/publish", PUBLISH, **headers))[0] == 200


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null", "Content-Type": "text/plain"},
        {"Host": "evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "192.0.2.1"},
    ],
)
async def test_pages_cannot_call_what_has_no_key(stand: Stand, headers: dict[str, str]) -> None:
    status, _, content = await stand.ask("/api/publish", PUBLISH, **headers)
    assert (status, content["error"]["code"]) == (401, 101)
    assert not stand.services.calls


@pytest.mark.asyncio
async def test_the_description(stand: Stand) -> None:
    status, _, content = await stand.ask("/api/openapi.json", None, "GET")
    assert (status, content["openapi"]) == (200, "3.1.0")
    assert (await stand.ask("/api/openapi.json"))[0] == 405


async def _in_pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        yield b" " * 65536


@pytest.mark.asyncio
async def test_large_bodies_are_413(stand: Stand) -> None:
    assert (await stand.ask("/api/publish", PUBLISH + b" " * (MIN_BODY - len(PUBLISH))))[0] == 200
    status, _, content = await stand.ask("/api/publish", PUBLISH + b" " * (MIN_BODY - len(PUBLISH) + 1))
    assert (status, content["error"]["code"]) == (413, 110)
    async with stand.client.post(stand.url + "/api/publish", data=_in_pieces(2 * MIN_BODY)) as response:
        assert response.status == 413
    async with Stand(max_message_size=MIN_BODY) as larger:
        assert (await larger.ask("/api/publish", PUBLISH + b" " * MIN_BODY))[0] == 200


@pytest.mark.asyncio
async def test_a_compressed_body_is_refused(stand: Stand) -> None:
    status, _, content = await stand.ask("/api/publish", b"\x1f\x8b\x08", Content_Encoding="gzip")
    assert (status, content["error"]["code"]) == (400, 107)


@pytest.mark.asyncio
async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_BODY_S", 0.05)
    monkeypatch.setattr(admin, "_LINGERING_S", 0.05)
    async with Stand() as stand:
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
        writer.write(b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        answer = await asyncio.wait_for(reader.read(), 10)  # up to the end of the connection
        assert answer.startswith(b"HTTP/1.1 400 ")
        writer.close()


@pytest.mark.asyncio
async def test_a_repeated_call_has_one_effect(stand: Stand) -> None:
    answers = [await stand.ask("/api/publish", PUBLISH, Idempotency_Key="k") for _ in range(3)]
    assert len({json.dumps(content) for _, _, content in answers}) == 1
    assert len(stand.services.calls) == 1
    status, _, content = await stand.ask("/api/publish", PUBLISH + b" ", Idempotency_Key="k")
    assert (status, content["error"]["code"]) == (409, 107)
    assert (await stand.ask("/api/publish", PUBLISH, Idempotency_Key=""))[0] == 400
    together = await asyncio.gather(*(stand.ask("/api/publish", PUBLISH, Idempotency_Key="k2") for _ in range(20)))
    assert {status for status, _, _ in together} == {200}
    assert len(stand.services.calls) == 2


@pytest.mark.asyncio
async def test_it_lives_longer_than_the_services() -> None:
    serving = True
    async with Stand(is_serving=lambda: serving) as stand:
        assert (await stand.ask("/api/publish", PUBLISH))[0] == 200
        serving = False
        status, _, content = await stand.ask("/api/publish", PUBLISH)
        assert (status, content["error"]["code"]) == (503, 113)
        assert (await stand.ask("/healthz", None, "GET"))[0] == 200


@pytest.mark.asyncio
async def test_what_is_no_http_is_refused_in_silence(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "fastws"):
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\nA B\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
            writer.write(garbage)
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.0 400 ")
            writer.close()
    assert not caplog.records


@pytest.mark.asyncio
async def test_connections_are_bounded(stand: Stand) -> None:
    clients = [RawClient("127.0.0.1", stand.port) for _ in range(MAX_CONNECTIONS)]
    last = None
    try:
        clients[-1].send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await asyncio.to_thread(clients[-1].read_response)).status == 200
        last = RawClient("127.0.0.1", stand.port)
        assert (await asyncio.to_thread(last.read_response)).status == 503
    finally:
        for client in filter(None, (*clients, last)):
            client.close()


@pytest.mark.asyncio
async def test_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastws.access"):
        async with Stand("k3y", access_log=True) as stand:
            await stand.ask("/api/publish?key=secret", PUBLISH, Authorization="Bearer k3y")
            await stand.ask("/healthz", None, "GET")
    assert [record.getMessage() for record in caplog.records] == ["POST /api/publish 200", "GET /healthz 200"]
    assert "k3y" not in caplog.text


@pytest.mark.asyncio
async def test_stopping_ends_what_is_idle_and_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_STOPPING_S", 0.1)
    begun = asyncio.Event()

    async def endless(self: CannedServices, *arguments: Any, **named: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(CannedServices, "broadcast", endless)
    before = asyncio.all_tasks()
    stand = await Stand().__aenter__()
    assert (await stand.ask("/healthz", None, "GET"))[0] == 200
    waiting = asyncio.ensure_future(stand.ask("/api/announce", b'{"data": 1}'))
    await begun.wait()
    await stand.server.stop()
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(waiting, 10)
    await stand.client.close()
    assert not asyncio.all_tasks() - before
