"""Requests that two programs could read differently, and pages of other sites: refused, and nothing after them."""

import http.client
import json
from collections.abc import Iterator

import pytest

from tests.hostile.conftest import ECHO
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess

APP = (
    ECHO
    + """

served = []


@app.http("/count")
def count(request):
    return {"served": len(served)}


@app.http("/page", methods=("GET", "POST"))
def page(request):
    served.append(request.path)
    return request.body
"""
)
USUAL = (
    "Host: a.example",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
INNER = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--ping-interval", "0", source=APP) as process:
        yield process


def head(*lines: str, line: str = "GET /echo HTTP/1.1", without: str = "-") -> bytes:
    usual = [header for header in USUAL if not header.startswith(without)]
    return "\r\n".join([line, *usual, *lines, "", ""]).encode("latin-1")


def count_of(server: ServerProcess) -> int:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    connection.request("GET", "/count")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200
    return int(json.loads(body)["served"])


def page(*lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} /page HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")


REFUSED = {
    # The upgrade and a body
    "a body": (head("Content-Length: 5") + b"hello", 400),
    "a body that is a request": (head(f"Content-Length: {len(INNER)}") + INNER, 400),
    "a body of chunks": (head("Transfer-Encoding: chunked") + b"0\r\n\r\n" + INNER, 400),
    "an upgrade that is no GET": (head(f"Content-Length: {len(INNER)}", line="POST /echo HTTP/1.1") + INNER, 405),
    "a method in lower case": (head(line="get /echo HTTP/1.1"), 405),
    "a method that another header names": (head("X-HTTP-Method-Override: GET", line="POST /echo HTTP/1.1"), 405),
    "HTTP/1.0": (head(line="GET /echo HTTP/1.0"), 400),
    # Lengths
    "chunks and a length": (page("Transfer-Encoding: chunked", "Content-Length: 0") + INNER, 400),
    "a length and chunks": (page("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "chunks": (page("Transfer-Encoding: chunked") + b"0\r\n\r\n" + INNER, 400),
    "no chunks": (page("Transfer-Encoding: identity"), 400),
    "xchunked": (page("Transfer-Encoding: xchunked"), 400),
    "two lengths": (page("Content-Length: 0", "Content-Length: 5") + INNER, 400),
    "two lengths that agree": (page("Content-Length: 0", "Content-Length: 0"), 400),
    "a list of lengths": (page("Content-Length: 0, 0"), 400),
    **{f"length {text!r}": (page(f"Content-Length: {text}") + INNER, 400) for text in ("+5", "-1", "0x5", "5 5", "")},
    **{f"length {text!r}": (page(f"Content-Length: {text}"), 400) for text in ("1_0", "5.0", "1e1", "\xb2", "9" * 30)},
    # The upgrade itself
    "another version": (head("Sec-WebSocket-Version: 12", without="Sec-WebSocket-Version") + INNER, 426),
    "versions": (head("Sec-WebSocket-Version: 8, 13", without="Sec-WebSocket-Version"), 426),
    "two versions": (head("Sec-WebSocket-Version: 8"), 426),
    "h2c": (head("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", without="Upgrade") + INNER, 426),
    "no connection header": (head(without="Connection") + INNER, 426),
    "connection keep-alive": (head("Connection: keep-alive", without="Connection") + INNER, 426),
    "no upgrade": (head(without="Upgrade") + INNER, 426),
    "two keys": (head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
    "no key": (head(without="Sec-WebSocket-Key") + INNER, 400),
    "a key of 15 bytes": (head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j", without="Sec-WebSocket-Key"), 400),
    "a key that is not canonical": (
        head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==", without="Sec-WebSocket-Key"),
        400,
    ),
    # Paths are compared as they are
    **{
        f"path {path}": (head(line=f"GET {path} HTTP/1.1") + INNER, 404)
        for path in ("//echo", "/echo/", "/Echo", "/%65cho", "/./echo", "/x/../echo", "/echo;x", "/echo%00", "/echo%3F")
    },
}


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_and_the_rest_is_discarded(server: ServerProcess, request_bytes: bytes, status: int) -> None:
    before = count_of(server)
    with RawClient(server.host, server.port) as client:
        client.send(request_bytes + INNER * 3)
        response = client.read_response()
        assert response.status == status
        assert response.headers["connection"] == "close"
        assert client.read_until_eof() == b""
    assert count_of(server) == before


def test_one_request_a_connection(server: ServerProcess) -> None:
    before = count_of(server)
    with RawClient(server.host, server.port) as client:
        client.send(page("Connection: keep-alive", "Content-Length: 2") + b"hi" + INNER * 5)
        response = client.read_response()
        assert (response.status, response.body, response.headers["connection"]) == (200, b"hi", "close")
        assert client.read_until_eof() == b""
    assert count_of(server) == before + 1


def test_after_the_upgrade_nothing_is_a_request(server: ServerProcess) -> None:
    before = count_of(server)
    with RawClient(server.host, server.port) as client:
        client.send(head() + INNER)
        assert client.read_response().status == 101
        assert client.read_close() == (1002, "protocol")
        assert client.ending() == "fin"
    assert count_of(server) == before


def test_an_empty_body_is_none(server: ServerProcess) -> None:
    with RawClient(server.host, server.port) as client:
        client.send(head("Content-Length: 0"))
        assert client.read_response().status == 101


FOREIGN = [
    *("http://evil.example", "https://evil.example", "null", "", "a.example", "http://", "http:a.example"),
    *("http://a.example.evil.example", "http://evil-a.example", "http://evil.example/a.example"),
    *("http://a.example@evil.example", "http://evil.example#a.example", "http://a.example\\@evil.example"),
    *("http://a.example:8080", "http://a.example:", "http://a.example:80a", "https://a.example:80", "ftp://a.example"),
    *("http://a.example http://evil.example", "http://evil.example, http://a.example", "http://a.example/"),
    *("http://a.example.", "http://[a.example]", "http://a%2eexample", "file://a.example", "http://\xe0.example"),
    *("javascript://a.example", "chrome-extension://a.example", "HTTP://EVIL.EXAMPLE"),
]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("path", ["/echo", "/ws", "/echo?with=query"])
def test_pages_of_other_sites_may_not_connect(server: ServerProcess, path: str, origin: str) -> None:
    with RawClient(server.host, server.port) as client:
        client.send(head(f"Origin: {origin}", "X-Forwarded-Host: evil.example", line=f"GET {path} HTTP/1.1"))
        assert client.read_response().status == 403
        assert client.read_until_eof() == b""


def test_two_origins_are_none(server: ServerProcess) -> None:
    for lines in (("Origin: http://a.example",) * 2, ("Origin: http://a.example", "origin: http://evil.example")):
        with RawClient(server.host, server.port) as client:
            client.send(head(*lines))
            assert client.read_response().status == 400


def test_the_own_page_may(server: ServerProcess) -> None:
    for origin in ("http://a.example", "http://a.example:80", "https://a.example", "HTTP://A.EXAMPLE"):
        with RawClient(server.host, server.port) as client:
            client.send(head(f"Origin: {origin}"))
            assert client.read_response().status == 101
