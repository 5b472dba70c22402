"""Request heads: compiled code, the full table and h11 read them alike, in any pieces.

Input: a byte of options (which origins may connect, deflate, subprotocols), a byte for the size of the pieces (0:
whole), then what a client sends first. It is given to an ingress that decides common upgrades itself and to one that
leaves all of them to the table; whatever the parser accepts, h11 has to read as the same request.
"""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha1
from typing import Any, cast

import h11

from fastws.core.law import Law
from fastws.core.request import Request, RequestError, parse_request
from fastws.core.upgrade import Accept, OriginRules, UpgradeRules, judge_upgrade, origin_rules
from fastws_ext.endpoint import Endpoint
from fastws_ext.handshake import FastIngress
from fastws_ext.loop_data import LoopData
from fastws_ext.wire import Wire
from tests.differential.subjects import ManualLoop
from tests.fastws_ext.stage import COMMON, HI, KEY, LONG_PATH, RecordingTransport, replaced, with_path

MAX_BYTES = 20_000
WORDS = (
    *(b"GET / HTTP/1.1\r\n", b"GET /ws HTTP/1.1\r\n", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n", b"\r\n\r\n"),
    *(b"Host: a\r\n", b"Host: a:80\r\n", b"Host: [::1]:8000\r\n", b"Upgrade: websocket\r\n"),
    *(b"Connection: Upgrade\r\n", b"Connection: keep-alive, Upgrade\r\n", b"Sec-WebSocket-Version: 13\r\n"),
    *(b"Sec-WebSocket-Key: " + KEY + b"\r\n", b"Origin: http://a\r\n", b"Origin: https://a:443\r\n"),
    *(
        b"Origin: null\r\n",
        b"Sec-WebSocket-Protocol: chat\r\n",
        b"Authorization: Bearer x\r\n",
        b"Expect: 100-continue",
    ),
    *(b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"X-Forwarded-For: 1.2.3.4\r\n", b"Cookie: \xe4\r\n", b": ", b" :", b"\t"),
    *(b"\n", b"\r", b"\0", b"\x7f", b"?", b"#", b"%", b",", b"==", b"http://", b" "),
)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ORIGINS = (OriginRules(), origin_rules(["*"]), origin_rules(["https://a", "http://example.com:81"]))
_PATHS = (b"/ws", b"/", LONG_PATH)


class _Table(FastIngress):
    """Decides by the parser and the table of the core, and keeps what the parser accepted."""

    rules: UpgradeRules
    endpoint: Endpoint
    read: list[tuple[bytes, Request]]

    def on_request(self, conn: Any, data: bytes) -> None:
        try:
            request = parse_request(data)
        except RequestError as error:
            conn.respond(_refusal(error.status, str(error)))
            return
        self.read.append((data, request))
        verdict = judge_upgrade(request, self.rules)
        if request.path not in _PATHS:
            conn.respond(b"404")
        elif isinstance(verdict, Accept):
            conn.accept(self.endpoint, verdict.answer, request.head_size)
        else:
            conn.respond(b"%d" % verdict.status)


def _refusal(status: int, message: str) -> bytes:
    assert status in (400, 414, 431)
    assert message.isascii()
    assert message.isprintable()
    return b"%d" % status


class _Rig:
    """One server's HTTP stage under the rules that `options` choose."""

    def __init__(self, options: int) -> None:
        self.loop = ManualLoop()
        self.loop_data = LoopData(cast("Any", self.loop))
        self.endpoint = Endpoint(
            self.loop_data, "/ws", ping_interval=0, law_factory=Law, on_message=lambda conn, message: conn.send(message)
        )
        origins = _ORIGINS[options & 3]
        deflate = bool(options & 16)
        self.rules = UpgradeRules(origins, ("chat", "fastws.json.v1") if options & 32 else (), deflate)
        self.fast = self._ingress()
        self.fast.routes = dict.fromkeys(_PATHS, self.endpoint)
        self.fast.same_host_origins = origins == OriginRules()
        self.fast.decline_extensions = not deflate
        self.full = self._ingress()

    def _ingress(self) -> _Table:
        ingress = _Table(self.loop_data, handshake_timeout=0)
        ingress.rules, ingress.endpoint, ingress.read = self.rules, self.endpoint, []
        return ingress

    def answer(self, ingress: _Table, data: bytes, step: int) -> bytes:
        """What a client hears that sends `data` in pieces of `step` bytes."""
        wire, transport = Wire(ingress), RecordingTransport()
        wire.connection_made(transport)
        for at in range(0, len(data), step):
            wire.data_received(data[at : at + step])
        self.loop.run()
        wire.abort()
        wire.connection_lost(None)
        self.loop.run()
        assert ingress.connections == 0
        assert self.loop_data.errors == 0
        return transport.written


@cache
def _rig(options: int) -> _Rig:
    return _Rig(options)


def run(data: bytes) -> None:
    """Compare the readers."""
    if len(data) < 3:
        return
    rig = _rig(data[0] % len(_ORIGINS) | data[0] & 0x30)
    step, sent = data[1] or len(data), data[2:]
    rig.full.read.clear()
    wanted = rig.answer(rig.full, sent, len(data))
    common = rig.fast.common
    answer = rig.answer(rig.fast, sent, len(data))
    assert answer == wanted, f"compiled code says {answer!r}, the table {wanted!r}"
    if rig.fast.common > common:
        assert wanted.startswith(b"HTTP/1.1 101 "), "not for compiled code to decide"
    if len(sent) < 8192:  # what passed a limit is refused at once, and why depends on how much of it is there
        in_pieces = rig.answer(rig.fast, sent, step)
        assert in_pieces == wanted, f"in pieces of {step}: {in_pieces!r}, whole: {wanted!r}"
    for head, request in rig.full.read[:1]:
        _read_by_h11(head[: request.head_size], request)
        if wanted.startswith(b"HTTP/1.1 101 "):
            key = request.get(b"sec-websocket-key") or b""
            accept = b"\r\nSec-WebSocket-Accept: " + b64encode(sha1(key + _GUID).digest()) + b"\r\n"
            assert accept in wanted
            assert wanted.index(b"\r\n\r\n") > 0


def _read_by_h11(head: bytes, request: Request) -> None:
    """Another reader must not find another request in the same bytes: that is how requests are smuggled."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_BYTES + 1)
    connection.receive_data(head)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert event.method == request.method.encode()
    path, _, query = event.target.partition(b"?")
    assert (path, query) == (request.path, request.query)
    assert event.http_version == (b"1.1" if request.version == 11 else b"1.0")
    assert list(event.headers) == list(request.headers)


def seeds() -> Mapping[str, bytes]:
    """Upgrades of usual and unusual clients, and requests that are none."""
    heads = {
        "common": COMMON + HI,
        "root": with_path(b"/"),
        "query": with_path(b"/ws?token=a%20b&x"),
        "host-port": replaced(b"Host", b"Host: example.com:8000"),
        "host-address": replaced(b"Host", b"hOST:[::1]:80 \t"),
        "origin": replaced(b"Host", b"Host: a.example:81", b"Origin: http://a.example:81"),
        "origin-listed": replaced(b"Host", b"Host: b", b"Origin: https://a:443"),
        "browser": replaced(
            b"Host",
            b"Host: a",
            b"User-Agent: Mozilla/5.0 (X; \xc3\xa4)",
            b"Accept: */*",
            b"Cookie: a=b; c=d",
            b"X-Empty:",
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        ),
        "subprotocol": replaced(b"Host", b"Host: a", b"Sec-WebSocket-Protocol: x, fastws.json.v1, chat"),
        "connection-list": replaced(b"Connection", b"Connection: keep-alive , UPGRADE"),
        "body": replaced(b"Host", b"Host: a", b"Content-Length: 2") + b"xx",
        "chunked": replaced(b"Host", b"Host: a", b"Transfer-Encoding: chunked"),
        "folded": replaced(b"Upgrade", b"Upgrade: web", b" socket"),
        "bare-lf": COMMON.replace(b"\r\n", b"\n", 2),
        "two-hosts": replaced(b"Host", b"Host: a", b"Host: a"),
        "many-headers": replaced(b"Host", b"Host: a", *[b"X: 1"] * 96),
        "old": b"GET / HTTP/1.0\r\n\r\n",
        "post": b"POST /x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "absolute": b"GET http://a/ws HTTP/1.1\r\nHost: a\r\n\r\n",
        "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(40)),
        "long-line": b"GET /" + b"p" * 8190 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    }
    return {
        name: bytes([(0, 16, 32, 1, 2, 18, 49)[i % 7], (0, 1, 7, 30)[i % 4]]) + head
        for i, (name, head) in enumerate(heads.items())
    }
