"""Who a connection is, and on what terms strangers are let in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from fastws.config import Settings

TOKEN_SUBPROTOCOL: Final = b"fastws.token."
_BEARER: Final = b"bearer "


class Identity(NamedTuple):
    """Who it is; the same object for everybody who is alike."""

    user: str = ""
    """Empty if anonymous."""
    tenant: str = ""
    device: str = "default"
    info: Any = None
    """What is public about the user; None if the token has nothing."""


ANONYMOUS: Final = Identity()


class Terms(NamedTuple):
    """What holds for clients without a token."""

    welcome: bool
    """They are connected at once; otherwise they have to authenticate first."""
    trusted: bool
    """They may do what needs a user with a name: on one's own machine, where no authentication is set up."""


def terms(settings: Settings) -> Terms:
    """The terms that these settings mean. Protected mode has been judged already: it refuses to start."""
    configured = settings.auth_configured
    return Terms(
        welcome=settings.anonymous or not configured,
        trusted=not configured and (settings.dev or (settings.app is None and settings.on_loopback)),
    )


def offered_token(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> str | None:
    """The token that an upgrade brings, from the first place that has one, or None.

    Places: `Authorization: Bearer`, `?token=`, the subprotocol entry `fastws.token.<token>`.
    """
    subprotocols = b""
    for name, value in headers:
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            return value[len(_BEARER) :].strip().decode("latin-1")
        if name == b"sec-websocket-protocol":
            subprotocols += b"," + value
    if b"token=" in query:
        values = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=1000).get("token")
        if values:
            return values[0]
    for entry in subprotocols.split(b","):
        stripped = entry.strip(b" \t")
        if stripped.startswith(TOKEN_SUBPROTOCOL):
            return stripped[len(TOKEN_SUBPROTOCOL) :].decode("latin-1")
    return None
