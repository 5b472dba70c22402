"""The table that decides on upgrades: every row, and the order of the rows."""

from __future__ import annotations

import base64
import hashlib

import pytest

from fastws.core.request import Request, parse_request
from fastws.core.upgrade import (
    Accept,
    OriginRules,
    Refuse,
    UpgradeRules,
    accept_value,
    judge_upgrade,
    origin_rules,
    parse_origin,
    wants_upgrade,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def request(first: bytes = b"GET /ws HTTP/1.1", *extra: bytes, **changed: bytes | None) -> Request:
    """An upgrade; keywords (`_` for `-`) replace a header, None drops it."""
    headers: dict[str, bytes | None] = {
        "host": b"example.com",
        "upgrade": b"websocket",
        "connection": b"Upgrade",
        "sec-websocket-key": KEY,
        "sec-websocket-version": b"13",
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [name.encode() + b": " + value for name, value in headers.items() if value is not None]
    return parse_request(b"\r\n".join([first, *lines, *extra, b"", b""]))


def judged(wanted: Request, rules: UpgradeRules | None = None) -> Accept | Refuse:
    return judge_upgrade(wanted, rules or UpgradeRules())


def status_of(wanted: Request, rules: UpgradeRules | None = None) -> int:
    verdict = judged(wanted, rules)
    return verdict.status if isinstance(verdict, Refuse) else 101


def accepted(wanted: Request, rules: UpgradeRules | None = None) -> Accept:
    verdict = judged(wanted, rules)
    assert isinstance(verdict, Accept), verdict
    return verdict


def test_the_answer_of_rfc_6455() -> None:
    assert accept_value(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    verdict = accepted(request())
    assert verdict.answer == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    assert (verdict.subprotocol, verdict.window_bits) == ("", 0)


def test_the_accept_value_of_any_key() -> None:
    key = base64.b64encode(bytes(range(16)))
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    assert accept_value(key) == base64.b64encode(hashlib.sha1(key + guid).digest())


@pytest.mark.parametrize("connection", [b"upgrade", b"keep-alive, Upgrade", b"Upgrade,keep-alive", b"\t,UPGRADE ,"])
@pytest.mark.parametrize("upgrade", [b"websocket", b"WebSocket", b"h2c, websocket"])
def test_lists_of_tokens(connection: bytes, upgrade: bytes) -> None:
    assert status_of(request(connection=connection, upgrade=upgrade)) == 101


@pytest.mark.parametrize(
    "changed",
    [
        {"upgrade": None},
        {"upgrade": b"h2c"},
        {"upgrade": b"websocketx"},
        {"connection": None},
        {"connection": b"close"},
        {"connection": b"upgraded"},
        {"sec_websocket_version": None},
        {"sec_websocket_version": b"8"},
        {"sec_websocket_version": b"14"},
        {"sec_websocket_version": b"13, 8"},
        {"sec_websocket_version": b""},
    ],
)
def test_no_upgrade_and_wrong_versions_are_426(changed: dict[str, bytes | None]) -> None:
    verdict = judged(request(**changed))
    assert isinstance(verdict, Refuse)
    assert verdict.status == 426
    assert verdict.headers == ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"))


def test_two_headers_may_hold_one_list() -> None:
    assert status_of(request(b"GET /ws HTTP/1.1", b"Connection: upgrade", connection=b"keep-alive")) == 101


@pytest.mark.parametrize(
    "key",
    [
        None,
        b"",
        b"short",
        KEY[:-1],
        KEY + b"=",
        KEY[:-2] + b"AA",
        b"dGhlIHNhbXBsZSBub25jZR==",  # the bits behind the 16 bytes are not zero
        b"dGhlIHNhbXBsZSBub25jZ===",
        b"dGhlIHNhbXBsZSBub25j*Q==",
        b"dGhlIHNhbXBsZSBub25j Q==",
        b"dGhlIHNhbXBsZSBub25j-Q==",
        base64.b64encode(bytes(15)),
        base64.b64encode(bytes(17)),
    ],
)
def test_bad_keys_are_400(key: bytes | None) -> None:
    assert status_of(request(sec_websocket_key=key)) == 400


@pytest.mark.parametrize("extra", [b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Version: 13", b"Content-Length: 1"])
def test_doubled_headers_and_bodies_are_400(extra: bytes) -> None:
    assert status_of(request(b"GET /ws HTTP/1.1", extra)) == 400


def test_an_empty_body_is_none() -> None:
    assert status_of(request(content_length=b"0")) == 101


def test_http_1_0_is_400() -> None:
    assert status_of(request(b"GET /ws HTTP/1.0")) == 400


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"get", b"CONNECT"])
def test_other_methods_are_405(method: bytes) -> None:
    verdict = judged(request(method + b" /ws HTTP/1.1"))
    assert isinstance(verdict, Refuse)
    assert (verdict.status, verdict.headers) == (405, ((b"Allow", b"GET"),))


def test_the_first_fault_in_the_order_decides() -> None:
    bad_origin = b"http://evil.example"
    assert status_of(request(b"POST /ws HTTP/1.1", upgrade=None, sec_websocket_key=None, origin=bad_origin)) == 405
    assert status_of(request(b"GET /ws HTTP/1.0", upgrade=None, sec_websocket_key=None, origin=bad_origin)) == 426
    assert status_of(request(sec_websocket_version=b"8", sec_websocket_key=None, origin=bad_origin)) == 426
    assert status_of(request(sec_websocket_key=None, origin=bad_origin)) == 400
    assert status_of(request(origin=bad_origin)) == 403


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (b"b", "b"),
        (b"x, b, a", "b"),
        (b"a,b", "a"),
        (b"x", ""),
        (b"A", ""),
        (b"fastws.token.abc.def, a", "a"),
        (b"", ""),
    ],
)
def test_the_clients_first_known_subprotocol_is_echoed(offered: bytes, chosen: str) -> None:
    verdict = accepted(request(sec_websocket_protocol=offered), UpgradeRules(subprotocols=("a", "b")))
    assert verdict.subprotocol == chosen
    assert (f"Sec-WebSocket-Protocol: {chosen}\r\n".encode() in verdict.answer) == bool(chosen)
    assert b"token" not in verdict.answer


def test_subprotocols_in_several_headers() -> None:
    extra = b"Sec-WebSocket-Protocol: a"
    wanted = request(b"GET /ws HTTP/1.1", extra, sec_websocket_protocol=b"x")
    assert accepted(wanted, UpgradeRules(subprotocols=("a",))).subprotocol == "a"


@pytest.mark.parametrize("offered", [b"a b", b"a/b", b'"a"', b"a;b", b"\xe9"])
def test_subprotocols_that_are_no_tokens_are_400(offered: bytes) -> None:
    assert status_of(request(sec_websocket_protocol=offered)) == 400


def test_deflate_is_taken_up_only_where_it_is_on() -> None:
    wanted = request(sec_websocket_extensions=b"permessage-deflate; client_max_window_bits")
    assert b"Extensions" not in accepted(wanted).answer
    verdict = accepted(wanted, UpgradeRules(deflate=True))
    line = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
    assert line in verdict.answer
    assert verdict.window_bits == 15
    assert accepted(request(), UpgradeRules(deflate=True)).window_bits == 0
    refused = request(sec_websocket_extensions=b"permessage-deflate; nonsense")
    assert accepted(refused, UpgradeRules(deflate=True)).window_bits == 0


@pytest.mark.parametrize(
    ("origin", "host", "passes"),
    [
        (b"http://example.com", b"example.com", True),
        (b"http://EXAMPLE.com", b"example.COM", True),
        (b"https://example.com", b"example.com", True),
        (b"https://example.com", b"example.com:443", True),
        (b"http://example.com:80", b"example.com", True),
        (b"http://example.com", b"example.com:80", True),
        (b"http://example.com:8000", b"example.com:8000", True),
        (b"https://example.com:8000", b"example.com:8000", True),
        (b"http://[::1]:8000", b"[::1]:8000", True),
        (b"http://example.com:8000", b"example.com", False),
        (b"http://example.com", b"example.com:8000", False),
        (b"https://example.com", b"example.com:80", False),
        (b"http://evil.com", b"example.com", False),
        (b"http://example.com.evil.com", b"example.com", False),
        (b"http://evil.com#example.com", b"example.com", False),
        (b"http://example.com/", b"example.com", False),
        (b"http://example.com@evil.com", b"example.com", False),
        (b"http://user@example.com", b"example.com", False),
        (b"example.com", b"example.com", False),
        (b"http://", b"", False),
        (b"", b"", False),
        (b"null", b"null", False),
        (b"http://a http://b", b"a", False),
    ],
)
def test_by_default_the_origin_is_the_host(origin: bytes, host: bytes, passes: bool) -> None:
    assert OriginRules().allows(origin, host) is passes
    assert status_of(request(origin=origin, host=host)) == (101 if passes else 403)


def test_no_origin_passes() -> None:
    assert status_of(request(), UpgradeRules(origins=origin_rules(["https://a.example"]))) == 101


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        (b"https://a.example", True),
        (b"https://a.example:443", True),
        (b"https://A.example", True),
        (b"http://b.example:8080", True),
        (b"http://a.example", False),
        (b"https://a.example:444", False),
        (b"https://sub.a.example", False),
        (b"http://example.com", False),
        (b"null", False),
        (b"app://thing", True),
    ],
)
def test_a_list_replaces_the_default(origin: bytes, passes: bool) -> None:
    rules = origin_rules(["https://a.example", "http://b.example:8080", "app://thing"])
    assert rules.allows(origin, b"example.com") is passes


def test_null_and_any() -> None:
    assert origin_rules(["null"]).allows(b"null", b"h")
    assert not origin_rules(["null"]).allows(b"http://h", b"h")
    assert origin_rules(["*"]).allows(b"null", b"h")
    assert origin_rules(["*"]).allows(b"anything at all", b"h")


def test_two_origins_are_400() -> None:
    assert status_of(request(b"GET /ws HTTP/1.1", b"Origin: http://a", origin=b"http://example.com")) == 400


def test_an_entry_that_is_no_origin() -> None:
    with pytest.raises(ValueError, match=r"'example\.com' is no origin"):
        origin_rules(["example.com"])


def test_origins_are_normal() -> None:
    assert parse_origin(b"HTTPS://Example.COM") == (b"https", b"example.com", 443)
    assert parse_origin(b"foo://x") == (b"foo", b"x", None)
    assert parse_origin(b"http://x:") is None


def test_wanting_an_upgrade() -> None:
    assert wants_upgrade(request())
    assert not wants_upgrade(request(connection=b"close"))
