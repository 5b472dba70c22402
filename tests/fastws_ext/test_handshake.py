"""The HTTP stage: where a head ends, and the common upgrade, which has to be answered as the full table answers it."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.core.law import Law
from fastws.core.request import MAX_HEAD, MAX_HEADERS, MAX_REQUEST_LINE, RequestError, parse_request
from fastws.core.upgrade import Accept, UpgradeRules, judge_upgrade
from fastws_ext.endpoint import Endpoint
from fastws_ext.handshake import FastIngress, accept_key
from fastws_ext.loop_data import LoopData
from fastws_ext.wire import Wire
from tests.fastws_ext.harness import CLOSED, HANDSHAKING, OPEN, on_reactor, serving, upgrade_request
from tests.support.frames import TEXT, build_frame

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
COMMON = (
    b"GET /ws HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HI = build_frame(TEXT, b"hi")
HI_ECHOED = b"\x81\x02hi"
LONG_PATH = b"/" + b"p" * (MAX_REQUEST_LINE - len(b"GET / HTTP/1.1"))  # its request line is as long as one may be
TOO_LONG_PATH = LONG_PATH + b"p"


class RecordingTransport(asyncio.Transport):
    """A transport without a socket, which keeps what is written; heads by the thousand need no kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.ended = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.ended = True

    abort = close


class FullTable(FastIngress):
    """What decides uncommon requests: the parser and the table of the core, and nothing else."""

    def __init__(self, loop_data: LoopData) -> None:
        super().__init__(loop_data)
        self.asked: list[bytes] = []
        self.endpoints: dict[bytes, Endpoint] = {}

    def on_request(self, conn: Any, data: bytes) -> None:
        self.asked.append(data)
        try:
            request = parse_request(data)
        except RequestError as error:
            conn.respond(b"%d" % error.status)
            return
        endpoint = self.endpoints.get(request.path)
        verdict = judge_upgrade(request, UpgradeRules())
        if endpoint is None:
            conn.respond(b"404")
        elif isinstance(verdict, Accept):
            conn.accept(endpoint, verdict.answer, request.head_size)
        else:
            conn.respond(b"%d" % verdict.status)


class Stage:
    """An ingress with two paths, and connections to it over transports that only record."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop_data = LoopData(self.loop)
        self.endpoint = Endpoint(
            self.loop_data, "/ws", ping_interval=0, law_factory=Law, on_message=lambda conn, message: conn.send(message)
        )
        self.ingress = self.table()
        self.ingress.routes = dict(self.ingress.endpoints)

    def table(self) -> FullTable:
        ingress = FullTable(self.loop_data)
        ingress.endpoints = dict.fromkeys((b"/ws", b"/", LONG_PATH, TOO_LONG_PATH), self.endpoint)
        return ingress

    def connect(self, ingress: FullTable | None = None) -> tuple[Wire, RecordingTransport]:
        wire, transport = Wire(ingress or self.ingress), RecordingTransport()
        wire.connection_made(transport)
        return wire, transport

    def answer(self, *pieces: bytes, ingress: FullTable | None = None) -> bytes:
        """What a client hears that sends `pieces`."""
        wire, transport = self.connect(ingress)
        for piece in pieces:
            wire.data_received(piece)
        written = transport.written
        wire.abort()
        self.turn()
        return written

    def turn(self) -> None:
        """Let the loop do what was left to it."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    assert stage.loop_data.errors == 0
    assert stage.ingress.connections == 0
    stage.loop.close()


@pytest.fixture(scope="module")
def generated() -> Iterator[Stage]:
    """A stage that serves all examples of a generated test."""
    stage = Stage()
    yield stage
    stage.loop.close()


def replaced(name: bytes, *lines: bytes) -> bytes:
    """The common head with the line of the header `name` replaced by `lines`."""
    kept = [line for line in COMMON.split(b"\r\n")[:-2] if not line.lower().startswith(name.lower() + b":")]
    return b"\r\n".join([*kept, *lines, b"", b""])


def with_path(path: bytes) -> bytes:
    return COMMON.replace(b"/ws", path, 1)


# Where a head ends


