"""Heads that are too much or not quite HTTP: 400, 414 or 431 at a bounded cost, and never a second reading of them."""

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.hostile.conftest import ECHO
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import Stopwatch

APP = (
    ECHO
    + """

@app.http("/headers")
def headers(request):
    return {name: request.headers[name] for name in ("x", "y") if name in request.headers}
"""
)
FIRST = b"GET /echo HTTP/1.1\r\n"
REST = (
    b"Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
GOOD = FIRST + REST + b"\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--ping-interval", "0", source=APP) as process:
        yield process


def with_line(line: bytes) -> bytes:
    return FIRST + REST + line + b"\r\n\r\n"


def with_target(line: bytes) -> bytes:
    return line + b"\r\n" + REST + b"\r\n"


MALFORMED = {
    "bare LF": GOOD.replace(b"\r\n", b"\n"),
    "bare LF after the first line": GOOD.replace(b"\r\n", b"\n", 1),
    "bare LF before the last": GOOD[:-4] + b"\n\r\n",
    "bare LF at the end": GOOD[:-2] + b"\n",
    "bare CR": GOOD.replace(b"\r\n", b"\r") + b"\r\n\r\n",
    "CR CR LF": GOOD.replace(b"\r\n", b"\r\r\n") + b"\r\n\r\n",
    "LF CR": GOOD.replace(b"\r\n", b"\n\r"),
    "an empty line in front": b"\r\n" + GOOD,
    "folding": with_line(b"X: a\r\n b"),
    "folding with a tab": with_line(b"X: a\r\n\tb"),
    "folding of nothing": with_line(b"X:\r\n \r\n y"),
    "a folded first header": FIRST + b" X: a\r\n" + REST + b"\r\n",
    "NUL in a value": with_line(b"X: a\x00b"),
    "NUL in a name": with_line(b"X\x00: a"),
    "NUL in the target": with_target(b"GET /echo\x00 HTTP/1.1"),
    "NUL in the method": with_target(b"GE\x00T /echo HTTP/1.1"),
    "CR in a value": with_line(b"X: a\rY: b"),
    "DEL in a value": with_line(b"X: \x7f"),
    "space before the colon": with_line(b"X : a"),
    "tab before the colon": with_line(b"X\t: a"),
    "no colon": with_line(b"XY"),
    "no name": with_line(b": a"),
    "space in a name": with_line(b"X Y: a"),
    "obs-text in a name": with_line(b"X\xe9: a"),
    "UTF-8 in a name": with_line("Ünïcode: a".encode()),
    "brackets in a name": with_line(b"X[]: a"),
    "two spaces": with_target(b"GET  /echo HTTP/1.1"),
    "a tab": with_target(b"GET\t/echo HTTP/1.1"),
    "a space behind": with_target(b"GET /echo HTTP/1.1 "),
    "a space in the target": with_target(b"GET /ec ho HTTP/1.1"),
    "no version": with_target(b"GET /echo"),
    "another version": with_target(b"GET /echo HTTP/1.2"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /echo\r\n\r\n",
    "lower case": with_target(b"GET /echo http/1.1"),
    "a method of signs": with_target(b"G(T /echo HTTP/1.1"),
    "no slash": with_target(b"GET echo HTTP/1.1"),
    "absolute": with_target(b"GET http://a/echo HTTP/1.1"),
    "authority": with_target(b"CONNECT a:80 HTTP/1.1"),
    "asterisk": with_target(b"OPTIONS * HTTP/1.1"),
    "fragment": with_target(b"GET /echo#x HTTP/1.1"),
    "high bytes in the target": with_target(b"GET /\xc3\xa9cho HTTP/1.1"),
    "no host": GOOD.replace(b"Host: a\r\n", b""),
    "two hosts": with_line(b"Host: a"),
    "two hosts that differ": with_line(b"Host: evil"),
    "a host with a path": GOOD.replace(b"Host: a", b"Host: a/b"),
    "a host with a user": GOOD.replace(b"Host: a", b"Host: x@a"),
    "a host with a space": GOOD.replace(b"Host: a", b"Host: a b"),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\n" * 2,
    "bytes": bytes(range(256)),
}


def refusal(server: ServerProcess, request: bytes) -> int:
    """The status of the only answer, after which the connection ends."""
    with RawClient(server.host, server.port) as client:
        client.send(request)
        response = client.read_response()
        assert response.headers["connection"] == "close"
        assert json.loads(response.body)["error"]["message"]
        assert client.read_until_eof() == b""
        return response.status


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_400(server: ServerProcess, request_bytes: bytes) -> None:
    assert refusal(server, request_bytes) == 400


@pytest.mark.parametrize("byte", [*range(32), 127])
def test_no_control_byte_is_read_as_a_line_end_or_a_blank(server: ServerProcess, byte: int) -> None:
    for place in (b"X: a%cb", b"X%c: a", b"X: a%cConnection: close"):
        request = with_line(place.replace(b"%c", bytes([byte])))
        expected = 101 if byte == 9 and not place.startswith(b"X%c") else 400
        with RawClient(server.host, server.port) as client:
            client.send(request)
            assert client.read_response().status == expected, (place, byte)


# What splitlines and str.strip take for line ends and blanks.
EXOTIC = [b"\x85", b"\xa0", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xe3\x80\x80", b"\xef\xbb\xbf", b"\xff"]


@pytest.mark.parametrize("exotic", EXOTIC, ids=bytes.hex)
def test_exotic_line_ends_and_blanks_are_bytes_of_the_value(server: ServerProcess, exotic: bytes) -> None:
    with RawClient(server.host, server.port) as client:
        value = exotic + b"a" + exotic + b"Y: b" + exotic
        client.send(b"GET /headers HTTP/1.1\r\nHost: a\r\nX: " + value + b"\r\n\r\n")
        response = client.read_response()
        assert response.status == 200
        assert json.loads(response.body) == {"x": value.decode("latin-1")}
    with RawClient(server.host, server.port) as client:
        client.send(with_line(b"X: a" + exotic + b"Origin: http://evil"))
        assert client.read_response().status == 101
    for request in (
        GOOD.replace(b"\r\n", exotic, 2),
        GOOD.replace(b"Upgrade\r\n", b"Upgrade" + exotic + b"\r\n"),
        GOOD.replace(b": websocket", b": " + exotic + b"websocket"),
        with_line(exotic + b"X: a"),
        with_line(b"X" + exotic + b": a"),
    ):
        assert refusal(server, request) in (400, 426)


TOO_MUCH = {
    "a long line": (b"GET /" + b"x" * 100_000, 414),
    "a long line of blanks": (b"GET " + b" " * 100_000, 414),
    "a long method": (b"G" * 100_000, 414),
    "a long query": (b"GET /?" + b"a&" * 50_000, 414),
    "a long value": (FIRST + b"X: " + b"y" * 100_000, 431),
    "a long name": (FIRST + b"X" * 100_000, 431),
    "a value of blanks": (FIRST + b"X:" + b" " * 100_000, 431),
    "many headers": (FIRST + REST + b"X: y\r\n" * 20_000, 431),
    "many empty headers": (FIRST + REST + b"X:\r\n" * 30_000, 431),
    "many headers of one name": (FIRST + REST + b"Origin: a\r\n" * 10_000, 431),
    "NUL and NUL": (b"\x00" * 100_000, 414),
    "a hundred and one": (FIRST + b"X:\r\n" * 96 + REST + b"\r\n", 431),
}


@pytest.mark.parametrize(("request_bytes", "status"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_too_much_is_refused_before_it_is_read(server: ServerProcess, request_bytes: bytes, status: int) -> None:
    assert refusal(server, request_bytes) == status


def test_a_flood_of_headers_costs_little(server: ServerProcess) -> None:
    refusal(server, TOO_MUCH["a long line"][0])
    memory, cpu = server.rss(), server.cpu_s()
    for request_bytes, _ in TOO_MUCH.values():
        for _ in range(5):
            with RawClient(server.host, server.port) as client, suppress(OSError):  # it hangs up while we are writing
                client.send(request_bytes * 20)
    assert server.rss() - memory < 2_000_000
    assert server.cpu_s() - cpu < 1.0


def test_the_cost_of_a_head_is_linear(server: ServerProcess) -> None:
    blanks = FIRST + REST + b"X: " + b" \t" * 7_900 + b"\r\n\r\n"
    commas = FIRST + REST.replace(b"Upgrade\r\n", b"Upgrade" + b"," * 15_000 + b"\r\n") + b"\r\n"
    protocols = FIRST + REST + b"Sec-WebSocket-Protocol: " + b"a, " * 5_000 + b"a\r\n\r\n"
    extensions = FIRST + REST + b"Sec-WebSocket-Extensions: " + b"a;b=c," * 2_500 + b"\r\n\r\n"
    for request in (blanks, commas, protocols, extensions):
        begun = server.cpu_s()
        for _ in range(20):
            with RawClient(server.host, server.port) as client:
                client.send(request)
                assert client.read_response().status in (101, 400)
        assert server.cpu_s() - begun < 1.0


def test_a_flood_of_wrong_heads_starves_nobody(server: ServerProcess) -> None:
    with RawClient(server.host, server.port) as bystander:
        bystander.upgrade("/echo")
        wrong = list(MALFORMED.values())
        for number in range(300):
            with RawClient(server.host, server.port) as client:
                client.send(wrong[number % len(wrong)])
                watch = Stopwatch()
                bystander.send_text("?")
                assert bystander.read_message() == "?"
                assert watch.own_s < 1.5
                assert client.read_response().status == 400
