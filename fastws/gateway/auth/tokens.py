"""Tokens: signed claims in the compact form of JSON Web Tokens (RFC 7519, RFC 7515 3.1), verified and made.

HMAC is computed here: `hmac`, `base64` and a typed decoder need 5 us for a token of 250 bytes on one core of a virtual
machine, PyJWT 33 us, and a million clients that come back all bring one. The tests hold both against each other. What
PyJWT lets through and this does not: padding, algorithms and claims of other types than the server reads.
"""

from __future__ import annotations

import hmac
import logging
from abc import ABC, abstractmethod
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from fastws.gateway.auth.claims import Verified, read_claims

_log: Final = logging.getLogger("fastws.auth")

MAX_TOKEN: Final = 8192
"""Characters of a token; it has to fit into a request line."""

DIGESTS: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
"""The algorithms of shared secrets (RFC 7518 3.2)."""

_MAX_REMEMBERED: Final = 64

# base64url to base64; what belongs to the other alphabet, and padding, becomes a character that belongs to none
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_PADDING: Final = {0: b"", 2: b"==", 3: b"="}
# The last digit of what is not a multiple of three bytes has bits left over; they are zero (RFC 4648 3.5).
_LAST_DIGITS: Final = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}


class TokenError(Exception):
    """The token is not valid here. The text says why, in words of ours alone, and is safe to log and to send."""


class TokenExpiredError(TokenError):
    """It was valid until `exp`, and is right otherwise."""


class Header(Struct, gc=False):
    """What the first part of a token says of the rest (RFC 7515 4.1). Nothing in it is ever fetched or trusted."""

    alg: str
    kid: str | UnsetType = UNSET
    crit: Raw | UnsetType = UNSET
    b64: bool = True


class Key(ABC):
    """One key that tokens may be signed with."""

    @abstractmethod
    def serves(self, alg: str, kid: str | None) -> bool:
        """Whether this is a key for tokens of that algorithm which name that key. The algorithm belongs to the key: a
        token cannot talk one into another (RFC 8725 3.1).
        """

    @abstractmethod
    def holds(self, alg: str, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is one of this key."""


class SharedSecret(Key):
    """A secret of HS256, HS384 and HS512, whatever name a token has for it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode("utf-8", "surrogateescape")

    def serves(self, alg: str, _kid: str | None) -> bool:
        return alg in DIGESTS

    def holds(self, alg: str, signed: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(self._secret, signed, DIGESTS[alg]), signature)


class Verifier:
    """Verifies the tokens of one server. `issuer` and `audience` are asked for where they are given."""

    def __init__(
        self,
        keys: Sequence[Key],
        *,
        issuer: str | None = None,
        audience: str | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        """`clock`: Unix time in seconds."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self.clock = clock
        # Nearly all tokens begin alike. Only beginnings of tokens that were right are remembered.
        self._headers: dict[bytes, tuple[str, Sequence[Key]]] = {}
        self._complaints: set[str] = set()

    def verify(self, token: str) -> Verified:
        """What the token says. Raises `TokenExpiredError` if it is only too old, and `TokenError` for anything else."""
        try:
            return self._verify(token)
        except TokenExpiredError:
            raise
        except TokenError as error:
            self._complain(str(error))
            raise

    def _verify(self, token: str) -> Verified:
        if len(token) > MAX_TOKEN:
            raise TokenError(f"a token has at most {MAX_TOKEN} characters")
        try:
            signed, _, signature = token.encode("ascii").rpartition(b".")
            head, dot, payload = signed.partition(b".")
        except UnicodeEncodeError:
            dot = b""
        if not dot:
            raise TokenError("the token is no JSON Web Token of three parts")
        alg, keys = self._headers.get(head) or self._select(head)
        signed_with = from_base64(signature)
        if not any(key.holds(alg, signed, signed_with) for key in keys):
            raise TokenError("the signature of the token is wrong")
        if head not in self._headers and len(self._headers) < _MAX_REMEMBERED:
            self._headers[head] = (alg, keys)
        return self._judge(from_base64(payload))

    def _select(self, head: bytes) -> tuple[str, Sequence[Key]]:
        """The algorithm that a header names, and the keys that may have signed with it."""
        try:
            header = _headers.decode(from_base64(head).decode())
        except (ValueError, RecursionError):
            raise TokenError("the header of the token is malformed") from None
        # RFC 7515 4.1.11: what is critical has to be known, and nothing is; RFC 7797 6: `b64` is critical.
        if header.crit is not UNSET or not header.b64:
            raise TokenError("the header of the token asks for what is not known here")
        kid = None if header.kid is UNSET else header.kid
        keys = [key for key in self._keys if key.serves(header.alg, kid)]
        if not keys:
            raise TokenError("no key is configured for the algorithm of the token")
        return header.alg, keys

    def _judge(self, payload: bytes) -> Verified:
        try:
            verified = read_claims(payload)
        except (ValueError, RecursionError):
            raise TokenError("a claim of the token has a wrong type") from None
        claims = verified.claims
        now_s = self.clock()
        if self._issuer is not None and claims.iss != self._issuer:
            raise TokenError("the token has another issuer")
        if self._audience is not None:
            audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud or ()
            if self._audience not in audiences:
                raise TokenError("the token is for another audience")
        if claims.nbf is not UNSET and claims.nbf > now_s:
            raise TokenError("the token is not valid yet")
        # Last: whoever is told that it is only too old comes back with a new one, which has to help.
        if claims.exp is not UNSET and int(claims.exp) <= now_s:
            raise TokenExpiredError("the token has expired")
        return verified

    def _complain(self, what: str) -> None:
        """Say once of each kind what is wrong: a server that refuses everybody has to tell its operator why."""
        if what not in self._complaints:
            self._complaints.add(what)
            _log.warning("a client was refused: %s (of this kind only the first is logged)", what)


def sign(claims: Mapping[str, Any], secret: str, algorithm: str = "HS256") -> str:
    """Make a token. Raises `KeyError` for an algorithm that is none of `DIGESTS`, `TypeError` for what is no JSON."""
    head = to_base64(msgspec.json.encode({"alg": algorithm, "typ": "JWT"}))
    signed = head + b"." + to_base64(msgspec.json.encode(claims))
    digest = hmac.digest(secret.encode("utf-8", "surrogateescape"), signed, DIGESTS[algorithm])
    return (signed + b"." + to_base64(digest)).decode("ascii")


def from_base64(text: bytes) -> bytes:
    """Decode base64url without padding, exactly (RFC 7515 2). Raises `TokenError`."""
    excess = len(text) % 4
    padding = _PADDING.get(excess)
    if padding is None or (excess and text[-1] not in _LAST_DIGITS[excess]):
        raise TokenError("a part of the token is no base64url")
    try:
        return a2b_base64(text.translate(_FROM_URL) + padding, strict_mode=True)
    except Base64Error:
        raise TokenError("a part of the token is no base64url") from None


def to_base64(content: bytes) -> bytes:
    """Encode as base64url without padding."""
    return b2a_base64(content, newline=False).translate(_TO_URL).rstrip(b"=")


_headers: Final = msgspec.json.Decoder(Header)
