"""Tokens for people at a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.config import Settings
from fastws.errors import ConfigError
from fastws.gateway.auth.making import make
from fastws.gateway.auth.tokens import SharedSecret, Verifier

SECRET = "a secret of thirty-two characters at least"
NOW_S = 1_000_000.5


def made(lasts_s: float, claims: dict[str, Any], **settings: Any) -> dict[str, Any]:
    token = make(Settings(jwt_secret=SECRET, **settings), lasts_s, claims, clock=lambda: NOW_S)
    options = {name.removeprefix("jwt_"): value for name, value in settings.items()}
    return Verifier([SharedSecret(SECRET)], clock=lambda: NOW_S, **options).verify(token).everything


def test_what_is_made_is_accepted() -> None:
    assert made(3600, {"sub": "42"}) == {"sub": "42", "iat": 1_000_000, "exp": 1_003_600}
    assert made(0, {}) == {"iat": 1_000_000}
    assert made(0.5, {})["exp"] == 1_000_001
    claims = made(5, {"sub": "42", "iat": 1}, jwt_issuer="me", jwt_audience="us")
    assert (claims["iss"], claims["aud"], claims["iat"]) == ("me", "us", 1)


@pytest.mark.parametrize(
    ("lasts_s", "claims", "settings", "problem"),
    [
        (5, {}, {"jwt_secret": None}, "no secret"),
        (-1, {}, {}, "for ever"),
        (5, {"exp": "soon"}, {}, "would not accept"),
        (5, {"permissions": ["chat:*"]}, {}, "would not accept"),
        (5, {"info": "x" * 9000}, {}, "8192 are allowed"),
    ],
)
def test_what_would_not_be(lasts_s: float, claims: dict[str, Any], settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        make(Settings(**({"jwt_secret": SECRET} | settings)), lasts_s, claims)
