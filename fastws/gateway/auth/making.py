"""Tokens for people at a terminal: what the server itself would accept, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import Any

import msgspec

from fastws.config import Settings
from fastws.errors import ConfigError
from fastws.gateway.auth.claims import read_claims
from fastws.gateway.auth.tokens import MAX_TOKEN, sign


def make(settings: Settings, lasts_s: float, claims: Mapping[str, Any], *, clock: Callable[[], float] = time) -> str:
    """A token with these claims, valid for `lasts_s` seconds (0 = for ever), of the configured issuer and audience.

    Raises `ConfigError` if no secret is configured, or for claims that the server would not accept.
    """
    if not settings.jwt_secret:
        raise ConfigError("no secret is configured: set FASTWS_JWT_SECRET, or jwt_secret in [auth] of the file")
    if lasts_s < 0:
        raise ConfigError("a token is valid for 0 seconds (for ever) or more")
    now_s = int(clock())
    content: dict[str, Any] = {"iat": now_s}
    if lasts_s:
        content["exp"] = now_s + max(int(lasts_s), 1)
    if settings.jwt_issuer is not None:
        content["iss"] = settings.jwt_issuer
    if settings.jwt_audience is not None:
        content["aud"] = settings.jwt_audience
    content.update(claims)
    try:
        read_claims(msgspec.json.encode(content))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the server would not accept these claims: {error}") from None
    token = sign(content, settings.jwt_secret)
    if len(token) > MAX_TOKEN:
        raise ConfigError(f"the token would have {len(token)} characters, {MAX_TOKEN} are allowed")
    return token
