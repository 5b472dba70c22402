"""Tokens: what is verified here PyJWT verifies too, with the same claims, and what it refuses is refused.

Input: a byte of options (1: signed with the secret, else taken as it is; 2 and 4: issuer and audience are asked for; 8:
the application keeps claims), then a token, or header, line feed and payload of one to be signed.
"""

import json
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from msgspec import UNSET

from fastws.config import Settings
from fastws.gateway.auth.claims import read_claims
from fastws.gateway.auth.gate import Gate
from fastws.gateway.auth.tokens import MAX_TOKEN, TokenError, TokenExpiredError, from_base64, sign, to_base64
from tests.fuzz.silence import silent

MAX_BYTES = 12_000
SECRET = "the secret of a fuzzer, of thirty-two bytes and more: sixty-four of them for the longest of the digests"
_ALGORITHMS = ("HS256", "HS384", "HS512")
_LATER, _EARLIER = 4_000_000_000, 1_000_000_000
WORDS = (
    *(
        b'{"alg":"HS256"}',
        b'{"alg":"HS512","typ":"JWT"}',
        b'{"alg":"none"}',
        b'"kid":"x"',
        b'"crit":["exp"]',
        b'"b64":false',
    ),
    *(b'"sub":"42"', b'"exp":4000000000', b'"exp":1000000000', b'"nbf":', b'"iat":', b'"iss":"me"', b'"aud":["us"]'),
    *(b'"tenant":"a"', b'"device":"web"', b'"info":{"a":[1]}', b'"topics":["a"]', b'"permissions":{"sub":["a*"]}'),
    *(
        b'"roles":["r"]',
        b'"topic":"a"',
        b'"pub":true',
        b'"x":',
        b"null",
        b"1e999",
        b"\\u0000",
        b"\\ud800",
        b"\xff",
        b"\n",
    ),
    *(b".", b"=", b"-", b"_", b"+", b"/", b"{", b"}", b"[", b"]", b",", b'"', b"A", b"Q", b"[" * 2000, b"9" * 40),
)


@cache
def gate(options: int) -> Gate:
    """Judges with these options."""
    issuer, audience = "me" if options & 2 else None, "us" if options & 4 else None
    settings = Settings(jwt_secret=SECRET, jwt_issuer=issuer, jwt_audience=audience, anonymous=True)
    return Gate(settings, keep_claims=bool(options & 8))


def run(data: bytes) -> None:
    """Verify, here and there, and let the gate make an identity of it."""
    with silent("fastws.auth"):
        _judge(data)


def _judge(data: bytes) -> None:
    options, token = data[:1] or b"\0", data[1:].decode("utf-8", "replace")
    if options[0] & 1:
        head, _, payload = data[1:].partition(b"\n")
        token = _signed(head, payload)
    judge = gate(options[0] & 14)
    ours: Any
    said = ""
    try:
        ours = judge.verifier.verify(token)
    except TokenExpiredError:
        ours = "expired"
    except TokenError as error:
        said = str(error)
        ours = "invalid"
    assert said.isascii()
    assert len(said) < 100
    theirs = _by_pyjwt(token, options[0])
    if isinstance(ours, str):
        assert ours == "invalid" or theirs == "expired"
        assert ours == "expired" or not isinstance(theirs, dict) or _may_refuse(token), f"{token} says {theirs}"
        return
    assert theirs == ours.everything
    try:
        found = judge.credentials(token, anonymous=True)
    except TokenError:
        assert ours.claims.topic is not UNSET
        return
    assert found.identity.user == ours.everything.get("sub", "")
    assert found.identity.tenant == ours.everything.get("tenant", "")
    assert found.identity.info == ours.everything.get("info")
    assert found.identity.claims.items() <= ours.everything.items()
    json.dumps(found.identity.claims).encode()


def _signed(head: bytes, payload: bytes) -> str:
    try:
        named = json.loads(head)["alg"]
    except (ValueError, KeyError, TypeError, RecursionError):
        named = None
    algorithm = jwt.get_algorithm_by_name(named if named in _ALGORITHMS else "HS256")
    signed = to_base64(head) + b"." + to_base64(payload)
    return (signed + b"." + to_base64(algorithm.sign(signed, SECRET.encode()))).decode()


