"""The HTTP stage: where a head ends, its limits, and what the layer above decides."""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.core.request import MAX_HEAD, MAX_HEADERS
from fastws_ext.handshake import accept_key
from fastws_ext.loop_data import LoopData
from tests.fastws_ext.harness import CLOSED, CLOSING, HANDSHAKING, OPEN, on_reactor, serving, upgrade_request
from tests.fastws_ext.stage import (
    COMMON,
    HI,
    HI_ECHOED,
    KEY,
    LONG_PATH,
    TOO_LONG_PATH,
    FullTable,
    Stage,
    replaced,
    staging,
    with_path,
)
from tests.support.frames import close_frame


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staging() as stage:
        yield stage


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
    stage.settle()


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
    stage.settle()


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
        ("same_host_origins", False, replaced(b"Host", b"Host: a", b"Origin: http://a"), 1),
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
    for wrong in (replaced(b"Upgrade"), with_path(b"/other"), replaced(b"Host", b"Host: a", b"Origin: http://b")):
        stage.answer(wrong)
    assert len(asked) == 2


TOLD = [
    (with_path(b"/ws?"), (b"", None, None)),
    (with_path(b'/ws?a=%20&b="?'), (b'a=%20&b="?', None, None)),
    (replaced(b"Host", b"Host: a", b"authorization:  Bearer x "), (b"", b"Bearer x", None)),
    (replaced(b"Host", b"Host: a", b"Sec-WebSocket-Protocol: a, b"), (b"", None, b"a, b")),
    (replaced(b"Host", b"Host: a", b"Sec-WebSocket-Protocol:", b"Authorization: x"), (b"", b"x", b"")),
]
UNTOLD = [
    replaced(b"Host", b"Host: a", b"Authorization: x", b"Authorization: x"),
    replaced(b"Host", b"Host: a", b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: b"),
    with_path(b"/ws?a#b"),
    with_path(b"/ws?a\x80"),
    with_path(b"/ws?a b"),
    with_path(b"/ws?" + b"a" * 8192),
    with_path(b"/nowhere?a"),
    replaced(b"Upgrade", b"Authorization: x"),
]


@pytest.mark.parametrize(("head", "expected"), TOLD)
def test_who_brings_something_is_shown_to_the_layer_above(stage: Stage, head: bytes, expected: Any) -> None:
    told = []

    def recognize(conn: Any, endpoint: Any, *what: Any) -> bytes | None:
        told.append((conn.state, endpoint, what))
        return b"X-More: 1\r\n" if len(told) == 1 else b"" if len(told) == 2 else None

    stage.ingress.recognize = recognize
    stage.ingress.admit = lambda conn: 503
    usual = stage.answer(COMMON, ingress=stage.table())
    assert stage.answer(head) == usual.replace(b"\r\n\r\n", b"\r\nX-More: 1\r\n\r\n")
    assert stage.answer(head) == usual
    assert stage.ingress.common == 2
    stage.answer(head)
    assert stage.ingress.asked == [head]
    assert told == [(HANDSHAKING, stage.endpoint, expected)] * 3


def test_what_is_not_common_otherwise_is_not_shown(stage: Stage) -> None:
    told: list[Any] = []
    stage.ingress.recognize = lambda *what: told.append(what)
    for head in UNTOLD:
        stage.answer(head)
    assert told == []
    assert stage.ingress.asked == UNTOLD


def test_a_layer_above_that_fails_leaves_the_decision_to_the_whole_table() -> None:
    def fail(*_what: Any) -> bytes:
        raise ZeroDivisionError

    reported: list[Any] = []
    stage = Stage()
    try:
        stage.loop.set_exception_handler(lambda loop, context: reported.append(context["exception"]))
        for answer in (fail, lambda *_what: "text", None):
            stage.ingress.recognize = answer  # type: ignore[assignment]
            stage.answer(TOLD[0][0])
        stage.settle()
    finally:
        stage.loop.close()
    assert stage.ingress.asked == [TOLD[0][0]] * 3
    assert [type(error) for error in reported] == [ZeroDivisionError, TypeError]
    assert stage.loop_data.errors == 2


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
    stage.settle()


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
    stage.settle()
    assert wire.state == CLOSED
    reported.clear()
    assert stage.loop_data.errors == 1
    stage.loop_data = LoopData(stage.loop)


@pytest.mark.parametrize("path", [b"/ws", b"/ws?uncommon"])
def test_a_handler_that_closes_at_once_still_hears_the_close_that_came_with_the_request(
    stage: Stage, path: bytes
) -> None:
    ended = []
    stage.endpoint.on_open = lambda conn: conn.close(4321, "enough")
    stage.endpoint.on_close = lambda conn, code, reason: ended.append((code, reason))
    wire, transport = stage.connect()
    wire.data_received(with_path(path) + HI + HI[:3])
    assert (wire.state, ended) == (CLOSING, [])
    wire.data_received(HI[3:] + close_frame(4321))
    stage.turn()
    assert (transport.ended, ended) == (True, [(4321, "enough")])
    wire.abort()
    stage.settle()
