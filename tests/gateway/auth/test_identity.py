"""Who a connection is, and what identities share."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from fastws.gateway.auth.claims import Verified, read_claims
from fastws.gateway.auth.identity import ANONYMOUS, MAX_ALIKE, Identities, Identity, Profile


def token(**claims: Any) -> Verified:
    packed = json.dumps(claims).encode()
    return read_claims(packed)


FULL: dict[str, Any] = {
    "sub": "42",
    "tenant": "acme",
    "device": "phone",
    "info": {"name": "Ada"},
    "permissions": {"sub": ["chat:*"]},
    "roles": ["admin"],
    "exp": 5,
    "rooms": ["a"],
}


def test_an_identity_has_what_the_token_says() -> None:
    identity = Identities().of(token(**FULL))
    assert (identity.user, identity.tenant, identity.device) == ("42", "acme", "phone")
    assert identity.info == {"name": "Ada"}
    assert identity.profile.roles == ("admin",)
    assert identity.profile.grants.subscribe is not None
    assert "chat:a" in identity.profile.grants.subscribe
    assert identity.profile.grants.publish is None


def test_nobody_in_particular() -> None:
    for identity in (ANONYMOUS, Identities().of(token())):
        assert (identity.user, identity.tenant, identity.device, identity.info, identity.claims) == (
            *("", "", "default", None),
            {},
        )


def test_what_is_equal_is_one_object() -> None:
    identities = Identities()
    first = identities.of(token(**FULL))
    second = identities.of(token(**(FULL | {"sub": "43", "exp": 6, "rooms": ["b"]})))
    assert first.profile is second.profile
    other = identities.of(token(**(FULL | {"device": "web"})))
    assert other.profile is not first.profile
    assert other.profile.grants is first.profile.grants


OTHERS: dict[str, Any] = {
    "tenant": "other",
    "device": "web",
    "info": {"name": "Bob"},
    "permissions": {"sub": []},
    "roles": [],
    "rooms": ["b"],
}


@pytest.mark.parametrize("claim", OTHERS)
def test_nobody_is_given_what_another_token_says(claim: str) -> None:
    identities = Identities(keep_claims=True)
    first = identities.of(token(**FULL))
    for second in (
        token(**FULL | {claim: OTHERS[claim]}),
        token(**{name: FULL[name] for name in FULL if name != claim}),
    ):
        identity = identities.of(second)
        alone = Identities(keep_claims=True).of(second)
        assert identity.profile is not first.profile
        assert identity.claims == alone.claims
        for topic in ("chat:a", "a"):
            lists = (identity.profile.grants.subscribe, alone.profile.grants.subscribe)
            assert len({None if one is None else topic in one for one in lists}) == 1


def test_own_claims_are_kept_only_where_somebody_may_ask() -> None:
    kept = {name: FULL[name] for name in ("sub", "tenant", "device", "info", "roles")}
    assert Identities().of(token(**FULL)).claims == kept
    keeping = Identities(keep_claims=True)
    assert keeping.of(token(**FULL)).claims == kept | {"rooms": ["a"]}
    assert keeping.of(token(sub="1")).profile.packed_extra == b""


def test_what_is_remembered_is_bounded() -> None:
    identities = Identities()
    for number in range(MAX_ALIKE * 2 + 5):
        identity = identities.of(token(info=number, permissions={"pub": [str(number)]}))
        assert identity.info == number
    assert len(identities._profiles) <= MAX_ALIKE
    assert len(identities._grants) <= MAX_ALIKE


def test_a_profile_is_small() -> None:
    assert sys.getsizeof(Profile()) <= 80
    assert not hasattr(Profile(), "__dict__")


def test_identities_are_values() -> None:
    assert Identity("a") == Identity("a") != Identity("b")
