"""Handshakes that are slow, endless, odd or two-faced: the stated answer, bounded memory, and nobody else is harmed."""

import re
import time

import pytest

from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + KEY
GOOD = b"GET /echo HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"\r\n"
MEGABYTE = 1 << 20


def good_but(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new)


REFUSED = {
    "bare LF": (GOOD.replace(b"\r\n", b"\n"), 400),
    "bare CR": (GOOD.replace(b"\r\n", b"\r") + b"\r\n\r\n", 400),
    "one bare LF": (good_but(b"Host: a\r\n", b"Host: a\n"), 400),
    "empty line first": (b"\r\n" + GOOD, 400),
    "folded header": (good_but(b"Upgrade: websocket", b"Upgrade:\r\n websocket"), 400),
    "NUL": (good_but(b"Host: a", b"Host: a\x00b"), 400),
    "vertical tab as line end": (good_but(b"Host: a\r\n", b"Host: a\x0bX: y\r\n"), 400),
    "odd bytes in a name": (good_but(b"Host: a\r\n", b"Host: a\r\n\xff\xfe: x\r\n"), 400),
    "NEL in a name": (good_but(b"Host: a\r\n", b"Host: a\r\nX\x85Y: x\r\n"), 400),
    "space before the colon": (good_but(b"Host: a", b"Host : a"), 400),
    "two hosts": (good_but(b"Host: a\r\n", b"Host: a\r\nHost: b\r\n"), 400),
    "no host": (good_but(b"Host: a\r\n", b""), 400),
    "another version of HTTP": (good_but(b"HTTP/1.1", b"HTTP/2.0"), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n", 400),
    "a body": (good_but(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"), 400),
    "a chunked body": (good_but(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
    "two lengths": (good_but(b"\r\n\r\n", b"\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello"), 400),
    "an upgrade of HTTP/1.0": (good_but(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "a short key": (good_but(b"ZQ==", b""), 400),
    "two keys": (good_but(KEY, KEY.partition(b"\r\n")[0] + b"\r\n" + KEY), 400),
    "an old version": (good_but(b"Version: 13", b"Version: 8"), 426),
    "a POST": (good_but(b"GET", b"POST"), 405),
    "another origin": (good_but(b"\r\n\r\n", b"\r\nOrigin: http://b\r\n\r\n"), 403),
    "an opaque origin": (good_but(b"\r\n\r\n", b"\r\nOrigin: null\r\n\r\n"), 403),
    "the same host on another port": (good_but(b"\r\n\r\n", b"\r\nOrigin: http://a:81\r\n\r\n"), 403),
    "another path": (good_but(b"/echo", b"/echo/"), 404),
    "a long request line": (good_but(b"/echo", b"/echo?" + b"a" * 9000), 414),
    "many headers": (good_but(b"\r\n\r\n", b"\r\n" + b"a: b\r\n" * 200 + b"\r\n"), 431),
    "a large header": (good_but(b"\r\n\r\n", b"\r\na: " + b"b" * 20_000 + b"\r\n\r\n"), 431),
}


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals(server: ServerProcess, request_bytes: bytes, status: int) -> None:
    """The rest of what was sent, a second request too, is never taken for one."""
    with RawClient(server.host, server.port) as client:
        client.send(request_bytes + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = client.read_until_eof()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in head.lower()
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    assert body.startswith(b'{"error":')
    if status == 426:
        assert b"sec-websocket-version: 13" in head.lower()


@pytest.mark.parametrize("piece", [b"a" * 65_536, b"a: b\r\n" * 10_000, b"\r\n" * 10_000, b"\x00" * 65_536])
def test_endless_heads_take_no_memory(server: ServerProcess, piece: bytes) -> None:
    before = server.rss()
    for start in (b"", b"GET / HTTP/1.1\r\n"):
        with RawClient(server.host, server.port) as client:
            try:
                client.send(start)
                for _ in range(200):
                    client.send(piece)
            except OSError:
                continue
    assert server.rss() - before < 8 * MEGABYTE


def test_slow_heads_end_at_the_deadline(server: ServerProcess) -> None:
    """A byte every now and then buys no more time, and hundreds of them cost little."""
    before = server.rss()
    begun = time.monotonic()
    clients = [RawClient(server.host, server.port) for _ in range(200)]
    for number, client in enumerate(clients):
        client.send(GOOD[: number % len(GOOD)])
    time.sleep(1)
    for number, client in enumerate(clients[:100]):
        client.send(GOOD[number % len(GOOD) :][:1])
    for client in clients:
        answer = client.read_until_eof()
        assert answer.startswith(b"HTTP/1.1 408 ") or answer == b""
        client.close()
    assert 2 < time.monotonic() - begun < 9
    assert server.rss() - before < 8 * MEGABYTE


def test_connections_that_come_and_go(server: ServerProcess) -> None:
    descriptors = server.descriptors()
    for number in range(300):
        client = RawClient(server.host, server.port)
        client.send(GOOD[: number % len(GOOD)])
        if number % 2:
            client.reset()
        else:
            client.close()
    wait_until(lambda: server.descriptors() <= descriptors)
