"""What tokens may say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import UNSET

from fastws.gateway.auth.claims import MAX_NAME, STANDARD, read_claims
from fastws.types import DEFAULT_DEVICE


def read(**claims: Any) -> Any:
    return read_claims(json.dumps(claims).encode()).claims


def test_everything() -> None:
    claims = read(
        sub="42",
        exp=1717024000.9,
        nbf=0,
        iat=-1,
        jti="x",
        iss="me",
        aud=["a", "b"],
        tenant="acme",
        device="web",
        info={"name": "Ada"},
        topics=["news"],
        permissions={"sub": ["chat:*"], "else": 1},
        roles=["admin"],
        topic="t",
        pub=True,
        more={"a": [1]},
    )
    assert (claims.sub, claims.tenant, claims.device, claims.topics, claims.roles) == (
        *("42", "acme", "web"),
        ("news",),
        ("admin",),
    )
    assert (claims.expires, claims.topic, claims.pub) == (1717024000, "t", True)
    assert bytes(claims.info) == b'{"name":"Ada"}'
    assert (claims.permissions.sub, claims.permissions.pub) == (("chat:*",), UNSET)


def test_nothing() -> None:
    claims = read()
    assert (claims.sub, claims.tenant, claims.device, claims.expires) == ("", "", DEFAULT_DEVICE, None)
    assert claims.info is claims.permissions is claims.topic is UNSET
    assert read(device="").device == DEFAULT_DEVICE
    assert read(info=None).info is UNSET


@pytest.mark.parametrize(
    "wrong",
    [
        {"sub": 42},
        {"sub": None},
        {"sub": "x" * (MAX_NAME + 1)},
        {"sub": "a\0b"},
        {"tenant": "a\nb"},
        {"tenant": None},
        {"device": "\x7f"},
        {"device": 1},
        {"exp": "1717024000"},
        {"exp": True},
        {"exp": None},
        {"exp": 1e300},
        {"nbf": []},
        {"iat": {}},
        {"jti": 1},
        {"iss": ["a"]},
        {"aud": 1},
        {"aud": [1]},
        {"topics": "news"},
        {"topics": [1]},
        {"permissions": []},
        {"permissions": {"sub": "chat:*"}},
        {"permissions": {"pub": None}},
        {"permissions": None},
        {"roles": ["x" * (MAX_NAME + 1)]},
        {"topic": 1},
        {"pub": 1},
        {"info": 2**70},
    ],
)
def test_wrong_types_and_sizes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(**wrong)


@pytest.mark.parametrize(
    "packed",
    [
        b'{"x":"\xff"}',
        b'{"x":1e999}',
        b'{"\xff":1}',
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"info":1e999}',
        b'{"info":"\\ud800"}',
        b'{"sub":"\xff"}',
        b'{"a":1}x',
    ],
)
def test_what_is_no_object_of_json(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_claims(packed)


def test_depth_is_bounded() -> None:
    for name in (b"info", b"other"):
        with pytest.raises((ValueError, RecursionError)):
            read_claims(b'{"' + name + b'":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_names_may_have_any_other_letter() -> None:
    assert read(sub="J\u00fcrgen \U0001f600 auth0|x").sub == "J\u00fcrgen \U0001f600 auth0|x"


def test_all_claims_are_there_as_long_as_the_token_is() -> None:
    packed = b'{"sub":"1","rooms":["a"]}'
    assert read_claims(packed).everything == {"sub": "1", "rooms": ["a"]}
    assert "sub" in STANDARD
    assert "rooms" not in STANDARD
