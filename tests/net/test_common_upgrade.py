"""The common upgrade, answered in compiled code, and the whole table rule alike on every request, good or bad."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import pytest

from fastws.config import Settings
from fastws.core.law import Law
from fastws.core.proxies import TrustedProxies
from fastws.core.upgrade import OriginRules, UpgradeRules, origin_rules
from fastws.gateway.auth.gate import Credentials, Gate
from fastws.gateway.auth.tokens import sign
from fastws.net.admission import Admission
from fastws.net.connection import Connection
from fastws.net.http import Site, SocketPath
from fastws.net.ingress import Ingress
from fastws.net.session import Details
from fastws_ext.endpoint import Endpoint
from fastws_ext.loop_data import LoopData

from .serving import KEY

REQUESTS = 10_000

SECRET = "a secret of thirty-two characters at least"
GOOD = sign({"sub": "42"}, SECRET).encode()
EXPIRED = sign({"sub": "42", "exp": 1}, SECRET).encode()

LINES = [
    b"Host: example.com",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: " + KEY.encode(),
    b"Sec-WebSocket-Version: 13",
]
OTHERS = [
    b"Origin: http://example.com",
    b"Origin: https://example.com",
    b"Origin: http://EXAMPLE.com",
    b"Origin: http://evil.example",
    b"Origin: null",
    b"Origin: ",
    b"Origin:http://example.com:80",
    b"origin: http://example.com:8000",
    b"Host: example.com:8000",
    b"Host: EXAMPLE.com",
    b"Host: [::1]:8000",
    b"Host: [[",
    b"Host: ]",
    b"Host: a:b:c",
    b"Host: a:999999",
    b"Host: a:",
    b"Host:",
    b"Host: a b",
    b"Connection: keep-alive, Upgrade",
    b"Connection: keep-alive,upgrade ,",
    b"Connection: close",
    b"Connection: Upgraded",
    b"Upgrade: WebSocket",
    b"Upgrade: websocket, h2c",
    b"Upgrade: h2c",
    b"Sec-WebSocket-Version: 8",
    b"Sec-WebSocket-Version: 13 ",
    b"Sec-WebSocket-Version: 013",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAB==",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAA===",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA-A==",
    b"Sec-WebSocket-Key: short",
    b"Sec-WebSocket-Extensions: permessage-deflate",
    b"Sec-WebSocket-Protocol: chat",
    b"Sec-WebSocket-Protocol: other , chat,, more",
    b"Sec-WebSocket-Protocol: CHAT",
    b"Sec-WebSocket-Protocol:",
    b"Sec-WebSocket-Protocol: fastws.token." + GOOD + b", chat",
    b"Sec-WebSocket-Protocol: fastws.token.x, chat",
    b"Sec-WebSocket-Protocol: more, \xff",
    b"Sec-WebSocket-Protocol: a b",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Authorization: Bearer x",
    b"Authorization: bEARER  " + GOOD,
    b"Authorization: Bearer " + GOOD,
    b"Authorization: Bearer " + EXPIRED,
    b"Authorization: Basic eDp5",
    b"X-Forwarded-For: 1.2.3.4",
    b"Expect: 100-continue",
    b"X-Any: \xff\tvalue",
    b"X-Any:\tvalue\t",
    b"X-Empty:",
    b"X Bad: 1",
    b"X-Bad : 1",
    b"X-Bad\xff: 1",
    b"X-Bad: a\x00b",
    b"X-Bad: a\x7fb",
    b"X-Bad: a\rb",
    b"X-Bad: a\nb",
    b" folded: 1",
    b": nameless",
    b"nothing",
    b"X-Long: " + b"a" * 17000,
    b"X: 1\r\n" * 99 + b"X: 1",
]
FIRSTS = [
    b"GET /echo HTTP/1.1",
    b"GET /echo HTTP/1.1",
    b"GET /echo HTTP/1.1",
    b"GET /echo HTTP/1.1",
    b"GET /echo?a=1 HTTP/1.1",
    b"GET /echo?token=" + GOOD + b" HTTP/1.1",
    b"GET /echo?a=%20&token=" + GOOD + b'&b="? HTTP/1.1',
    b"GET /echo?token=" + EXPIRED + b" HTTP/1.1",
    b"GET /echo?token=%78 HTTP/1.1",
    b"GET /echo?a#b HTTP/1.1",
    b"GET /echo?a\x80 HTTP/1.1",
    b"GET /echo?a b HTTP/1.1",
    b"GET /echo?" + b"a" * 8200 + b" HTTP/1.1",
    b"GET /echo? HTTP/1.1",
    b"GET /echo/ HTTP/1.1",
    b"GET /%65cho HTTP/1.1",
    b"GET /echo# HTTP/1.1",
    b"GET /echo\x80 HTTP/1.1",
    b"GET //echo HTTP/1.1",
    b"GET /echo HTTP/1.0",
    b"GET /echo HTTP/1.2",
    b"GET  /echo HTTP/1.1",
    b"GET /echo  HTTP/1.1",
    b"get /echo HTTP/1.1",
    b"POST /echo HTTP/1.1",
    b"GET http://example.com/echo HTTP/1.1",
    b"GET /" + b"a" * 8200 + b" HTTP/1.1",
]


class RecordingTransport(asyncio.Transport):
    """Keeps what is written; everything fits."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write_eof(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None: ...

    def abort(self) -> None: ...


