"""What becomes of an upgrade request: the table of RFC 6455 4.2 and of fastws as one pure function.

`judge_upgrade` rules in a fixed order, so that a request with two faults always gets the same answer: method,
upgrade and version, key and the other headers, origin. What comes before (syntax, admission, path) and after (tokens,
the application's hooks) is the caller's.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Final, NamedTuple

from fastws.core.deflate import negotiate
from fastws.core.request import Request

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# 16 bytes in canonical base64: the last digit carries two bits, the four below them are zero (RFC 4648 3.5)
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ORIGIN: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+\-.]*)://(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS: Final = {b"http": 80, b"https": 443, b"ws": 80, b"wss": 443}

UPGRADE_HEADERS: Final = ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"))
"""What every 426 carries."""


class Refuse(NamedTuple):
    """The request is refused with an HTTP answer, and the connection closes after it."""

    status: int
    reason: str
    """The word it is counted under: `protocol` or `origin`."""
    message: str
    """What the client should change, safe to send."""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Accept(NamedTuple):
    """The request may become a WebSocket."""

    answer: bytes
    """The whole 101, to be sent as it is."""
    subprotocol: str
    """The one that was chosen, empty if none was."""
    window_bits: int
    """Of permessage-deflate for what the server compresses, 0 without deflate."""


class Origin(NamedTuple):
    """An origin as it is compared: exactly (RFC 6454 5). `port` is the scheme's default where none was written, else
    None.
    """

    scheme: bytes
    host: bytes
    port: int | None


def parse_origin(value: bytes) -> Origin | None:
    """The origin written in `value`, or None if it is opaque (`null`) or no origin at all."""
    match = _ORIGIN.fullmatch(value)
    if match is None:
        return None
    scheme = match[1].lower()
    port = int(match[3]) if match[3] is not None else _DEFAULT_PORTS.get(scheme)
    return Origin(scheme, match[2].lower(), port)


@dataclass(frozen=True, slots=True)
class OriginRules:
    """Which pages may connect. Made by `origin_rules`."""

    any: bool = False
    null: bool = False
    listed: frozenset[Origin] | None = None
    """None: the page has to come from the host it connects to."""

    def allows(self, origin: bytes, host: bytes) -> bool:
        """Whether a page of `origin` may connect to `host`, both as the headers have them."""
        if self.any:
            return True
        if origin == b"null":
            return self.null
        parsed = parse_origin(origin)
        if parsed is None:
            return False
        if self.listed is not None:
            return parsed in self.listed
        # A proxy may end TLS in front of the server: a Host without a port means the port the page's own scheme
        # implies. A scheme that implies none cannot be compared with such a Host.
        return parsed.port is not None and parse_origin(parsed.scheme + b"://" + host) == parsed


def origin_rules(origins: Iterable[str]) -> OriginRules:
    """Rules from the option: nothing = same host only; else exact origins, `null`, or `*` for any.

    Raises `ValueError` naming the entry that is no origin.
    """
    listed: set[Origin] = set()
    given = [origin.strip() for origin in origins]
    for text in given:
        if text in ("*", "null"):
            continue
        parsed = parse_origin(text.encode("utf-8", "replace"))
        if parsed is None:
            raise ValueError(f"{text!r} is no origin: write it as scheme://host or scheme://host:port")
        listed.add(parsed)
    return OriginRules("*" in given, "null" in given, frozenset(listed) if given else None)


@dataclass(frozen=True, slots=True)
class UpgradeRules:
    """What one path offers."""

    origins: OriginRules = field(default_factory=OriginRules)
    subprotocols: Collection[str] = ()
    """The ones this path speaks."""
    deflate: bool = False
    """Whether an offer of permessage-deflate may be taken up."""


def accept_value(key: bytes) -> bytes:
    """`Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 4.2.2 5.4)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def wants_upgrade(request: Request) -> bool:
    """Whether `request` asks for a WebSocket. `Upgrade` counts only where `Connection` names it (RFC 9110 7.8)."""
    return _has_token(request, b"upgrade", b"websocket") and _has_token(request, b"connection", b"upgrade")


def judge_upgrade(request: Request, rules: UpgradeRules) -> Accept | Refuse:
    """Rule on a request for a WebSocket path; the first fault in the order of the table decides."""
    refusal = _judge_method(request) or _judge_headers(request) or _judge_origin(request, rules.origins)
    if refusal is not None:
        return refusal
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    lines.append(b"Sec-WebSocket-Accept: " + accept_value(request.get(b"sec-websocket-key") or b""))
    subprotocol = _choose(request, rules.subprotocols)
    if subprotocol:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode("ascii"))
    window_bits = 0
    if rules.deflate:
        offer = negotiate(b", ".join(request.get_all(b"sec-websocket-extensions")))
        if offer is not None:
            lines.append(b"Sec-WebSocket-Extensions: " + offer.answer)
            window_bits = offer.window_bits
    return Accept(b"\r\n".join(lines) + b"\r\n\r\n", subprotocol, window_bits)


def _judge_method(request: Request) -> Refuse | None:
    if request.method != "GET":
        return Refuse(405, "protocol", "a WebSocket is opened with GET", ((b"Allow", b"GET"),))
    if not wants_upgrade(request):
        return Refuse(426, "protocol", "this is a WebSocket path: ask for an upgrade", UPGRADE_HEADERS)
    versions = set(request.items(b"sec-websocket-version"))
    if versions != {b"13"}:
        return Refuse(426, "protocol", "only version 13 of the WebSocket protocol is spoken", UPGRADE_HEADERS)
    return None


def _judge_headers(request: Request) -> Refuse | None:
    if request.version < 11:
        return Refuse(400, "protocol", "an upgrade asks for HTTP/1.1")
    if request.content_length:
        return Refuse(400, "protocol", "an upgrade has no body")
    for name in (b"sec-websocket-key", b"sec-websocket-version", b"origin"):
        if len(request.get_all(name)) > 1:
            return Refuse(400, "protocol", f"the header {name.decode()} came more than once")
    key = request.get(b"sec-websocket-key")
    if key is None or _KEY.fullmatch(key) is None:
        return Refuse(400, "protocol", "Sec-WebSocket-Key is not the base64 of 16 bytes")
    if not _lists_tokens(request):
        return Refuse(400, "protocol", "Sec-WebSocket-Protocol is no list of tokens")
    return None


def _lists_tokens(request: Request) -> bool:
    return all(_TOKEN.fullmatch(item) for item in request.items(b"sec-websocket-protocol"))


def subprotocol_of(request: Request, rules: UpgradeRules) -> str | None:
    """The subprotocol that would be agreed on, empty if none would; None if the header is malformed."""
    return _choose(request, rules.subprotocols) if _lists_tokens(request) else None


def _judge_origin(request: Request, origins: OriginRules) -> Refuse | None:
    origin = request.get(b"origin")
    if origin is None or origins.allows(origin, request.get(b"host") or b""):
        return None
    return Refuse(403, "origin", "pages of this origin may not connect, see the option --origins")


def _choose(request: Request, known: Collection[str]) -> str:
    """The first subprotocol in the client's order that is known; empty if none is."""
    for item in request.items(b"sec-websocket-protocol"):
        name = item.decode("ascii")
        if name in known:
            return name
    return ""


def _has_token(request: Request, header: bytes, token: bytes) -> bool:
    return any(item.lower() == token for item in request.items(header))
