"""Upgrade headers: offers of extensions, origins and subprotocols are judged by their grammar, and no answer can be
broken open by what a client wrote.

Input: a byte of options, then lines: host, origin, extensions, subprotocols, version, connection. A line that is
missing is a header that was not sent.
"""

from collections.abc import Mapping

from fastws.core.deflate import DeflateOffer, negotiate
from fastws.core.request import Request
from fastws.core.upgrade import (
    Accept,
    OriginRules,
    UpgradeRules,
    accept_value,
    judge_upgrade,
    origin_rules,
    parse_origin,
)

MAX_BYTES = 600
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
WORDS = (
    *(
        b"permessage-deflate",
        b"; client_max_window_bits",
        b"; server_max_window_bits=",
        b"; server_no_context_takeover",
    ),
    *(
        b"; client_no_context_takeover",
        b"=15",
        b'="9"',
        b"=8",
        b"=08",
        b"x-webkit-deflate-frame",
        b",",
        b";",
        b"=",
        b'"',
    ),
    *(b"http://", b"https://", b"null", b"ws://", b":80", b":443", b":65536", b"[::1]", b"a.example", b"@", b"/", b"#"),
    *(b"chat", b"fastws.json.v1", b"13", b"Upgrade", b"keep-alive, ", b" ", b"\t", b"\n", b"\xe4", b"A"),
)
_NAMES = (
    *(
        b"host",
        b"origin",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"connection",
    ),
)
_KNOWN = ("chat", "fastws.json.v1")
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_PORTS = {b"http": 80, b"https": 443, b"ws": 80, b"wss": 443}
_NO_VALUE = bytes(set(range(256)) - set(range(32, 127)) - set(range(128, 256)) - {9})


def run(data: bytes) -> None:
    """Judge the headers, and compare with what their grammar says."""
    if not data:
        return
    # What is left is what the parser lets through as a value.
    values = [line.translate(None, _NO_VALUE).strip(b" \t") for line in data[1:].split(b"\n")]
    sent = list(zip(_NAMES, values, strict=False))
    headers = dict(sent)
    extensions = headers.get(b"sec-websocket-extensions", b"")
    offer = negotiate(extensions)
    assert offer == by_grammar(extensions), f"{offer}, the grammar says {by_grammar(extensions)}"
    host, origin = headers.get(b"host", b""), headers.get(b"origin")
    if origin is not None:
        assert OriginRules().allows(origin, host) == _is_same_host(origin, host)
        _check_listed(origin)
    _judge(data[0], sent)


def _judge(options: int, sent: list[tuple[bytes, bytes]]) -> None:
    rules = UpgradeRules(OriginRules(any=bool(options & 1)), _KNOWN if options & 2 else (), deflate=bool(options & 4))
    given = ((b"sec-websocket-key", KEY), (b"upgrade", b"websocket"), *sent)
    if len(sent) < 6:
        given += ((b"connection", b"upgrade"),)
    if len(sent) < 5:
        given += ((b"sec-websocket-version", b"13"),)
    verdict = judge_upgrade(Request("GET", b"/ws", b"", 11, given, 0, 0), rules)
    if not isinstance(verdict, Accept):
        assert verdict.status in (400, 403, 426)
        assert verdict.message.isascii()
        assert verdict.message.isprintable()
        return
    assert verdict.answer.isascii()
    lines = verdict.answer.split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    answered = dict(line.split(b": ", 1) for line in lines[1:-2])
    assert len(answered) == len(lines) - 3
    assert answered.pop(b"Sec-WebSocket-Accept") == accept_value(KEY)
    assert (answered.pop(b"Upgrade"), answered.pop(b"Connection")) == (b"websocket", b"Upgrade")
    assert answered.pop(b"Sec-WebSocket-Protocol", b"").decode() == verdict.subprotocol
    assert verdict.subprotocol in ("", *rules.subprotocols)
    offer = negotiate(b"".join(value for name, value in sent if name == b"sec-websocket-extensions"))
    agreed = answered.pop(b"Sec-WebSocket-Extensions", None)
    assert agreed == (offer.answer if offer and rules.deflate else None)
    assert verdict.window_bits == (offer.window_bits if offer and rules.deflate else 0)
    assert not answered