def generated(seed: int) -> bytes:
    """An upgrade, mostly good, with some lines replaced, added, doubled, dropped or moved."""
    chance = random.Random(seed)
    lines = list(LINES)
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        what = chance.random()
        if what < 0.6:
            other = chance.choice(OTHERS)
            name = other.partition(b":")[0].lower()
            same = [line for line in lines if line.partition(b":")[0].lower() == name]
            if same and chance.random() < 0.8:
                lines[lines.index(same[0])] = other
            else:
                lines.insert(chance.randint(0, len(lines)), other)
        elif what < 0.75 and lines:
            lines.insert(chance.randint(0, len(lines)), chance.choice(lines))
        elif what < 0.85 and lines:
            lines.pop(chance.randrange(len(lines)))
        else:
            chance.shuffle(lines)
    if chance.random() < 0.2:
        lines = [line.upper() if chance.random() < 0.5 else line.lower() for line in lines]
    data = b"\r\n".join([chance.choice(FIRSTS), *lines, b"", b""])
    if chance.random() < 0.1:
        position = chance.randrange(len(data))
        data = data[:position] + bytes([chance.randrange(256)]) + data[position + 1 :]
    return data


def answer_to(ingress: Ingress, request: bytes) -> tuple[bytes, bool, Any]:
    """(what was answered but for its date, whether the WebSocket is open, what is known then)."""
    transport = RecordingTransport()
    conn = Connection(ingress)
    conn.connection_made(transport)
    conn.data_received(request)
    written, opened = re.sub(rb"Date: [^\r]*\r\n", b"", transport.written), conn.phase == 1
    details = conn.session.details if conn.session is not None else Details()
    known = (details.query, details.subprotocol, details.credentials or Credentials())
    conn.connection_lost(None)
    return written, opened, known


@pytest.mark.parametrize("settings", [{"jwt_secret": SECRET}, {"jwt_secret": SECRET, "anonymous": True}, None])
@pytest.mark.parametrize("listed", [False, True], ids=["origin is the host", "origins from a list"])
def test_both_rule_alike(listed: bool, settings: dict[str, Any] | None) -> None:
    authenticate = Gate(Settings(**settings)).of_protocol if settings is not None else None
    wants_request = settings is not None

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop_data = LoopData(loop)
        endpoint = Endpoint(loop_data, "/echo", law_factory=Law)
        origins = origin_rules(["http://example.com"]) if listed else OriginRules()
        ingresses = []
        for common in (True, False):
            rules = UpgradeRules(origins, ("chat", "more"))
            path = SocketPath(endpoint, rules, wants_request, is_common=common, authenticate=authenticate)
            proxies = TrustedProxies(["127.0.0.1"])
            site = Site(sockets={b"/echo": path}, origins=origins, proxies=proxies)
            ingresses.append(Ingress(loop_data, loop, site, Admission(), timeout_s=0))
        quick, whole = ingresses
        for seed in range(REQUESTS):
            request = generated(seed)
            assert answer_to(quick, request) == answer_to(whole, request), (seed, request)
            if not seed % 500:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert quick.common > REQUESTS // 30
        assert whole.common == 0
        assert quick.outcomes == whole.outcomes
        assert len(quick.outcomes) >= 7
        assert quick.connections == whole.connections == 0
        assert quick.admission.admitted == whole.admission.admitted == 0

    asyncio.run(main())
