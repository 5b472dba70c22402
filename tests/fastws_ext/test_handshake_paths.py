"""The common upgrade is answered as the full table answers it, whatever a head looks like."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fastws_ext.stage import COMMON, KEY, Stage, replaced, staging, with_path


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staging() as stage:
        yield stage


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
    common, uncommon = stage.ingress.common, stage.ingress.uncommon
    assert compare(stage, COMMON_HEADS[name]).startswith(b"HTTP/1.1 101 ")
    assert (stage.ingress.common, stage.ingress.uncommon) == (common + 1, uncommon)


UNCOMMON_HEADS = {
    "other-path": with_path(b"/other"),
    "cr-before-a-header": replaced(b"Host", b"Host: a", b"\rTransfer-Encoding: chunked"),
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
    common, uncommon = stage.ingress.common, stage.ingress.uncommon
    compare(stage, UNCOMMON_HEADS[name])
    assert (stage.ingress.common, stage.ingress.uncommon) == (common, uncommon + 1)


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
    stage: Stage, lines: list[bytes], target: bytes, version: bytes
) -> None:
    compare(stage, b"\r\n".join([b"GET " + target + b" " + version, *lines, b"", b""]))


@settings(max_examples=300)
@given(
    head=st.sampled_from(sorted(COMMON_HEADS.values())),
    place=st.integers(0, 300),
    removed=st.integers(0, 3),
    inserted=st.text("\0\t\n\r :,;/?#aA1[]=\x7f\xe4", max_size=3).map(lambda text: text.encode("latin-1")),
)
def test_heads_with_any_byte_wrong_get_the_same_answer_on_both_paths(
    stage: Stage, head: bytes, place: int, removed: int, inserted: bytes
) -> None:
    place %= len(head)
    compare(stage, head[:place] + inserted + head[place + removed :])
