"""What a token says, typed: whatever does not fit makes the token invalid, and nothing else happens."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from fastws.core.codecs.data import pack_data
from fastws.types import DEFAULT_DEVICE

MAX_NAME: Final = 255
"""Characters of a user, a tenant, a device or a role."""

_LAST_MOMENT: Final = 2**53

Name = Annotated[str, Meta(max_length=MAX_NAME)]
Moment = (
    Annotated[int, Meta(ge=-_LAST_MOMENT, le=_LAST_MOMENT)] | Annotated[float, Meta(ge=-_LAST_MOMENT, le=_LAST_MOMENT)]
)
"""Seconds of Unix time (RFC 7519 2: NumericDate)."""


class Permissions(Struct, frozen=True, gc=False):
    """Which topics a client may subscribe to and publish to; an absent list says nothing about it."""

    sub: tuple[str, ...] | UnsetType = UNSET
    pub: tuple[str, ...] | UnsetType = UNSET


class Claims(Struct, gc=False):
    """The claims that fastws reads. The names are those of the token; made by `read_claims`."""

    sub: Name = ""
    """The user; empty if anonymous."""
    exp: Moment | UnsetType = UNSET
    nbf: Moment | UnsetType = UNSET
    iat: Moment | UnsetType = UNSET
    jti: str | UnsetType = UNSET
    iss: str | UnsetType = UNSET
    aud: str | list[str] | UnsetType = UNSET
    tenant: Name = ""
    device: Name = DEFAULT_DEVICE
    info: Raw | UnsetType = UNSET
    """What is public about the user, as JSON that was written here."""
    topics: tuple[str, ...] = ()
    """Subscribed by the server."""
    permissions: Permissions | UnsetType = UNSET
    roles: tuple[Name, ...] = ()
    topic: str | UnsetType = UNSET
    """The one topic of a subscription token; other tokens have none."""
    pub: bool = False
    """Of a subscription token: it allows publishing too."""

    @property
    def is_anonymous(self) -> bool:
        """It names no user."""
        return not self.sub

    @property
    def expires(self) -> int | None:
        """When it ends, in seconds of Unix time; None = never. A fraction is cut off."""
        return None if self.exp is UNSET else int(self.exp)


STANDARD: Final = frozenset(Claims.__struct_fields__)
"""The names of the claims that fastws reads."""

_decoder: Final = msgspec.json.Decoder(Claims)


class Verified(NamedTuple):
    """A token that is right."""

    claims: Claims
    everything: dict[str, Any]
    """All claims by name, those that fastws does not read among them."""


def read_claims(packed: bytes) -> Verified:
    """Read the payload of a token whose signature was right.

    Raises `ValueError` or `RecursionError` for claims of a wrong type or size, names with control characters, and
    `info` that cannot be written as JSON again (numbers beyond 64 bits). `null` is a wrong type but for `info`.
    """
    claims = _decoder.decode(packed)
    # What the decoder skipped may still be no text or no number.
    everything = msgspec.json.decode(packed)
    if claims.info is not UNSET:
        info = everything["info"]
        claims.info = UNSET if info is None else Raw(pack_data(info, of_client=True))
    for name in (claims.sub, claims.tenant, claims.device):
        if not name.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in name):
            raise ValueError("a name has control characters")
    if not claims.device:
        claims.device = DEFAULT_DEVICE
    return Verified(claims, everything)
