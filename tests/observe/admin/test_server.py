"""The admin address over real HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import select
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any, Self

import aiohttp
import pytest
import pytest_asyncio
import uvloop
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

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

    @property
    def connections(self) -> list[Any]:
        """Those that are open."""
        http = self.server._http
        return http.connections if http is not None else []

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


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is bound to happen."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


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
        answer = await asyncio.wait_for(reader.read(), 30)  # up to the end of the connection
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
async def test_looking_twice_is_looking_twice(stand: Stand) -> None:
    for body in (b"{}", b"{}", b"{ }"):
        assert (await stand.ask("/api/topics", body, Idempotency_Key="k"))[0] == 200
    assert len(stand.services.calls) == 3


@pytest.mark.asyncio
async def test_it_lives_longer_than_the_services() -> None:
    serving = True
    async with Stand(is_serving=lambda: serving) as stand:
        assert (await stand.ask("/api/publish", PUBLISH))[0] == 200
        serving = False
        status, _, content = await stand.ask("/api/publish", PUBLISH)
        assert (status, content["error"]["code"]) == (503, 113)
        assert (await stand.ask("/healthz", None, "GET"))[0] == 200


async def told(reader: asyncio.StreamReader) -> bytes:
    """Everything up to the end of the connection."""
    return await asyncio.wait_for(reader.read(), 30)


@pytest.mark.asyncio
async def test_a_client_that_asks_first_is_told_to_go_on(stand: Stand) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
    head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-Continue\r\n%s\r\n"
    for close in ("", "Connection: close\r\n"):
        writer.write((head % (len(PUBLISH), close)).encode())
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(PUBLISH)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).startswith(b"HTTP/1.1 200 OK\r\n")
        answer = b'{"result":{"duplicate":false,"nodes":1}}'
        assert await asyncio.wait_for(reader.readexactly(len(answer)), 30) == answer
    assert await told(reader) == b""
    assert len(stand.services.calls) == 2
    writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * MIN_BODY}", 413),
        ("HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 10", 401),
    ],
)
async def test_nobody_is_told_to_send_what_will_not_be_read(
    stand: Stand, head: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "_LINGERING_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
    writer.write(f"POST /api/publish {head}\r\nExpect: 100-continue\r\n\r\n".encode())
    assert (await told(reader)).startswith(b"HTTP/1.1 %d " % status)
    writer.close()


@pytest.mark.asyncio
async def test_what_is_no_http_is_refused_in_silence(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastws"):
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\nA B\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
            writer.write(garbage)
            head, _, body = (await told(reader)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 400 ")
            assert b"Server: fastws" in head
            assert json.loads(body)["error"]["code"] == 107
            writer.close()
    assert not caplog.records


@pytest.mark.asyncio
@pytest.mark.parametrize("parser", [HttpRequestParser, HttpRequestParserPy])
async def test_a_body_that_is_no_http_is_refused_in_silence(
    parser: type, stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The compiled parser of the library does not tell who waits for the body: the time for it has to run out."""
    monkeypatch.setattr(admin, "_BODY_S", 0.05)
    monkeypatch.setattr(admin, "_LINGERING_S", 0.05)
    monkeypatch.setattr("aiohttp.web_protocol.HttpRequestParser", parser)
    with caplog.at_level(logging.INFO, "fastws"):
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
        writer.write(b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        writer.write(b"zz\r\n")
        assert b" 400 " in (await told(reader)).partition(b"\r\n")[0]
        writer.close()
    assert not caplog.records
    assert not stand.services.calls


@pytest.mark.asyncio
async def test_a_caller_who_goes_away_is_not_worth_a_line(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastws"):
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
        writer.write(b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n")
        writer.write(b"Content-Length: 100\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        writer.write(b"{")
        writer.close()
        await writer.wait_closed()
        await until(lambda: not stand.connections)
    assert not caplog.records


@pytest.mark.asyncio
async def test_what_fails_outside_of_a_call_is_answered_and_logged(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admin, "description", lambda: 1 / 0)
    status, headers, content = await stand.ask("/api/openapi.json", None, "GET")
    assert (status, headers["Server"], content["error"]["code"]) == (500, "fastws", 100)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.asyncio
async def test_who_waits_longest_makes_room(stand: Stand) -> None:
    clients = [RawClient("127.0.0.1", stand.port) for _ in range(MAX_CONNECTIONS)]
    try:
        await until(lambda: len(stand.connections) == MAX_CONNECTIONS)
        assert (await stand.ask("/healthz", None, "GET"))[0] == 200
        await until(lambda: len(stand.connections) <= MAX_CONNECTIONS)
        assert await asyncio.to_thread(clients[0].read_until_eof) == b""
        clients[1].send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await asyncio.to_thread(clients[1].read_response)).status == 200
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_many_who_come_at_once(
    new_loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "MAX_CONNECTIONS", 3)

    async def come() -> None:
        async with Stand() as stand:
            # Without giving way: the server accepts them in one pass, if the loop does that. Whoever is told anything,
            # that there is no room or that it is over, is not there any more.
            clients = [RawClient("127.0.0.1", stand.port) for _ in range(10)]
            try:
                await until(lambda: len(select.select([client.socket for client in clients], [], [], 0)[0]) == 7)
                await until(lambda: len(stand.connections) == 3)
                assert (await stand.ask("/healthz", None, "GET"))[0] == 200
            finally:
                for client in clients:
                    client.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(come())


@pytest.mark.asyncio
async def test_who_is_served_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "MAX_CONNECTIONS", 2)
    begun: list[None] = []
    may_end = asyncio.Event()

    async def waiting(self: CannedServices, *arguments: Any, **named: Any) -> None:
        begun.append(None)
        await may_end.wait()

    monkeypatch.setattr(CannedServices, "broadcast", waiting)
    async with Stand() as stand:
        calls = [asyncio.ensure_future(stand.ask("/api/announce", b'{"data": 1}')) for _ in range(2)]
        await until(lambda: len(begun) == 2)
        last = RawClient("127.0.0.1", stand.port)
        assert (await asyncio.to_thread(last.read_response)).status == 503
        last.close()
        may_end.set()
        assert [status for status, _, _ in await asyncio.gather(*calls)] == [200, 200]


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
        await asyncio.wait_for(waiting, 30)
    await stand.client.close()
    assert not asyncio.all_tasks() - before
