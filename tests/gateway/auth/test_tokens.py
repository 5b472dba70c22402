"""Tokens, held against PyJWT: whatever one of them lets through, the other does, but for what is listed here."""

from __future__ import annotations

import json
import time
import warnings
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastws.gateway.auth.claims import Verified, read_claims
from fastws.gateway.auth.tokens import (
    DIGESTS,
    MAX_TOKEN,
    Key,
    SharedSecret,
    TokenError,
    TokenExpiredError,
    Verifier,
    from_base64,
    sign,
    to_base64,
)

SECRET = "a secret of thirty-two characters, and more, so that nobody warns of it; sixty-four for SHA-512"
NOW_S = int(time.time())
"""When the tests are collected: they may run much later."""
DAY_S = 86_400


def verifier(secret: str = SECRET, **options: Any) -> Verifier:
    return Verifier([SharedSecret(secret)], **options)


def refused(token: str, **options: Any) -> str:
    """Why a token is refused."""
    with pytest.raises(TokenError) as raised:
        verifier(**options).verify(token)
    return type(raised.value).__name__ + ": " + str(raised.value)


def built(header: Any, payload: bytes = b'{"sub":"1"}', secret: str = SECRET, algorithm: str = "HS256") -> str:
    """A token with any header, signed as `algorithm`."""
    head = to_base64(header if isinstance(header, bytes) else json.dumps(header).encode())
    signed = head + b"." + to_base64(payload)
    signature = jwt.get_algorithm_by_name(algorithm).sign(signed, secret.encode())
    return (signed + b"." + to_base64(signature)).decode()


# What is right.


@pytest.mark.parametrize("algorithm", sorted(DIGESTS))
def test_each_reads_what_the_other_has_made(algorithm: str) -> None:
    claims = {"sub": "42", "exp": NOW_S + DAY_S, "info": {"name": "J\u00fcrgen"}, "rooms": [1]}
    theirs = jwt.encode(claims, SECRET, algorithm=algorithm)
    for token in (theirs, sign(claims, SECRET, algorithm)):
        assert verifier().verify(token).everything == claims
        assert jwt.decode(token, SECRET, algorithms=[algorithm]) == claims


def test_other_parts_of_the_header_mean_nothing() -> None:
    header = {"alg": "HS256", "kid": "x", "jku": "http://127.0.0.1:1/", "jwk": {}, "typ": 5, "x5u": "file:///etc"}
    assert verifier().verify(built(header)).claims.sub == "1"


def test_the_beginning_that_is_remembered_is_bounded() -> None:
    judge = verifier()
    for number in range(200):
        judge.verify(built({"alg": "HS256", "kid": str(number)}))
        with pytest.raises(TokenError):
            judge.verify(built({"alg": "HS256", "kid": f"wrong {number}"}, secret="another"))
    assert len(judge._headers) <= 64
    assert not any(b"wrong" in from_base64(head) for head in judge._headers)


# What is wrong.


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS1", "hs256", "RS256", "ES256", "EdDSA", "PS256"])
def test_only_algorithms_of_the_keys(algorithm: str) -> None:
    """A token signed with the secret under another name, as in attacks that talk a public key into being a secret."""
    assert "algorithm" in refused(built({"alg": algorithm}))
    unsigned = built({"alg": algorithm}).rpartition(".")[0] + "."
    assert "algorithm" in refused(unsigned)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": None},
        {"alg": ["HS256"]},
        {"alg": "HS256", "kid": 5},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "crit": []},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        [],
        "HS256",
        b"",
        b"{",
        b"[" * 5000,
    ],
)
def test_headers(header: Any) -> None:
    assert "header" in refused(built(header))


def test_another_algorithm_of_the_same_secret_does_not_fit_the_signature() -> None:
    assert "signature" in refused(built({"alg": "HS512"}, algorithm="HS256"))


@pytest.mark.parametrize(
    "token", ["", ".", "..", "...", "a.b", "a.b.c.d", "x" * (MAX_TOKEN + 1), "\u00e4.b.c", "\ud800"]
)
def test_what_is_no_token(token: str) -> None:
    assert refused(token)


def test_another_secret() -> None:
    assert "signature" in refused(sign({"sub": "1"}, SECRET + "x"))
    assert refused(sign({"sub": "1"}, SECRET), secret="")