@pytest.mark.parametrize(
    "data",
    [
        COMMON,
        COMMON + HI,
        replaced(b"Host", b"Host: example.com", b"X: " + b"x" * 300) + HI + HI,
        with_path(b"/ws?query") + HI,
        with_path(b"/nowhere"),
        b"GET /ws HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"\r\n\r\n",
        b"\r\n" + COMMON,
        b"GET /ws HTTP/1.1\r\n\r\n",
    ],
    ids=["common", "frame", "long", "query", "404", "bare-lf", "empty", "empty-first", "no-headers"],
)
def test_a_head_is_found_wherever_it_is_cut(stage: Stage, data: bytes) -> None:
    expected = stage.answer(data)
    assert expected
    for cut in range(1, len(data)):
        assert stage.answer(data[:cut], data[cut:]) == expected, cut
    assert stage.answer(*(data[i : i + 1] for i in range(len(data)))) == expected


def test_nothing_is_decided_before_the_head_is_complete(stage: Stage) -> None:
    wire, transport = stage.connect()
    for i in range(len(COMMON) - 1):
        wire.data_received(COMMON[i : i + 1])
        assert (transport.written, wire.state) == (b"", HANDSHAKING)
    wire.data_received(COMMON[-1:])
    assert wire.state == OPEN
    assert stage.ingress.asked == []
    wire.abort()
    stage.turn()


def test_a_bare_line_feed_is_refused_at_once(stage: Stage) -> None:
    assert stage.answer(b"GET /ws HTTP/1.1\n") == b"400"
    assert stage.answer(b"\n") == b"400"


@on_reactor
async def test_over_sockets_frames_behind_the_head_are_served_wherever_it_is_cut() -> None:
    async with serving("reactor") as server:
        data = upgrade_request() + HI
        for cut in range(1, len(data), 7):
            client = await server.client()
            await client.send(data[:cut])
            await client.send(data[cut:])
            assert (await client.read_response())[0] == 101
            assert await client.read_message() == "hi"
            client.close()


# Limits


def test_a_request_line_may_have_8192_bytes(stage: Stage) -> None:
    assert stage.answer(with_path(LONG_PATH)).startswith(b"HTTP/1.1 101 ")
    assert stage.ingress.common == 1
    assert stage.answer(with_path(TOO_LONG_PATH)) == b"414"


def test_a_request_line_without_an_end_is_refused_when_it_cannot_be_good_any_more(stage: Stage) -> None:
    line = b"GET " + LONG_PATH + b" HTTP/1.1\r"
    wire, transport = stage.connect()
    wire.data_received(line)
    assert transport.written == b""
    wire.data_received(b"x")
    assert transport.written == b"414"
    wire.abort()
    stage.turn()


def padded(size: int) -> bytes:
    """The common head with one more header, `size` bytes in all."""
    return replaced(b"Host", b"Host: example.com", b"X: " + b"x" * (size - len(COMMON) - len(b"X: \r\n")))


def test_a_head_may_have_16384_bytes(stage: Stage) -> None:
    assert len(padded(MAX_HEAD)) == MAX_HEAD
    assert stage.answer(padded(MAX_HEAD)).startswith(b"HTTP/1.1 101 ")
    assert stage.ingress.common == 1
    assert stage.answer(padded(MAX_HEAD + 1)) == b"431"


def test_a_head_without_an_end_is_refused_past_its_limit(stage: Stage) -> None:
    head = padded(2 * MAX_HEAD)
    assert stage.answer(head[:MAX_HEAD]) == b""
    assert stage.answer(head[: MAX_HEAD + 1]) == b"431"
    assert stage.answer(*(head[i : i + 1000] for i in range(0, len(head), 1000))) == b"431"


def test_a_head_may_have_100_headers(stage: Stage) -> None:
    more = [b"X-%d: a" % i for i in range(MAX_HEADERS - 5)]
    assert stage.answer(replaced(b"Host", b"Host: a", *more)).startswith(b"HTTP/1.1 101 ")
    assert stage.ingress.common == 1
    assert stage.answer(replaced(b"Host", b"Host: a", *more, b"Y: a")) == b"431"


# The common path and the full one


def compare(stage: Stage, data: bytes) -> bytes:
    """Both answers to `data`, which have to be one."""
    full = stage.table()
    answer = stage.answer(data)
    assert answer == stage.answer(data, ingress=full)
    assert full.common == 0
    return answer