def _by_pyjwt(token: str, options: int) -> dict[str, Any] | str:
    asked: dict[str, Any] = {"issuer": "me"} if options & 2 else {}
    if options & 4:
        asked["audience"] = "us"
    checks: Any = {"verify_iat": False, "verify_aud": bool(options & 4)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            claims: dict[str, Any] = jwt.decode(token, SECRET, algorithms=_ALGORITHMS, options=checks, **asked)
    except jwt.ExpiredSignatureError:
        return "expired"
    except (jwt.InvalidTokenError, UnicodeError, RecursionError):
        return "invalid"
    return claims


def _may_refuse(token: str) -> bool:
    """Padding, length, header fields that PyJWT overlooks, and claims of other types than are read here."""
    if len(token) > MAX_TOKEN or "=" in token:
        return True
    head, payload = (from_base64(part.encode()) for part in token.split(".")[:2])
    try:
        read_claims(payload)
        fields = json.loads(head.decode())
        json.dumps(fields, ensure_ascii=False).encode()  # halves of surrogate pairs are no text
    except (ValueError, RecursionError):
        return True
    known = {"alg": str, "kid": str, "b64": bool}
    return "crit" in fields or any(not isinstance(fields.get(name, kind()), kind) for name, kind in known.items())


def seeds() -> Mapping[str, bytes]:
    """Good ones of each algorithm, and one for each way to be refused."""
    good = {"sub": "42", "tenant": "acme", "device": "web", "info": {"a": [1, None]}, "exp": _LATER, "own": ["x"]}
    payload = json.dumps(good).encode()
    head = b'{"alg":"HS256","typ":"JWT","kid":"k"}\n'
    raw = sign(good, SECRET).encode()
    return {
        "raw": b"\0" + raw,
        "raw-padded": b"\0" + raw + b"=",
        "raw-cut": b"\0" + raw[:-1],
        "raw-left-over": b"\0" + raw[:-1] + bytes([raw[-1] + 1]),  # bits of the last digit that nobody needs
        "raw-two-parts": b"\0" + raw.rpartition(b".")[0],
        "kept": b"\x09" + head + payload,
        "hs384": b'\x01{"alg":"HS384"}\n' + payload,
        "hs512": b'\x01{"alg":"HS512"}\n' + payload,
        "none": b'\x01{"alg":"none"}\n' + payload,
        "crit": b'\x01{"alg":"HS256","crit":["x"]}\n' + payload,
        "unencoded": b'\x01{"alg":"HS256","b64":false}\n{}',
        "asked": b"\x07" + head + json.dumps(good | {"iss": "me", "aud": ["us", "x"]}).encode(),
        "not-asked": b"\x01" + head + json.dumps(good | {"iss": "x", "aud": "y"}).encode(),
        "other-issuer": b"\x03" + head + json.dumps(good | {"iss": "you"}).encode(),
        "expired": b"\x01" + head + json.dumps(good | {"exp": _EARLIER}).encode(),
        "early": b"\x01" + head + json.dumps(good | {"nbf": _LATER}).encode(),
        "of-a-topic": b"\x01" + head + json.dumps(good | {"topic": "a", "pub": True}).encode(),
        "lists": b"\x01" + head + b'{"permissions":{"sub":["a*"],"pub":[]},"roles":["r"],"topics":["a"]}',
        "wrong-type": b"\x01" + head + b'{"sub":5}',
        "twice": b"\x01" + head + b'{"sub":5,"sub":"a"}',
        "control": b"\x01" + head + b'{"sub":"a\\u0000b"}',
        "no-text": b"\x01" + head + b'{"own":"\xff"}',
        "no-number": b"\x09" + head + b'{"own":1e999}',
        "large-number": b"\x09" + head + b'{"own":123456789012345678901234567890}',
        "deep": b"\x01" + head + b'{"own":' + b"[" * 3000 + b"]" * 3000 + b"}",
    }
