"""Paths, statuses in their order, limits, origins, addresses behind proxies: what decides before the upgrade."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.contract.talking import JSON, MSGPACK, Talker, get, http, upgrade
from tests.support.frames import build_frame
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

APP = """
from fastws import FastWS, Reject

app = FastWS()


@app.raw("/echo")
def echo(conn, message):
    conn.send(message)


@app.raw("/address")
def address(conn, message):
    conn.send(f"{conn.remote[0]}")


@app.http("/page", methods=("GET", "POST"))
def page(request):
    return {"path": request.path}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--deflate", "--ping-interval", "0", source=APP) as process:
        yield process


# Each request has the faults of all those behind it as well, as far as one request can.
IN_ORDER = [
    (400, b"GET /none HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n"),
    (414, b"DELETE /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    (431, get("/none", *[f"X-{i}: 1" for i in range(100)], "Origin: http://evil", method="PUT")),
    (413, get("/none", "Content-Length: 99999999", method="PUT")),
    (404, get("/none", "Origin: http://evil", method="PUT")),
    (404, upgrade("/ws/", "Origin: http://evil")),
    (405, get("/ws", "Origin: http://evil", method="PUT")),
    (426, get("/ws", "Origin: http://evil")),
    (426, upgrade("/ws", "Origin: http://evil", sec_websocket_key=None, sec_websocket_version="12")),
    (426, upgrade("/ws", "Origin: http://evil", sec_websocket_key=None, sec_websocket_version=None)),
    (400, upgrade("/ws", "Origin: http://evil", sec_websocket_key="short")),
    (400, upgrade("/ws").replace(b"HTTP/1.1", b"HTTP/1.0")),
    (403, upgrade("/ws", "Origin: http://evil", "Authorization: Bearer x")),
    (401, upgrade("/ws", "Authorization: Bearer x")),
]


@pytest.mark.parametrize(("status", "request_bytes"), IN_ORDER)
def test_the_first_fault_decides(server: ServerProcess, status: int, request_bytes: bytes) -> None:
    response = http(server, request_bytes)
    assert response.status == status
    assert response.headers["connection"] == "close"
    if status == 426:
        assert response.headers["upgrade"] == "websocket"
        assert response.headers["sec-websocket-version"] == "13"


def test_health_needs_no_key_and_only_reads(server: ServerProcess) -> None:
    for path in ("/healthz", "/readyz"):
        for version in ("1.0", "1.1"):
            response = http(server, get(path, version=version))
            assert (response.status, response.headers["connection"]) == (200, "close")
        assert http(server, get(path, method="POST")).status == 405
    assert isinstance(json.loads(http(server, get("/readyz")).body), dict)
    for path in ("/metrics", "/api/publish", "/", "/docs"):
        assert http(server, get(path)).status == 404


def test_health_is_served_where_others_are_refused() -> None:
    with (
        ServerProcess("--max-connections", "1", "--max-connections-per-ip", "1") as server,
        Talker.welcomed(server),
    ):
        full = http(server, upgrade())
        assert full.status == 503
        assert int(full.headers["retry-after"]) > 0
        assert http(server, get("/healthz")).status == 200
        ready = http(server, get("/readyz"))
        assert ready.status == 503
        assert json.loads(ready.body)["checks"]["accepting"] is False


def test_addresses_get_429_and_setting_the_limit_ends_the_exemption_of_loopback() -> None:
    with ServerProcess("--max-connections-per-ip", "2") as server:
        clients = [Talker.welcomed(server) for _ in range(2)]
        refused = http(server, upgrade())
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 0
        assert http(server, upgrade("/none")).status == 429
        with Talker.welcomed(server, source="127.0.0.2"):
            pass
        clients.pop().close()
        wait_until(lambda: _welcomed(server))
        clients.pop().close()
    with ServerProcess() as server:
        clients = [Talker.welcomed(server) for _ in range(101)]
        forwarded = [Talker(server) for _ in range(101)]
        statuses = []
        for client in forwarded:
            client.send(client.request(headers=[("X-Forwarded-For", "10.1.2.3")]))
            statuses.append(client.read_response().status)
        assert statuses == [101] * 100 + [429]
        for client in clients + forwarded:
            client.close()


def _welcomed(server: ServerProcess) -> bool:
    try:
        Talker.welcomed(server).close()
    except AssertionError:
        return False
    return True


def test_connects_per_second_get_503() -> None:
    with ServerProcess("--connect-rate", "5") as server:
        server.signal(signal.SIGSTOP)  # so that all come at once, however busy the machine is
        with ExitStack() as stack:
            clients = [stack.enter_context(RawClient(server.host, server.port)) for _ in range(10)]
            for client in clients:
                client.send(client.request())
            server.signal(signal.SIGCONT)
            responses = [client.read_response() for client in clients]
        assert [response.status for response in responses].count(101) >= 5
        refused = [response for response in responses if response.status == 503]
        assert len(refused) >= 3
        assert all(int(response.headers["retry-after"]) > 0 for response in refused)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        ("chat", None),
        (MSGPACK, MSGPACK),
        (f"chat, {JSON}, {MSGPACK}", JSON),
        (f"{MSGPACK}, {JSON}", MSGPACK),
        (JSON.upper(), None),
    ],
)
def test_the_first_known_subprotocol_is_echoed(server: ServerProcess, offered: str | None, chosen: str | None) -> None:
    with Talker(server, chosen or JSON) as client:
        response = client.upgrade(headers=[("Sec-WebSocket-Protocol", offered)] if offered else [])
        assert response.headers.get("sec-websocket-protocol") == chosen
        assert client.hear()["event"] == "welcome"