COMMON_HEADS = {
    "plain": COMMON,
    "root": with_path(b"/"),
    "host-port": replaced(b"Host", b"Host: example.com:8000"),
    "host-address": replaced(b"Host", b"hOST:127.0.0.1:8000 \t"),
    "origin": replaced(b"Host", b"Host: a.example:81", b"Origin: http://a.example:81"),
    "origin-tls": replaced(b"Host", b"Host: a.example", b"Origin: https://a.example"),
    "connection-list": replaced(b"Connection", b"Connection: keep-alive , UPGRADE"),
    "upgrade-case": replaced(b"Upgrade", b"UPGRADE:\tWebSocket"),
    "browser": replaced(
        b"Host", b"Host: a", b"User-Agent: Mozilla/5.0 (X; \xc3\xa4)", b"Accept: */*", b"Cookie: a=b; c=d", b"X-Empty:"
    ),
}


@pytest.mark.parametrize("name", COMMON_HEADS)
def test_the_upgrades_of_usual_clients_are_common(stage: Stage, name: str) -> None:
    assert compare(stage, COMMON_HEADS[name]).startswith(b"HTTP/1.1 101 ")
    assert (stage.ingress.common, stage.ingress.uncommon) == (1, 0)


UNCOMMON_HEADS = {
    "other-path": with_path(b"/other"),
    "path-case": with_path(b"/WS"),
    "path-slash": with_path(b"/ws/"),
    "query": with_path(b"/ws?"),
    "percent": with_path(b"/w%73"),
    "fragment": with_path(b"/ws#a"),
    "absolute": with_path(b"http://example.com/ws"),
    "obs-text-in-path": with_path(b"/ws\xe4"),
    "method": COMMON.replace(b"GET", b"POST", 1),
    "method-case": COMMON.replace(b"GET", b"get", 1),
    "http-1.0": COMMON.replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "two-spaces": COMMON.replace(b"GET /", b"GET  /", 1),
    "space-before-colon": COMMON.replace(b"Host:", b"Host :", 1),
    "folded": replaced(b"Upgrade", b"Upgrade: web", b" socket"),
    "folded-space": replaced(b"Upgrade", b"Upgrade: websocket", b" x: y"),
    "nul": replaced(b"Host", b"Host: a", b"X: a\0b"),
    "del": replaced(b"Host", b"Host: a", b"X: a\x7fb"),
    "obs-text-in-name": replaced(b"Host", b"Host: a", b"X\xe4: b"),
    "no-name": replaced(b"Host", b"Host: a", b": b"),
    "cr-in-value": replaced(b"Host", b"Host: a", b"X: a\rb"),
    "no-host": replaced(b"Host"),
    "empty-host": replaced(b"Host", b"Host: "),
    "two-hosts": replaced(b"Host", b"Host: a", b"Host: a"),
    "host-with-two-ports": replaced(b"Host", b"Host: a:1:2"),
    "host-with-a-word-for-port": replaced(b"Host", b"Host: a:b"),
    "host-with-a-long-port": replaced(b"Host", b"Host: a:123456"),
    "host-with-half-a-bracket": replaced(b"Host", b"Host: [::1"),
    "host-with-brackets-inside": replaced(b"Host", b"Host: a[b]"),
    "host-of-hexadecimals": replaced(b"Host", b"Host: ::1"),
    "empty-port-and-origin": replaced(b"Host", b"Host: a:", b"Origin: http://a:"),
    "other-origin": replaced(b"Host", b"Host: a", b"Origin: http://b"),
    "origin-null": replaced(b"Host", b"Host: a", b"Origin: null"),
    "origin-scheme": replaced(b"Host", b"Host: a", b"Origin: ftp://b"),
    "origin-prefix": replaced(b"Host", b"Host: a", b"Origin: http://a.evil"),
    "two-origins": replaced(b"Host", b"Host: a", b"Origin: http://a", b"Origin: http://a"),
    "no-upgrade": replaced(b"Upgrade"),
    "other-upgrade": replaced(b"Upgrade", b"Upgrade: h2c"),
    "connection-close": replaced(b"Connection", b"Connection: close"),
    "connection-prefix": replaced(b"Connection", b"Connection: Upgrades, xUpgrade"),
    "version-8": replaced(b"Sec-WebSocket-Version", b"Sec-WebSocket-Version: 8"),
    "versions": replaced(b"Sec-WebSocket-Version", b"Sec-WebSocket-Version: 13, 8"),
    "two-versions": replaced(b"Sec-WebSocket-Version", *[b"Sec-WebSocket-Version: 13"] * 2),
    "no-key": replaced(b"Sec-WebSocket-Key"),
    "short-key": replaced(b"Sec-WebSocket-Key", b"Sec-WebSocket-Key: " + KEY[4:]),
    "uncanonical-key": replaced(b"Sec-WebSocket-Key", b"Sec-WebSocket-Key: " + KEY.replace(b"ZQ==", b"ZR==")),
    "two-keys": replaced(b"Sec-WebSocket-Key", *[b"Sec-WebSocket-Key: " + KEY] * 2),
    "body": replaced(b"Host", b"Host: a", b"Content-Length: 2") + b"xx",
    "no-body": replaced(b"Host", b"Host: a", b"Content-Length: 0"),
    "chunked": replaced(b"Host", b"Host: a", b"Transfer-Encoding: chunked"),
    "subprotocol": replaced(b"Host", b"Host: a", b"Sec-WebSocket-Protocol: a, b"),
    "token": replaced(b"Host", b"Host: a", b"Authorization: Bearer x"),
}


