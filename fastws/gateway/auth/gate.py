"""What a client offers before it is heard: where tokens are looked for, how they are judged, what strangers may do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from time import time
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from msgspec import UNSET

from fastws import closes
from fastws.config import Settings
from fastws.core.request import Request, token_in, without_token
from fastws.core.upgrade import Refuse
from fastws.gateway.auth.claims import Verified
from fastws.gateway.auth.identity import ANONYMOUS, Identities, Identity
from fastws.gateway.auth.passes import arm
from fastws.gateway.auth.tokens import SharedSecret, TokenError, TokenExpiredError, Verifier

_log: Final = logging.getLogger("fastws.auth")

TOKEN_SUBPROTOCOL: Final = b"fastws.token."
_BEARER: Final = b"bearer"


class Terms(NamedTuple):
    """What holds for clients without a token."""

    welcome: bool
    """They are connected at once; otherwise they have to authenticate first."""
    trusted: bool
    """They may do what needs a user with a name: on one's own machine, where no authentication is set up."""


def terms(settings: Settings) -> Terms:
    """The terms that these settings mean. Protected mode has been judged already: it refuses to start."""
    return Terms(
        welcome=settings.anonymous or not settings.auth_configured, trusted=settings.anonymous_is_authenticated
    )


class Offer(NamedTuple):
    """A token that came with a request."""

    token: str
    in_header: bool
    """It came in `Authorization`, where a client can send it only if it can see an HTTP status."""


def offered(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> Offer | None:
    """The token that a request brings, from the first place that has one, or None.

    Places: `Authorization: Bearer`, `?token=`, the subprotocol entry `fastws.token.<token>`.
    """
    subprotocols = b""
    for name, value in headers:
        if name == b"authorization" and value[:6].lower() == _BEARER and value[6:7] in (b"", b" ", b"\t"):
            return Offer(value[7:].strip().decode("latin-1"), in_header=True)
        if name == b"sec-websocket-protocol":
            subprotocols += b"," + value
    parameter = token_in(query)
    if parameter is not None:
        if b"%" in parameter or b"+" in parameter:
            parameter = unquote_to_bytes(parameter.replace(b"+", b" "))
        return Offer(parameter.decode("latin-1"), in_header=False)
    for entry in subprotocols.split(b","):
        stripped = entry.strip(b" \t")
        if stripped.startswith(TOKEN_SUBPROTOCOL):
            return Offer(stripped[len(TOKEN_SUBPROTOCOL) :].decode("latin-1"), in_header=False)
    return None


class Credentials(NamedTuple):
    """Who a client turned out to be."""

    identity: Identity = ANONYMOUS
    expires: int | None = None
    """Seconds of Unix time; None = never."""
    topics: tuple[str, ...] = ()
    """What the server subscribes it to."""
    token: Verified | None = None
    """None for clients without one."""

    @property
    def claims(self) -> dict[str, Any]:
        """All of them, as the token has them."""
        return {} if self.token is None else self.token.everything


NO_CREDENTIALS: Final = Credentials()


class Gate:
    """Judges tokens, wherever they come in. There is one for each worker.

    `keep_claims`: the application may ask connections for its own claims at any time.
    """

    def __init__(self, settings: Settings, *, keep_claims: bool = False, clock: Callable[[], float] = time) -> None:
        self.terms = terms(settings)
        self.clock = clock
        """Unix time in seconds."""
        keys = [SharedSecret(settings.jwt_secret)] if settings.jwt_secret else []
        self.verifier = Verifier(keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience, clock=clock)
        self._identities = Identities(keep_claims=keep_claims)
        self._explained = False

    def credentials(self, token: str, *, anonymous: bool) -> Credentials:
        """Judge the token of a connection. Raises `TokenError`; `anonymous`: it need not name a user."""
        verified = self.verifier.verify(token)
        claims = verified.claims
        # Such a token says less than the user's own, so it must not pass for that one (RFC 8725 3.12).
        if claims.topic is not UNSET:
            raise TokenError("this is a token for one topic")
        if not (claims.sub or anonymous):
            raise TokenError("the token names no user")
        return Credentials(self._identities.of(verified), claims.expires, claims.topics, verified)

    def of_protocol(self, request: Request) -> Refuse | closes.Close | Credentials:
        """Judge an upgrade for the client protocol: a refusal, or how to close it once it is open, or who it is.

        Whoever offers no token is anonymous here; the terms say what that means.
        """
        offer = offered(request.headers, request.query)
        if offer is None:
            return NO_CREDENTIALS
        try:
            return self.credentials(offer.token, anonymous=self.terms.welcome)
        except TokenError as error:
            return _unauthorized(error) if offer.in_header else _close(error)

    def of_raw(self, request: Request) -> Refuse | closes.Close | Credentials:
        """Judge an upgrade for a raw endpoint that is for authenticated clients only."""
        offer = offered(request.headers, request.query)
        if offer is None:
            return self._without_token()
        try:
            return self.credentials(offer.token, anonymous=self.terms.trusted)
        except TokenError as error:
            return _unauthorized(error) if offer.in_header else _close(error)

    def enter_raw(self, conn: Any, session: Any) -> closes.Close | None:
        """Give a connection of such an endpoint what `of_raw` has found; how to close it if it may not be there."""
        found = session.details.credentials if session.details is not None else None
        if not isinstance(found, Credentials):
            return found if isinstance(found, closes.Close) else closes.INVALID_TOKEN
        session.identity = found.identity
        session.details.query = without_token(session.details.query)
        if found.expires is not None:
            now_s = asyncio.get_running_loop().time()
            arm(conn, now_s + found.expires - self.clock(), now_s)
        return None

    def of_http(self, request: Request) -> Refuse | Credentials:
        """Judge a request for a route that is for authenticated clients only."""
        offer = offered(request.headers, request.query)
        if offer is None:
            return self._without_token()
        try:
            return self.credentials(offer.token, anonymous=self.terms.trusted)
        except TokenError as error:
            return _unauthorized(error)

    def _without_token(self) -> Refuse | Credentials:
        if self.terms.trusted:
            return NO_CREDENTIALS
        if not self._explained:
            self._explained = True
            _log.warning(
                "a client without a token was refused by a route with auth=True: it needs one that --jwt-secret "
                "verifies, or --dev on your own machine"
            )
        return Refuse(401, "token", "a token is needed here", ((b"WWW-Authenticate", b"Bearer"),))


def _unauthorized(error: TokenError) -> Refuse:
    """RFC 6750 3.1."""
    what = b', error_description="expired"' if isinstance(error, TokenExpiredError) else b""
    challenge = (b"WWW-Authenticate", b'Bearer error="invalid_token"' + what)
    return Refuse(401, "token", str(error), (challenge,))


def _close(error: TokenError) -> closes.Close:
    return closes.TOKEN_EXPIRED if isinstance(error, TokenExpiredError) else closes.INVALID_TOKEN