def test_deflate_has_no_context(server: ServerProcess) -> None:
    with RawClient(server.host, server.port) as client:
        response = client.upgrade(headers=[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")])
        extensions = {item.strip() for item in response.headers["sec-websocket-extensions"].split(";")}
        assert extensions == {"permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"}


ORIGINS = [
    ("http://a.example", "a.example", True),
    ("http://a.example", "a.example:80", True),
    ("http://a.example:80", "a.example", True),
    ("https://a.example", "a.example:443", True),
    ("https://a.example", "a.example", True),
    ("https://a.example:8443", "a.example:8443", True),
    ("http://A.Example", "a.example", True),
    ("http://a.example:8000", "a.example", False),
    ("http://a.example", "a.example:8000", False),
    ("http://b.example", "a.example", False),
    ("http://a.example.evil", "a.example", False),
    ("http://evil-a.example", "a.example", False),
    ("http://a.example@evil", "a.example", False),
    ("http://a.example/", "a.example", False),
    ("a.example", "a.example", False),
    ("", "a.example", False),
    ("null", "a.example", False),
    ("null", "null", False),
    ("file://", "a.example", False),
]


@pytest.mark.parametrize(("origin", "host", "allowed"), ORIGINS)
@pytest.mark.parametrize("path", ["/ws", "/echo", "/echo?q"])
def test_origins_of_the_same_host(server: ServerProcess, path: str, origin: str, host: str, allowed: bool) -> None:
    assert _status(server, upgrade(path, f"Origin: {origin}", host=host)) == (101 if allowed else 403)


def _status(server: ServerProcess, request: bytes) -> int:
    with RawClient(server.host, server.port) as client:
        client.send(request)
        return client.read_response().status


def test_a_list_replaces_the_same_host() -> None:
    with ServerProcess("--origins", "https://a.example,null,http://b.example:8080") as server:
        for origin, allowed in {
            "https://a.example": True,
            "https://a.example:443": True,
            "http://a.example": False,
            "null": True,
            "http://b.example:8080": True,
            "http://b.example": False,
            "http://own.example": False,
        }.items():
            status = _status(server, upgrade("/ws", f"Origin: {origin}", host="own.example"))
            assert (status == 101) == allowed, origin
        assert _status(server, upgrade()) == 101
    with ServerProcess("--origins", "*") as server:
        assert _status(server, upgrade("/ws", "Origin: null")) == 101
        assert _status(server, upgrade("/ws", "Origin: https://anybody")) == 101


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        (None, "127.0.0.1"),
        ("1.2.3.4", "1.2.3.4"),
        ("9.9.9.9, 1.2.3.4", "1.2.3.4"),
        ("1.2.3.4, 127.0.0.1", "1.2.3.4"),
        ("9.9.9.9, 1.2.3.4, 127.0.0.1", "1.2.3.4"),
    ],
)
def test_the_client_is_the_rightmost_untrusted_address(server: ServerProcess, forwarded: str | None, seen: str) -> None:
    headers = [("X-Forwarded-For", forwarded)] if forwarded else []
    with RawClient(server.host, server.port) as client:
        client.upgrade("/address", headers)
        client.send_text("?")
        assert client.read_message() == seen
    with RawClient(server.host, server.port, source="127.0.0.3") as client:
        client.upgrade("/address", headers)
        client.send_text("?")
        assert client.read_message() == "127.0.0.3"