@pytest.mark.parametrize("name", UNCOMMON_HEADS)
def test_what_needs_a_judgement_is_left_to_the_full_table(stage: Stage, name: str) -> None:
    compare(stage, UNCOMMON_HEADS[name])
    assert (stage.ingress.common, stage.ingress.uncommon) == (0, 1)


hosts = st.one_of(
    st.sampled_from(
        (b"a", b"example.com:80", b"example.com:443", b"[::1]", b"[::1]:80", b"a:", b":80", b"%41", b"_a-b.")
    ),
    st.text("aA1.:-[]_%/", max_size=5).map(str.encode),
)


@st.composite
def header_lines(draw: st.DrawFn) -> list[bytes]:
    """Header lines of an upgrade, each one right more often than not."""

    def rarely(*others: bytes, usual: bytes) -> bytes:
        return draw(st.sampled_from(others)) if draw(st.integers(0, 11)) == 0 else usual

    host = draw(hosts)
    lines = [
        b"Host: " + host,
        b"Upgrade: " + rarely(b"h2c", b"", b"websocket, h2c", b"websocket\t", b"WEBSOCKET", usual=b"websocket"),
        b"Connection: " + rarely(b"close", b"", b",", b"Upgrade,", b"a,upgrade\t,b", b"Up grade", usual=b"Upgrade"),
        b"Sec-WebSocket-Key: " + rarely(KEY[:-1], KEY + b"=", KEY[::-1], b"", usual=KEY),
        b"Sec-WebSocket-Version: " + rarely(b"8", b"013", b"13,13", b"13,", b"", usual=b"13"),
    ]
    origin_host = rarely(b"b", host + b":80", host + b":443", host[:-3], usual=host)
    extra = (
        *(
            scheme + origin_host
            for scheme in (b"Origin: http://", b"Origin: https://", b"Origin: HTTP://", b"Origin: ")
        ),
        b"X-Forwarded-For: 1.2.3.4",
        b"Sec-WebSocket-Protocol: " + rarely(b"a b", b"", b",", usual=b"a"),
        b"Sec-WebSocket-Extensions: permessage-deflate",
        b"Content-Length: " + rarely(b"3", b"x", b"", b"00", usual=b"0"),
        b"Cookie: \xe4",
    )
    lines += draw(st.lists(st.sampled_from(extra), max_size=2))
    lines = list(draw(st.permutations(lines)))
    if draw(st.integers(0, 9)) == 0:
        del lines[draw(st.integers(0, len(lines) - 1))]
    if draw(st.integers(0, 9)) == 0:
        lines.append(draw(st.sampled_from(lines)))
    return lines


