"""Who may call the control API.

With a key: whoever presents it. A page in a browser cannot: it does not know the key, and the header that carries it
needs a permission (CORS) which is never given.

Without one: programs on this machine. A page that a browser on this machine shows would reach the port as well, so a
call is refused if

* the other end is not on loopback, or says that it speaks for somebody else (a proxy's `Forwarded`, `X-Forwarded-For`);
  a proxy that does not say so, as nginx until it is told to, is a program on this machine;
* `Host` is neither `localhost`, nor an address of loopback, nor the host of `--admin-host`: a name that somebody had
  resolve to 127.0.0.1 (DNS rebinding) is none of them;
* `Origin` is not that of this address itself, or `Sec-Fetch-Site` says that another site asks: browsers send the first
  with every POST, whatever the page does (Fetch, "append a request Origin header");
* the body is `text/plain` or `multipart/form-data`, which pages may send anywhere without asking and back ends do not.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

_PROXY_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_OF_PAGES: Final = frozenset({"text/plain", "multipart/form-data"})
_SAME: Final = frozenset({"same-origin", "none"})
_SET_A_KEY: Final = "without --admin-key only programs on this machine may call"


class Guard:
    """Judges requests by where they come from and what they present."""

    def __init__(self, key: str | None, host: str) -> None:
        """`key`: None if callers need none, blanks around it do not count; `host`: --admin-host."""
        self._key = key.strip().encode() if key is not None else None
        self._host = _bare(host)

    @property
    def needs_key(self) -> bool:
        """Whether callers have to present a key."""
        return self._key is not None

    def problem(self, peer: str, headers: Mapping[str, str]) -> str | None:
        """Why a request may not be answered, or None.

        `peer`: the address at the other end, empty if that is not known. `headers`: names in any case.
        """
        if self._key is not None:
            return None if _presents(headers.get("Authorization", ""), self._key) else "the admin key is needed"
        if not _is_loopback(peer):
            return _SET_A_KEY
        if any(name in headers for name in _PROXY_HEADERS):
            return f"{_SET_A_KEY}, not proxies for others"
        own = headers.get("Host", "")
        if own and not self._is_own(own):
            return f"{_SET_A_KEY}, by the name localhost or an address of loopback"
        origin = headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{own.lower()}":
            return f"{_SET_A_KEY}, no pages of other origins"
        if headers.get("Sec-Fetch-Site", "none") not in _SAME:
            return f"{_SET_A_KEY}, no pages of other sites"
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return f"{_SET_A_KEY}; the Content-Type is application/json" if kind in _OF_PAGES else None

    def _is_own(self, host: str) -> bool:
        name = _bare(host)
        return name in ("localhost", self._host) or _is_loopback(name)


def _presents(authorization: str, key: bytes) -> bool:
    """Whether the header has the key (RFC 6750 2.1); how long the comparison takes does not tell how much is right."""
    scheme, _, given = authorization.partition(" ")
    # Bytes that are no UTF-8 come as lone surrogates.
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(errors="surrogateescape"), key)


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _bare(host: str) -> str:
    """The host of a `Host` header (RFC 9110 7.2), in lower case, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower() if host.count(":") == 1 else host.lower()