@pytest.mark.parametrize("algorithm", sorted(DIGESTS))
def test_every_bit_of_the_signature_counts(algorithm: str) -> None:
    signed, _, signature = sign({"sub": "1"}, SECRET, algorithm).rpartition(".")
    digest = from_base64(signature.encode())
    wrong = [digest[:size] for size in (0, 1, len(digest) - 1)] + [digest + b"\0", digest * 2]
    wrong += [digest[:place] + bytes([digest[place] ^ 1]) + digest[place + 1 :] for place in range(len(digest))]
    for other in wrong:
        assert "signature" in refused(f"{signed}.{to_base64(other).decode()}")


def test_no_key_no_token() -> None:
    with pytest.raises(TokenError, match="no key"):
        Verifier([]).verify(sign({"sub": "1"}, ""))


def test_times() -> None:
    for claims in (
        {"exp": NOW_S + DAY_S},
        {"nbf": NOW_S - DAY_S},
        {"exp": NOW_S + DAY_S + 0.5},
        {"iat": NOW_S + DAY_S},
    ):
        verifier().verify(sign(claims, SECRET))
    assert refused(sign({"exp": NOW_S - 1}, SECRET)).startswith("TokenExpiredError")
    assert refused(sign({"exp": -5}, SECRET)).startswith("TokenExpiredError")
    assert "yet" in refused(sign({"nbf": NOW_S + DAY_S}, SECRET))


@pytest.mark.parametrize(("now_s", "valid"), [(99.999, True), (100.0, False), (100.5, False)])
def test_leeway_is_none(now_s: float, valid: bool) -> None:
    judge = verifier(clock=lambda: now_s)
    if valid:
        with pytest.raises(TokenError, match="yet"):
            judge.verify(sign({"nbf": 100}, SECRET))
    else:
        judge.verify(sign({"nbf": 100}, SECRET))
    for exp in (100, 100.9):
        token = sign({"exp": exp}, SECRET)
        if valid:
            assert judge.verify(token).claims.expires == 100
        else:
            with pytest.raises(TokenExpiredError):
                judge.verify(token)


def test_issuer_and_audience_are_asked_for_where_they_are_configured() -> None:
    both = sign({"iss": "me", "aud": ["us", "them"]}, SECRET)
    verifier().verify(both)
    verifier(issuer="me", audience="us").verify(both)
    verifier(audience="us").verify(sign({"aud": "us"}, SECRET))
    assert "issuer" in refused(both, issuer="other")
    assert "audience" in refused(both, audience="others")
    assert "issuer" in refused(sign({}, SECRET), issuer="me")
    for claims in ({}, {"aud": []}, {"aud": "usual"}, {"aud": ""}):
        assert "audience" in refused(sign(claims, SECRET), audience="us")


def test_only_what_is_right_otherwise_has_expired() -> None:
    """Whoever hears that a token is only too old comes back with a newer one, which has to help."""
    token = sign({"exp": NOW_S - DAY_S, "iss": "other"}, SECRET)
    assert refused(token, issuer="me").startswith("TokenError")
    assert refused(sign({"exp": NOW_S - DAY_S}, "another")).startswith("TokenError")


def test_several_keys_are_told_apart_by_algorithm_and_name() -> None:
    class Named(Key):
        def __init__(self, kid: str, secret: str) -> None:
            self.kid, self.secret = kid, SharedSecret(secret)

        def serves(self, alg: str, kid: str | None) -> bool:
            return self.secret.serves(alg, kid) and kid == self.kid

        def holds(self, alg: str, signed: bytes, signature: bytes) -> bool:
            return self.secret.holds(alg, signed, signature)

    judge = Verifier([Named("old", "first"), Named("new", "second")])
    for kid, secret, valid in (("old", "first", True), ("new", "second", True), ("new", "first", False)):
        token = built({"alg": "HS256", "kid": kid}, secret=secret)
        if valid:
            assert judge.verify(token).claims.sub == "1"
        else:
            with pytest.raises(TokenError):
                judge.verify(token)
    with pytest.raises(TokenError, match="no key"):
        judge.verify(built({"alg": "HS256"}, secret="first"))


def test_the_operator_is_told_once_and_never_the_token(caplog: pytest.LogCaptureFixture) -> None:
    judge = verifier()
    token = sign({"sub": "1"}, "another")
    for _ in range(5):
        with pytest.raises(TokenError):
            judge.verify(token)
        with pytest.raises(TokenExpiredError):
            judge.verify(sign({"exp": 1}, SECRET))
    assert len(caplog.records) == 1
    assert "signature" in caplog.text
    assert not any(part in caplog.text for part in token.split("."))