def by_grammar(value: bytes) -> DeflateOffer | None:
    """RFC 6455 9.1 and RFC 7692 7.1 by splitting: no quoted value may hold a comma or a semicolon."""
    taken = None
    for element in value.split(b","):
        if not element.strip(b" \t"):
            continue
        name, *parts = element.split(b";")
        parameters = []
        for part in parts:
            key, equals, text = part.partition(b"=")
            text = text.strip(b" \t")
            if len(text) >= 2 and text[:1] == text[-1:] == b'"':
                text = text[1:-1]
            if not _is_token(key.strip(b" \t")) or (equals and not _is_token(text)):
                return None
            parameters.append((key.strip(b" \t"), text if equals else None))
        if not _is_token(name.strip(b" \t")):
            return None
        if taken is None and name.strip(b" \t") == b"permessage-deflate":
            taken = _met(parameters)
    return taken


def _met(parameters: list[tuple[bytes, bytes | None]]) -> DeflateOffer | None:
    given = dict(parameters)
    bits = [str(number).encode() for number in range(8, 16)]
    server = given.pop(b"server_max_window_bits", b"")
    client = given.pop(b"client_max_window_bits", None)
    plain = (given.pop(b"server_no_context_takeover", None), given.pop(b"client_no_context_takeover", None))
    if given or len(dict(parameters)) != len(parameters) or plain != (None, None):
        return None
    if (client is not None and client not in bits) or (server != b"" and server not in bits[1:]):
        return None
    answer = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    if server:
        return DeflateOffer(answer + b"; server_max_window_bits=" + server, int(server))
    return DeflateOffer(answer, 15)


def _is_token(text: bytes) -> bool:
    return bool(text) and _TOKEN.issuperset(text)


def _is_same_host(origin: bytes, host: bytes) -> bool:
    """RFC 6454 5: scheme, host and port are equal; a Host without a port has that of the page's scheme."""
    scheme, separator, authority = origin.lower().partition(b"://")
    has_port = scheme in _PORTS or b":" in authority.rpartition(b"]")[2]
    if not separator or parse_origin(origin) is None or not has_port:
        return False
    page, server = (_with_port(text.lower(), _PORTS.get(scheme)) for text in (authority, host))
    return page is not None and page == server


def _with_port(authority: bytes, default: int | None) -> tuple[bytes, int] | None:
    name, colon, port = authority.rpartition(b":")
    if not colon or b"]" in port:
        return (authority, default) if default is not None and parse_origin(b"x://" + authority) else None
    if not port.isdigit() or len(port) > 5 or not parse_origin(b"x://" + name):
        return None
    return (name, int(port))


def _check_listed(origin: bytes) -> None:
    """An origin that can be listed is the only one that its list lets in."""
    try:
        rules = origin_rules([origin.decode()])
    except ValueError:
        return
    assert rules.allows(origin, b"")
    assert rules.any or not rules.allows(origin + b"x", b"") or parse_origin(origin + b"x") == parse_origin(origin)


def seeds() -> Mapping[str, bytes]:
    """Headers of browsers and of clients that try things."""
    deflate = b"permessage-deflate"
    return {
        "browser": b"\x06a.example\nhttp://a.example\n" + deflate + b"; client_max_window_bits\nchat",
        "tls": b"\x04a.example\nhttps://a.example:443\n" + deflate + b"; server_max_window_bits=10",
        "port": b"\x00a.example:8000\nhttp://A.example:8000\n\n\n13\nkeep-alive, Upgrade",
        "ipv6": b"\x00[::1]:80\nhttp://[::1]\n",
        "null": b"\x01a\nnull\n",
        "ftp": b"\x00a:21\nftp://a:21\n",
        "two-offers": b"\x04a\nhttp://a\n"
        + deflate
        + b"; server_max_window_bits=8, "
        + deflate
        + b'; client_max_window_bits="9"',
        "unknown": b"\x06a\nhttp://a\nfoo; bar=1, , " + deflate + b";x\nx, fastws.json.v1",
        "twice": b"\x04a\nhttp://a\n" + deflate + b"; client_no_context_takeover; client_no_context_takeover",
        "quoted": b"\x04a\nhttp://a\n" + deflate + b'; client_max_window_bits="1;5"',
        "bad-list": b"\x02a\nhttp://a\n\nchat room, chat",
        "version": b"\x00a\nhttp://a\n\n\n13, 8\nclose",
    }
