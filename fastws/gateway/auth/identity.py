"""Who a connection is.

There may be a million of them, and most are alike but for the name of the user: what tenant, device, permissions and
public information they have is one object for all who have the same.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from fastws.core.codecs.data import fitted
from fastws.gateway.auth.claims import STANDARD, Permissions, Verified
from fastws.gateway.auth.permissions import NO_GRANTS, Grants
from fastws.types import DEFAULT_DEVICE

MAX_ALIKE: Final = 1024
"""Profiles that are looked up before a new one is made. Where each user has its own, looking them up helps nobody."""


class Profile:
    """What users may have in common. Never changed once it is made; 72 bytes, without what it refers to."""

    __slots__ = ("device", "grants", "packed_extra", "packed_info", "roles", "tenant")

    def __init__(
        self,
        tenant: str = "",
        device: str = DEFAULT_DEVICE,
        packed_info: bytes = b"",
        grants: Grants = NO_GRANTS,
        roles: tuple[str, ...] = (),
        packed_extra: bytes = b"",
    ) -> None:
        self.tenant = tenant
        """Empty if there is none."""
        self.device = device
        self.packed_info = packed_info
        """What is public about the user, as JSON; empty if nothing is."""
        self.grants = grants
        self.roles = roles
        self.packed_extra = packed_extra
        """The application's own claims, as a JSON object; empty if there are none, or nobody would look at them."""

    @property
    def info(self) -> Any:
        """What is public about the user; None if nothing is."""
        return msgspec.json.decode(self.packed_info) if self.packed_info else None


NO_PROFILE: Final = Profile()


class Identity(NamedTuple):
    """A user as a connection stands for it."""

    user: str = ""
    """Empty if anonymous."""
    profile: Profile = NO_PROFILE

    @property
    def tenant(self) -> str:
        """Empty if there is none."""
        return self.profile.tenant

    @property
    def device(self) -> str:
        """`default` unless the token names one."""
        return self.profile.device

    @property
    def info(self) -> Any:
        """What is public about the user; None if nothing is. Decoded at each call."""
        return self.profile.info

    @property
    def claims(self) -> dict[str, Any]:
        """What is kept of the token: all but its times, its id, where it is from, and for whom."""
        profile = self.profile
        claims: dict[str, Any] = msgspec.json.decode(profile.packed_extra) if profile.packed_extra else {}
        if self.user:
            claims["sub"] = self.user
        if profile.tenant:
            claims["tenant"] = profile.tenant
        if profile.device != DEFAULT_DEVICE:
            claims["device"] = profile.device
        if profile.packed_info:
            claims["info"] = profile.info
        if profile.roles:
            claims["roles"] = list(profile.roles)
        return claims


def identity_of(user: str, tenant: str = "", device: str = DEFAULT_DEVICE, info: Any = None) -> Identity:
    """An identity without a token behind it."""
    return Identity(user, Profile(tenant, device, b"" if info is None else msgspec.json.encode(info)))


ANONYMOUS: Final = Identity()


class Identities:
    """Makes identities of tokens. `keep_claims`: the application's own claims may be asked for later."""

    def __init__(self, *, keep_claims: bool = False) -> None:
        self._keep_claims = keep_claims
        self._profiles: dict[Any, Profile] = {}
        self._grants: dict[Permissions, Grants] = {}

    def of(self, token: Verified) -> Identity:
        """The identity that a token gives; equal ones share what they have in common."""
        claims = token.claims
        info = b"" if claims.info is UNSET else bytes(claims.info)
        extra = self._extra(token) if self._keep_claims else b""
        permissions = None if claims.permissions is UNSET else claims.permissions
        key = (claims.tenant, claims.device, info, permissions, claims.roles, extra)
        profile = self._profiles.get(key)
        if profile is None:
            grants = self._grants_of(permissions)
            profile = Profile(claims.tenant, claims.device, info, grants, claims.roles, extra)
            _remember(self._profiles, key, profile)
        return Identity(claims.sub, profile)

    def _grants_of(self, permissions: Permissions | None) -> Grants:
        if permissions is None:
            return NO_GRANTS
        grants = self._grants.get(permissions)
        if grants is None:
            grants = Grants(permissions)
            _remember(self._grants, permissions, grants)
        return grants

    def _extra(self, token: Verified) -> bytes:
        extra = {name: value for name, value in token.everything.items() if name not in STANDARD}
        return fitted(msgspec.json.encode(extra)) if extra else b""


def _remember(known: dict[Any, Any], key: Any, value: Any) -> None:
    """Where there are too many, begin again: those that are really shared come back soon."""
    if len(known) >= MAX_ALIKE:
        known.clear()
    known[key] = value