# Base64url.


@given(st.binary(max_size=40))
def test_base64_there_and_back(content: bytes) -> None:
    assert from_base64(to_base64(content)) == content


@given(st.text("Aa09-_+/=.\n \u00e4", max_size=12))
def test_there_is_one_text_for_each_content(text: str) -> None:
    encoded = text.encode("latin-1")
    try:
        content = from_base64(encoded)
    except TokenError:
        return
    assert to_base64(content) == encoded


# Against PyJWT.

NAMES = st.sampled_from(["", "42", "J\u00fcrgen"])
TIMES = st.sampled_from([NOW_S - DAY_S, NOW_S + DAY_S, -1, 0, NOW_S + DAY_S + 0.5, NOW_S - DAY_S + 0.5, 2**53])
WRONG = st.sampled_from([None, True, 5, "5", [], ["a"], {}, 1e300, 2**80, "\0"])
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "sub": NAMES | WRONG,
        "exp": TIMES | WRONG,
        "nbf": TIMES | WRONG,
        "iat": TIMES | WRONG,
        "jti": NAMES | WRONG,
        "iss": st.sampled_from(["me", "other"]) | WRONG,
        "aud": st.sampled_from(["us", "them", ["us", "x"], ["x"]]) | WRONG,
        "tenant": NAMES | WRONG,
        "info": WRONG,
        "permissions": st.sampled_from([{"sub": ["a"]}, {"sub": 5}]) | WRONG,
        "own": WRONG,
    },
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.sampled_from(["HS256", "HS256", "HS256", "HS384", "HS512", "none", "RS256", None, 5])},
    optional={
        "kid": st.sampled_from(["k", 5, None]),
        "typ": st.sampled_from(["JWT", 5]),
        "crit": st.sampled_from([["exp"], [], "b64", None]),
        "b64": st.booleans(),
    },
)


@st.composite
def tokens(draw: st.DrawFn) -> str:
    """Tokens that are right, or nearly: with a wrong claim or header, another secret, or a change of some letters."""
    payload = json.dumps(draw(CLAIMS)).encode()
    header = draw(st.just({"alg": "HS256"}) | HEADERS)
    algorithm = header["alg"] if header["alg"] in DIGESTS else "HS256"
    token = built(header, payload, draw(st.sampled_from([SECRET, SECRET, SECRET, SECRET + "x"])), algorithm)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(token)))
        kept = draw(st.sampled_from([place, place + 1]))
        token = token[:place] + draw(st.text("Aag09-_+/=.! \n\u00e4", max_size=2)) + token[kept:]
    return token


def judged_by_pyjwt(token: str, **options: Any) -> dict[str, Any] | str:
    checks = {"verify_iat": False, "verify_aud": options.get("audience") is not None}
    try:
        claims: dict[str, Any] = jwt.decode(token, SECRET, algorithms=list(DIGESTS), options=checks, **options)
    except jwt.ExpiredSignatureError:
        return "expired"
    except (jwt.InvalidTokenError, UnicodeError):
        return "invalid"
    return claims


def judged_here(token: str, **options: Any) -> Verified | str:
    try:
        return verifier(**options).verify(token)
    except TokenExpiredError:
        return "expired"
    except TokenError:
        return "invalid"


def is_typed_otherwise(claims: dict[str, Any]) -> bool:
    """The claims that PyJWT returned would not be read here: it knows nothing of `tenant`, and takes "5" for a time."""
    try:
        read_claims(json.dumps(claims).encode())
    except (ValueError, RecursionError):
        return True
    return False


@given(tokens(), st.sampled_from([{}, {"issuer": "me"}, {"audience": "us"}, {"issuer": "me", "audience": "us"}]))
@example(sign({"sub": "1"}, SECRET), {})
@example(sign({"sub": "1"}, SECRET) + "=", {})
@example(sign({"exp": "5"}, SECRET), {})
def test_both_judge_alike(token: str, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.warnings.InsecureKeyLengthWarning)
        theirs = judged_by_pyjwt(token, **options)
    ours = judged_here(token, **options)
    if isinstance(ours, Verified):
        assert theirs == ours.everything
    elif ours == "expired":
        assert theirs == "expired"
    elif isinstance(theirs, dict):
        head = json.loads(from_base64(token.partition(".")[0].rstrip("=").encode()))
        assert is_typed_otherwise(theirs) or "=" in token or "crit" in head or not isinstance(head.get("kid", ""), str)
