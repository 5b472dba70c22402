"""The HTTP stage over real sockets: answers, their order, routes, hooks, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from fastws.core.proxies import TrustedProxies
from fastws.core.upgrade import UpgradeRules, origin_rules
from fastws.errors import Reject
from fastws.net.http import MAX_BODY, HttpRequest

from .serving import ACCEPT, TRANSPORTS, Answer, Client, Server, frame, run, serving, until, upgrade

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


class Route(NamedTuple):
    """A route of the application."""

    handler: Callable[[HttpRequest], Any]
    methods: tuple[str, ...] = ("GET",)
    auth: bool = False


def echo(conn: Any, message: str | bytes) -> None:
    conn.send(message)


def get(path: str, method: str = "GET", *headers: str, body: bytes = b"", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: example.com", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def check_refusal(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.json["error"]["status"] == status
    assert answer.json["error"]["message"]
    if status == 426:
        assert answer.headers["upgrade"] == "websocket"
        assert answer.headers["sec-websocket-version"] == "13"
    if status in (503, 429):
        assert int(answer.headers["retry-after"]) > 0


def test_the_common_upgrade_and_the_other_get_the_same_answer(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": echo}) as server:
            answers = []
            for headers in (
                {},
                {"Origin": "http://example.com"},
                {"Connection": "keep-alive, Upgrade"},
                {"X-A": "\xff"},
            ):
                client = await server.client()
                client.write(upgrade(**headers))
                answers.append(await client.head())
                client.send("x")
                assert await client.text() == "x"
                await client.close()
            common = server.ingress.common
            for number, request in enumerate((upgrade("/echo?a=1"), upgrade("/echo?"), upgrade(Traceparent="x"))):
                client = await server.client()
                client.write(request)
                answers.append(await client.head())
                await client.close()
                assert server.ingress.common == common + min(number + 1, 2)
            assert all(answer == answers[0] for answer in answers)
            assert answers[0].headers == {
                "upgrade": "websocket",
                "connection": "Upgrade",
                "sec-websocket-accept": ACCEPT,
            }

    run(transport, test)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /echo HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
        (upgrade(X="a\x00b"), 400),
        (upgrade(Xé="a"), 400),
        (upgrade(Transfer_Encoding="chunked"), 400),
        (upgrade(Content_Length="3") + b"abc", 400),
        (upgrade(Content_Length="100000"), 400),
        (upgrade(Sec_WebSocket_Key="short"), 400),
        (upgrade(Sec_WebSocket_Key=None), 400),
        (upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (upgrade(X="a" * 17000), 431),
        (upgrade(**{f"X{i}": "a" for i in range(120)}), 431),
        (get("/page", "POST", f"Content-Length: {MAX_BODY + 1}"), 413),
        (upgrade("/none"), 404),
        (upgrade("/echo/"), 404),
        (upgrade("/Echo"), 404),
        (get("/echo", "POST"), 405),
        (get("/page", "DELETE"), 405),
        (get("/healthz", "POST"), 405),
        (get("/echo"), 426),
        (get("/echo", version="1.0"), 426),
        (upgrade(Sec_WebSocket_Version="8"), 426),
        (upgrade(Connection="close"), 426),
        (upgrade(Origin="http://evil.example"), 403),
        (upgrade(Origin="null"), 403),
    ],
)
def test_refusals(transport: str, request_bytes: bytes, status: int) -> None:
    async def test() -> None:
        routes = {b"/page": Route(lambda request: "page")}
        async with serving(transport, raw={"/echo": echo}, site={"http": routes}) as server:
            answer = await server.ask(request_bytes)
            check_refusal(answer, status)
            assert server.ingress.outcomes == {status: 1}
            assert sum(server.ingress.rejected.values()) == 1
            assert server.admission.admitted == 0
            await until(lambda: server.ingress.connections == 0)
            client = await server.connect()
            client.send("others are unharmed")
            assert await client.text() == "others are unharmed"
            await client.close()

    run(transport, test)


def test_the_order_of_refusals(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": echo}) as server:
            server.admission.draining = True
            check_refusal(await server.ask(upgrade("/none", X="\x00")), 400)
            check_refusal(await server.ask(upgrade("/none")), 503)
            server.admission.draining = False
            check_refusal(await server.ask(get("/none", "POST")), 404)
            assert server.ingress.rejected == {"protocol": 2, "drain": 1}

    run(transport, test)


def test_a_client_that_still_writes_sees_the_answer(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": echo}) as server:
            client = await server.client()
            client.write(upgrade("/none") + b"x" * 100_000)
            await client.writer.drain()
            check_refusal(await client.answer(), 404)
            await client.close()

    run(transport, test)


def test_frames_sent_with_the_request(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": echo}) as server:
            for path in ("/echo", "/echo?not=common"):
                client = await server.client()
                client.write(upgrade(path) + frame(1, b"early") + frame(9, b"ping") + frame(2, b"\x00"))
                assert (await client.head()).status == 101
                assert [await client.receive() for _ in range(3)] == [(1, b"early"), (10, b"ping"), (2, b"\x00")]
                await client.close()

    run(transport, test)


def test_a_request_in_pieces(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": echo}) as server:
            for request in (upgrade(), upgrade("/echo?a")):
                client = await server.client()
                for position in range(0, len(request), 7):
                    client.write(request[position : position + 7])
                    await client.writer.drain()
                    await asyncio.sleep(0)
                assert (await client.head()).status == 101
                await client.close()

    run(transport, test)


def test_the_handshake_has_a_deadline(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": echo}, timeout_s=0.2) as server:
            silent, slow, opened = await server.client(), await server.client(), await server.connect()
            slow.write(b"GET /echo HTTP/1.1\r\nHost:")
            for client in (silent, slow):
                check_refusal(await client.answer(), 408)
                await client.close()
            assert server.ingress.rejected == {"handshake-timeout": 2}
            opened.send("still here")
            assert await opened.text() == "still here"
            await opened.close()

    run(transport, test)


def test_health(transport: str) -> None:
    async def test() -> None:
        checks = {"engine": True}
        site = {"is_ready": lambda: (all(checks.values()), checks)}
        async with serving(transport, raw={"/echo": echo}, site=site) as server:
            assert (await server.ask(get("/healthz", version="1.0"))).status == 200
            head = await server.ask(get("/healthz", "HEAD"))
            assert (head.status, head.body) == (200, b"")
            assert int(head.headers["content-length"]) > 0
            assert (await server.ask(get("/readyz"))).status == 200
            checks["engine"] = False
            answer = await server.ask(get("/readyz"))
            assert (answer.status, answer.json["checks"]) == (503, {"engine": False})
            server.admission.draining = True
            assert (await server.ask(get("/healthz"))).status == 200
            assert (await server.ask(get("/readyz"))).status == 503

    run(transport, test)


def test_the_demo_page(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, site={"demo_page": b"<p>hello"}) as server:
            answer = await server.ask(get("/"))
            assert (answer.status, answer.body) == (200, b"<p>hello")
            assert answer.headers["content-type"].startswith("text/html")
            assert (await server.ask(get("/", "POST"))).status == 405
        async with serving(transport) as server:
            assert (await server.ask(get("/"))).status == 404

    run(transport, test)


def test_results_of_http_routes(transport: str) -> None:
    async def later(request: HttpRequest) -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return {"query": request.query, "agent": request.headers["USER-agent"], "from": request.remote is not None}

    async def at_once(request: HttpRequest) -> list[int]:
        return [1, 2]

    def fails(request: HttpRequest) -> None:
        raise RuntimeError("secret")

    async def fails_later(request: HttpRequest) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("secret")

    def refuses(request: HttpRequest) -> None:
        raise Reject(418, "short and stout")

    routes = {
        b"/later": Route(later),
        b"/list": Route(at_once),
        b"/text": Route(lambda request: "h\u00e9"),
        b"/bytes": Route(lambda request: b"\x00\xff"),
        b"/none": Route(lambda request: None),
        b"/fails": Route(fails),
        b"/fails-later": Route(fails_later),
        b"/odd": Route(lambda request: object()),
        b"/not-json": Route(lambda request: {"a": object()}),
        b"/refuses": Route(refuses),
    }

    async def test() -> None:
        async with serving(transport, site={"http": routes}) as server:
            answer = await server.ask(get("/later?a=%201&b", "GET", "User-Agent: me"))
            assert answer.json == {"query": {"a": " 1", "b": ""}, "agent": "me", "from": True}
            assert answer.headers["content-type"] == "application/json"
            assert (await server.ask(get("/list"))).json == [1, 2]
            text = await server.ask(get("/text"))
            assert (text.headers["content-type"], text.body.decode()) == ("text/plain; charset=utf-8", "h\u00e9")
            data = await server.ask(get("/bytes"))
            assert (data.headers["content-type"], data.body) == ("application/octet-stream", b"\x00\xff")
            none = await server.ask(get("/none"))
            assert (none.status, none.body) == (204, b"")
            head = await server.ask(get("/text", "HEAD"))
            assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "3")
            for path in ("/fails", "/fails-later", "/odd", "/not-json"):
                failed = await server.ask(get(path))
                check_refusal(failed, 500)
                assert b"secret" not in failed.body
            assert server.ingress.handler_errors == 4
            assert (await server.ask(get("/refuses"))).json["error"]["message"] == "short and stout"
            assert server.admission.admitted == 0

    run(transport, test)


def test_methods_and_bodies(transport: str) -> None:
    async def take(request: HttpRequest) -> dict[str, Any]:
        return {"method": request.method, "size": len(request.body)}

    routes = {b"/take": Route(take, ("POST", "PUT")), b"/json": Route(lambda request: request.json(), ("POST",))}

    async def test() -> None:
        async with serving(transport, site={"http": routes}) as server:
            assert (await server.ask(get("/take", "PUT", body=b"abc"))).json == {"method": "PUT", "size": 3}
            assert (await server.ask(get("/take", "POST"))).json == {"method": "POST", "size": 0}
            assert (await server.ask(get("/json", "POST", body=b'{"a":1}'))).json == {"a": 1}
            refused = await server.ask(get("/take"))
            assert (refused.status, refused.headers["allow"]) == (405, "POST, PUT")
            client = await server.client()
            request = get("/take", "POST", body=b"x" * MAX_BODY)
            for position in range(0, len(request), 10_000):
                client.write(request[position : position + 10_000])
                await client.writer.drain()
                await asyncio.sleep(0.001)
            assert (await client.answer()).json == {"method": "POST", "size": MAX_BODY}
            await client.close()
            waiting = get("/take", "POST", "Expect: 100-continue", body=b"abc")
            check_refusal(await server.ask(waiting[:-3]), 417)
            for fields in ((), ("Connection: Upgrade", "Upgrade: websocket")):
                too_much = get("/take", "POST", *fields, f"Content-Length: {MAX_BODY + 1}")
                check_refusal(await server.ask(too_much), 413)
            gone = await server.client()
            gone.write(request[:2000])
            await until(lambda: server.admission.admitted == 1)
            gone.abort()
            await until(lambda: server.admission.admitted == 0)

    run(transport, test)


def test_a_client_that_leaves_while_its_handler_runs(transport: str) -> None:
    ended: list[str] = []
    proceed = asyncio.Event()

    async def slow(request: HttpRequest) -> None:
        try:
            await proceed.wait()
        finally:
            ended.append("ended")

    async def test() -> None:
        async with serving(transport, site={"http": {b"/slow": Route(slow)}}) as server:
            client = await server.client()
            client.write(get("/slow"))
            await until(lambda: server.ingress.pending == 1)
            client.abort()
            if transport != "reactor":
                proceed.set()  # the loops' own transports notice nothing while reading is paused
            await until(lambda: ended == ["ended"])
            await until(lambda: server.ingress.pending == 0 == server.admission.admitted)
            assert server.ingress.handler_errors == 0

    run(transport, test)


@pytest.mark.parametrize("waits", [False, True])
def test_upgrade_hooks(transport: str, waits: bool) -> None:
    def judge(request: HttpRequest) -> None:
        asked.append(request.path)
        outcome = request.query.get("outcome")
        if outcome == "reject":
            raise Reject(451, "not here")
        if outcome == "close":
            raise Reject(4507)
        if outcome == "fail":
            raise RuntimeError("secret")

    async def judge_later(request: HttpRequest) -> None:
        await asyncio.sleep(0.001)
        judge(request)

    asked: list[str] = []

    async def test() -> None:
        site = {"upgrade_hooks": [judge_later if waits else judge]}
        async with serving(transport, raw={"/echo": echo}, site=site) as server:
            client = await server.connect()
            client.send("in")
            assert await client.text() == "in"
            check_refusal(await server.ask(upgrade("/echo?outcome=reject")), 451)
            check_refusal(await server.ask(upgrade("/echo?outcome=close")), 403)
            check_refusal(await server.ask(upgrade("/echo?outcome=fail")), 500)
            check_refusal(await server.ask(upgrade(Origin="http://evil.example")), 403)
            assert asked == ["/echo"] * 4
            await until(lambda: server.admission.admitted == 1)
            await client.close()
            await until(lambda: server.admission.admitted == 0)

    run(transport, test)


def test_a_judge_that_fails_costs_no_place(transport: str) -> None:
    def judge(request: Any) -> None:
        raise RuntimeError("secret")

    async def test() -> None:
        site = {"http": {b"/slow": Route(lambda request: None, auth=True)}, "authenticate": judge}
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with serving(transport, raw={"/echo": echo}, site=site, admission={"max_connections": 1}) as server:
            paths = server.ingress.site.sockets
            server.ingress.site.sockets = {b"/judged": replace(paths[b"/echo"], authenticate=judge), **paths}
            for request in (upgrade("/judged?a=1"), get("/slow")) * 2:
                assert (await server.ask(request)).status == 500
            await (await server.connect()).close()
            assert len(reported) == 4

    run(transport, test)


def test_handlers_may_take_longer_than_the_handshake(transport: str) -> None:
    async def slow(request: HttpRequest) -> str:
        await asyncio.sleep(0.5)
        return "done"

    async def test() -> None:
        async with serving(transport, site={"http": {b"/slow": Route(slow)}}, timeout_s=0.1) as server:
            assert (await server.ask(get("/slow"))).body == b"done"

    run(transport, test)


def test_upgrade_hooks_have_the_time_of_the_handshake(transport: str) -> None:
    async def never(request: HttpRequest) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        site = {"upgrade_hooks": [never]}
        async with serving(transport, raw={"/echo": echo}, site=site, timeout_s=0.2) as server:
            check_refusal(await server.ask(upgrade()), 408)
            await until(lambda: server.ingress.pending == 0 == server.admission.admitted)
            assert server.ingress.rejected == {"handshake-timeout": 1}

    run(transport, test)


async def connect_as(server: Server, address: str) -> tuple[Client, int]:
    client = await server.client()
    client.write(upgrade(X_Forwarded_For=address))
    return client, (await client.head()).status


def test_limits_per_address_see_the_client_behind_a_proxy(transport: str) -> None:
    async def test() -> None:
        site = {"proxies": TrustedProxies(["127.0.0.1"])}
        limits = {"max_per_address": 2}
        async with serving(transport, raw={"/echo": echo}, site=site, admission=limits) as server:
            first, second, third = [await connect_as(server, "1.2.3.4") for _ in range(3)]
            assert [first[1], second[1], third[1]] == [101, 101, 429]
            other = await connect_as(server, "9.9.9.9, 1.2.3.5")
            assert other[1] == 101
            check_refusal(await server.ask(upgrade(X_Forwarded_For="1.2.3.4")), 429)
            assert server.ingress.rejected == {"max-connections-per-ip": 2}
            await first[0].close()
            await until(lambda: server.admission.admitted == 2)
            again = await connect_as(server, "1.2.3.4")
            assert again[1] == 101
            local = [await server.connect() for _ in range(4)]
            for client in (second[0], third[0], other[0], again[0], *local):
                await client.close()
            await until(lambda: server.admission.admitted == 0)

    run(transport, test)


def test_loopback_counts_where_the_limit_was_set(transport: str) -> None:
    async def test() -> None:
        limits = {"max_per_address": 1, "loopback_exempt": False}
        async with serving(transport, raw={"/echo": echo}, admission=limits) as server:
            client = await server.connect()
            check_refusal(await server.ask(upgrade()), 429)
            check_refusal(await server.ask(upgrade(X_Forwarded_For="1.2.3.4")), 429)
            assert (await server.ask(get("/healthz"))).status == 200
            client.abort()
            await until(lambda: server.admission.admitted == 0)
            await (await server.connect()).close()

    run(transport, test)


def test_the_number_of_connections(transport: str) -> None:
    async def test() -> None:
        async with serving(transport, raw={"/echo": echo}, admission={"max_connections": 2}) as server:
            clients = [await server.connect(), await server.connect("/echo?a")]
            check_refusal(await server.ask(upgrade()), 503)
            check_refusal(await server.ask(upgrade("/none")), 503)
            assert server.ingress.rejected == {"max-connections": 2}
            await clients.pop().close()
            await until(lambda: server.admission.admitted == 1)
            clients.append(await server.connect())
            for client in clients:
                await client.close()

    run(transport, test)


def test_the_rate_of_connects(transport: str) -> None:
    async def test() -> None:
        now = [0.0]
        limits = {"connects_per_second": 2, "clock": lambda: now[0]}
        async with serving(transport, raw={"/echo": echo}, admission=limits) as server:
            clients = [await server.connect(), await server.connect()]
            check_refusal(await server.ask(upgrade()), 503)
            now[0] += 0.5
            clients.append(await server.connect())
            check_refusal(await server.ask(upgrade()), 503)
            assert server.ingress.rejected == {"connect-rate": 2}
            for client in clients:
                await client.close()

    run(transport, test)


def test_origins_from_a_list(transport: str) -> None:
    async def test() -> None:
        rules = origin_rules(["https://app.example"])
        options = {"rules": UpgradeRules(origins=rules), "site": {"origins": rules}}
        async with serving(transport, raw={"/echo": echo}, **options) as server:
            await (await server.connect(Origin="https://app.example")).close()
            await (await server.connect()).close()
            check_refusal(await server.ask(upgrade(Origin="http://example.com")), 403)
            assert server.ingress.rejected == {"origin": 1}

    run(transport, test)