def test_forwarded_headers_can_be_ignored() -> None:
    with (
        ServerProcess("--no-proxy-headers", source=APP) as server,
        RawClient(server.host, server.port) as client,
    ):
        client.upgrade("/address", [("X-Forwarded-For", "1.2.3.4")])
        client.send_text("?")
        assert client.read_message() == "127.0.0.1"


@pytest.mark.parametrize("path", ["/ws", "/echo"])
def test_a_message_of_exactly_the_limit_is_allowed(server: ServerProcess, path: str) -> None:
    with RawClient(server.host, server.port) as client:
        client.upgrade(path)
        if path == "/ws":
            client.read_message()
        text = '{"cmd":"ping","id":1,"x":"' + "y" * (65536 - 28) + '"}'
        client.send_text(text)
        assert str(client.read_message()).startswith('{"id":1,"result":' if path == "/ws" else '{"cmd":"ping"')
        client.send_text(text + " ")
        assert client.read_close() == (1009, "too big")


def test_limits_of_the_head(server: ServerProcess) -> None:
    line = "/ws?" + "x" * (8192 - len("GET /ws? HTTP/1.1"))
    assert _status(server, upgrade(line)) == 101
    assert _status(server, upgrade(line + "x")) == 414
    for count, status in ((95, 101), (96, 431)):
        assert _status(server, upgrade("/ws", *[f"X-{i}: 1" for i in range(count)])) == status
    base = len(upgrade("/ws", "X: "))
    for surplus, status in ((0, 101), (1, 431)):
        assert _status(server, upgrade("/ws", "X: " + "y" * (16384 - base + surplus))) == status
    assert _status(server, upgrade("/ws", "X: caf\xe9\xff\x80")) == 101
    assert _status(server, upgrade("/ws", "X\xe9: 1")) == 400


def test_the_handshake_has_one_deadline_however_slowly_it_comes() -> None:
    with ServerProcess("--handshake-timeout", "0.5") as server:
        with RawClient(server.host, server.port) as silent, RawClient(server.host, server.port) as drip:
            drip.socket.settimeout(0.05)
            answer = b""
            for byte in upgrade():
                drip.send(bytes([byte]))
                try:
                    answer = drip.socket.recv(65536)
                except TimeoutError:
                    continue
                break
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
            ended = silent.read_until_eof()
            assert ended == b"" or ended.startswith(b"HTTP/1.1 408 ")
        with RawClient(server.host, server.port) as client:
            client.upgrade()
            client.send(build_frame(9, b"still here"))
            client.read_message()
            assert client.read_frame().payload == b"still here"