@settings(max_examples=400)
@given(
    lines=header_lines(),
    target=st.sampled_from((b"/ws", b"/ws", b"/ws", b"/ws", b"/", b"/ws?", b"/x", b"ws", b"//", b"/ws ")),
    version=st.sampled_from(
        (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1 ", b"http/1.1")
    ),
)
def test_generated_upgrades_get_the_same_answer_on_both_paths(
    generated: Stage, lines: list[bytes], target: bytes, version: bytes
) -> None:
    compare(generated, b"\r\n".join([b"GET " + target + b" " + version, *lines, b"", b""]))


@settings(max_examples=300)
@given(
    head=st.sampled_from(sorted(COMMON_HEADS.values())),
    place=st.integers(0, 300),
    removed=st.integers(0, 3),
    inserted=st.text("\0\t\n\r :,;/?#aA1[]=\x7f\xe4", max_size=3).map(lambda text: text.encode("latin-1")),
)
def test_heads_with_any_byte_wrong_get_the_same_answer_on_both_paths(
    generated: Stage, head: bytes, place: int, removed: int, inserted: bytes
) -> None:
    place %= len(head)
    compare(generated, head[:place] + inserted + head[place + removed :])


@given(st.binary(min_size=16, max_size=16))
def test_the_accept_value_is_that_of_the_rfc(nonce: bytes) -> None:
    key = b64encode(nonce)
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    assert accept_key(key) == b64encode(hashlib.sha1(key + guid).digest())


def test_the_accept_value_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="24"):
        accept_key(KEY[:-1])
    assert accept_key(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3


# What the layer above may set


@pytest.mark.parametrize(
    ("setting", "value", "head", "common_before"),
    [
        ("same_host_origins", False, COMMON_HEADS["origin"], 1),
        ("trust_forwarded", True, replaced(b"Host", b"Host: a", b"X-Forwarded-For: 1.2.3.4"), 1),
        ("trust_forwarded", True, replaced(b"Host", b"Host: a", b"X-Forwarded-Proto: https"), 1),
        ("decline_extensions", True, replaced(b"Host", b"Host: a", b"Sec-WebSocket-Extensions: permessage-deflate"), 0),
    ],
)
def test_settings_say_what_is_common(stage: Stage, setting: str, value: bool, head: bytes, common_before: int) -> None:
    stage.answer(head)
    assert stage.ingress.common == common_before
    setattr(stage.ingress, setting, value)
    stage.answer(head)
    assert stage.ingress.common == 1


def test_admission_is_asked_last_and_its_refusal_is_answered_by_the_layer_above(stage: Stage) -> None:
    asked = []

    def admit(conn: Any) -> int:
        asked.append(conn.state)
        return 0 if len(asked) == 1 else 503

    stage.ingress.admit = admit
    assert stage.answer(COMMON).startswith(b"HTTP/1.1 101 ")
    stage.answer(COMMON)
    assert asked == [HANDSHAKING, HANDSHAKING]
    assert (stage.ingress.common, stage.ingress.asked) == (1, [COMMON])
    for head in UNCOMMON_HEADS.values():
        stage.answer(head)
    assert len(asked) == 2


def test_a_body_is_awaited_whole_wherever_it_is_cut(stage: Stage) -> None:
    class Bodies(FullTable):
        def on_request(self, conn: Any, data: bytes) -> None:
            self.asked.append(data)
            if len(data) < total:
                conn.await_body(total)
            else:
                conn.respond(data[-5:])

    data = b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    total = len(data)
    for cut in range(1, total):
        ingress = Bodies(stage.loop_data)
        assert stage.answer(data[:cut], data[cut:], ingress=ingress) == b"hello"
        assert len(ingress.asked) == (1 if cut < total - 5 else 2)
        assert ingress.asked[-1] == data


def test_an_upgrade_may_be_decided_later_and_frames_that_came_meanwhile_are_kept(stage: Stage) -> None:
    class Thinking(FullTable):
        def on_request(self, conn: Any, data: bytes) -> None:
            self.asked.append(data)

    ingress = Thinking(stage.loop_data)
    wire, transport = stage.connect(ingress)
    wire.data_received(COMMON + HI)
    assert (transport.reading, wire.state) == (False, HANDSHAKING)
    wire.data_received(HI)
    assert ingress.asked == [COMMON + HI]
    wire.accept(stage.endpoint, b"yes", len(COMMON))
    stage.turn()
    assert transport.reading
    assert transport.written == b"yes" + 2 * HI_ECHOED
    wire.abort()
    stage.turn()


def test_a_decision_that_raises_is_answered_500(stage: Stage) -> None:
    class Broken(FullTable):
        def on_request(self, conn: Any, data: bytes) -> None:
            raise ValueError(data)

    reported: list[dict[str, Any]] = []
    stage.loop.set_exception_handler(lambda loop, context: reported.append(context))
    wire, transport = stage.connect(Broken(stage.loop_data))
    wire.data_received(with_path(b"/other"))
    assert transport.written.startswith(b"HTTP/1.1 500 ")
    assert transport.ended
    assert [type(context["exception"]) for context in reported] == [ValueError]
    wire.abort()
    stage.turn()
    assert wire.state == CLOSED
    reported.clear()
    assert stage.loop_data.errors == 1
    stage.loop_data = LoopData(stage.loop)
