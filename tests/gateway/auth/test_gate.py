"""Terms for strangers, where tokens are looked for, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from fastws import closes
from fastws.config import Settings
from fastws.core.request import Request, without_token
from fastws.core.upgrade import Refuse
from fastws.gateway.auth.gate import Credentials, Gate, Terms, offered, terms
from fastws.gateway.auth.tokens import sign


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Terms(welcome=True, trusted=True)),
        ({"uds": "/tmp/x"}, Terms(welcome=True, trusted=True)),
        ({"host": "0.0.0.0", "anonymous": True}, Terms(welcome=True, trusted=False)),
        ({"host": "0.0.0.0", "anonymous": True, "dev": True}, Terms(welcome=True, trusted=True)),
        ({"app": "chat:app"}, Terms(welcome=True, trusted=False)),
        ({"app": "chat:app", "dev": True}, Terms(welcome=True, trusted=True)),
        ({"jwt_secret": "x"}, Terms(welcome=False, trusted=False)),
        ({"jwt_secret": "x", "dev": True}, Terms(welcome=False, trusted=False)),
        ({"jwt_secret": "x", "anonymous": True}, Terms(welcome=True, trusted=False)),
        ({"ssl_require_client_cert": True}, Terms(welcome=False, trusted=False)),
    ],
)
def test_terms(settings: dict[str, Any], expected: Terms) -> None:
    assert terms(Settings(**settings)) == expected


BEARER = (b"authorization", b"Bearer abc")
ENTRY = (b"sec-websocket-protocol", b"fastws.json.v1 , fastws.token.ghi")


@pytest.mark.parametrize(
    ("headers", "query", "token"),
    [
        ([], b"", None),
        ([BEARER, ENTRY], b"token=def", "abc"),
        ([(b"authorization", b"bEARER  abc ")], b"", "abc"),
        ([(b"authorization", b"Basic abc"), ENTRY], b"a=1&token=def", "def"),
        ([ENTRY], b"a=1", "ghi"),
        ([ENTRY], b"xtoken=5", "ghi"),
        ([(b"sec-websocket-protocol", b"a"), ENTRY], b"", "ghi"),
        ([], b"token=", ""),
        ([], b"token=%61b&token=c", "ab"),
        ([], b"a=1&%74ok%65n=def", "def"),
        ([ENTRY], b"token", "ghi"),
        ([], b"token=d+e%3d&b", "d e="),
        ([], b"&" * 4000 + b"token=def" + b"&a" * 2000, "def"),
        ([ENTRY], b"a&" * 4000, "ghi"),
        ([(b"sec-websocket-protocol", b"fastws.json.v1")], b"", None),
    ],
)
def test_the_first_place_that_has_a_token_counts(
    headers: list[tuple[bytes, bytes]], query: bytes, token: str | None
) -> None:
    found = offered(headers, query)
    assert (found.token if found is not None else None) == token
    assert found is None or found.in_header is (token == "abc")


@pytest.mark.parametrize("value", [b"Bearer", b"bearer\t", b"Bearer  "])
def test_a_bearer_of_nothing_has_a_token_that_is_wrong(value: bytes) -> None:
    """It must not be taken for somebody who offers none."""
    assert offered([(b"authorization", value), ENTRY], b"token=def") == ("", True)


@pytest.mark.parametrize("value", [b"", b"Bearerabc", b"Bearer,abc", b"Basic Bearer abc"])
def test_other_schemes_are_no_token(value: bytes) -> None:
    assert offered([(b"authorization", value)], b"") is None


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        (b"", b""),
        (b"token=x", b""),
        (b"a=1&token=x&b=2&token=y", b"a=1&b=2"),
        (b"%74oken=x&token=x", b""),
        (b"a=1&%74oke%6e=x", b"a=1"),
        (b"token=x&&b=1&", b"&b=1&"),
        (b"xtoken=1&a=token=2", b"xtoken=1&a=token=2"),
        (b"tokens=1", b"tokens=1"),
    ],
)
def test_the_token_is_taken_out_of_the_query(query: bytes, rest: bytes) -> None:
    assert without_token(query) == rest


# What becomes of a token.

SECRET = "a secret of thirty-two characters at least"
NOW_S = 1_000_000


def gate(**settings: Any) -> Gate:
    return Gate(Settings(**({"jwt_secret": SECRET} | settings)), clock=lambda: NOW_S)


def request(token: str | None, place: str = "header") -> Request:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    query = b""
    if token is not None and place == "header":
        headers = ((b"authorization", b"Bearer " + token.encode()),)
    elif token is not None and place == "subprotocol":
        headers = ((b"sec-websocket-protocol", b"fastws.json.v1, fastws.token." + token.encode()),)
    elif token is not None:
        query = b"token=" + token.encode()
    return Request("GET", b"/ws", query, 11, headers, 0, 0)


def token(**claims: Any) -> str:
    return sign(claims, SECRET)


GOOD = token(sub="42", tenant="acme", exp=NOW_S + 5, topics=["a"])
EXPIRED = token(sub="42", exp=NOW_S)
NAMELESS = token(tenant="acme")
FOR_A_TOPIC = token(sub="42", topic="chat:a")
PLACES = pytest.mark.parametrize("place", ["header", "query", "subprotocol"])


@PLACES
def test_who_has_a_good_token_is_let_in_everywhere(place: str) -> None:
    judge = gate()
    for found in (judge.of_protocol(request(GOOD, place)), judge.of_raw(request(GOOD, place))):
        assert isinstance(found, Credentials)
        assert (found.identity.user, found.identity.tenant) == ("42", "acme")
        assert (found.expires, found.topics) == (NOW_S + 5, ("a",))
        assert found.claims["topics"] == ["a"]
    assert isinstance(judge.of_http(request(GOOD, place)), Credentials)


@PLACES
@pytest.mark.parametrize(
    ("wrong", "close"),
    [
        (EXPIRED, closes.TOKEN_EXPIRED),
        ("x", closes.INVALID_TOKEN),
        ("", closes.INVALID_TOKEN),
        (NAMELESS, closes.INVALID_TOKEN),
        (FOR_A_TOPIC, closes.INVALID_TOKEN),
        (sign({"sub": "42"}, SECRET + "x"), closes.INVALID_TOKEN),
    ],
)
def test_a_bad_token_gets_401_where_that_can_be_seen(place: str, wrong: str, close: closes.Close) -> None:
    judge = gate()
    for found in (judge.of_protocol(request(wrong, place)), judge.of_raw(request(wrong, place))):
        if place != "header":
            assert found == close
            continue
        assert isinstance(found, Refuse)
        assert (found.status, found.reason) == (401, "token")
        assert found.headers[0][0] == b"WWW-Authenticate"
        assert (b"expired" in found.headers[0][1]) is (wrong == EXPIRED)
        assert wrong == "" or wrong not in found.message
    refused = judge.of_http(request(wrong, place))
    assert isinstance(refused, Refuse)
    assert refused.status == 401


@PLACES
def test_without_a_key_no_token_is_right(place: str) -> None:
    found = gate(jwt_secret=None).of_protocol(request(GOOD, place))
    assert found == closes.INVALID_TOKEN or (isinstance(found, Refuse) and found.status == 401)


@PLACES
def test_a_token_without_a_user_is_anonymous_where_that_is_accepted(place: str) -> None:
    found = gate(anonymous=True).of_protocol(request(NAMELESS, place))
    assert isinstance(found, Credentials)
    assert (found.identity.user, found.identity.tenant) == ("", "acme")
    assert not isinstance(gate(anonymous=True).of_raw(request(NAMELESS, place)), Credentials)
    assert not isinstance(gate(anonymous=True).of_http(request(NAMELESS, place)), Credentials)


def test_without_a_token() -> None:
    assert gate().of_protocol(request(None)) == Credentials()
    strict = [{}, {"anonymous": True}, {"jwt_secret": None, "app": "chat:app"}]
    for settings in strict:
        for found in (gate(**settings).of_raw(request(None)), gate(**settings).of_http(request(None))):
            assert isinstance(found, Refuse)
            assert (found.status, found.headers) == (401, ((b"WWW-Authenticate", b"Bearer"),))
    trusting = gate(jwt_secret=None, app="chat:app", dev=True)
    assert trusting.of_raw(request(None)) == trusting.of_http(request(None)) == Credentials()


def test_the_operator_is_told_once_why_routes_refuse(caplog: pytest.LogCaptureFixture) -> None:
    judge = gate()
    for _ in range(3):
        judge.of_raw(request(None))
    assert len(caplog.records) == 1
    assert "auth=True" in caplog.text
