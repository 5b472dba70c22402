"""Forwarded addresses: who the client is cannot be forged past the proxies that are trusted.

Input: lines. The first names the trusted networks (separated by commas), the second the peer; of the others those that
begin with `F` are values of X-Forwarded-For, those with `P` of X-Forwarded-Proto.
"""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network

from fastws.core.proxies import TrustedProxies, canonical_address, is_loopback

MAX_BYTES = 512
WORDS = (
    *(b"127.0.0.1", b"10.0.0.0/8", b"10.1.2.3", b"1.2.3.4", b"::1", b"::ffff:10.1.2.3", b"2001:db8::/32"),
    *(b"2001:DB8::0:1", b"[2001:db8::1]:80", b"1.2.3.4:80", b"fe80::1%eth0", b"*", b"unknown", b"_hidden"),
    *(b"\nF", b"\nP", b"\n", b",", b", ", b"https", b"HTTPS", b"http", b"wss", b" ", b"[", b"]", b":", b"%", b"/0"),
)
_FORGED = (b"6.6.6.6", b"127.0.0.1", b"::1", b"nonsense", b"")


def run(data: bytes) -> None:
    """Ask for the client, and again with what an attacker would write."""
    lines = data.split(b"\n")
    if len(lines) < 2:
        return
    networks = lines[0].decode("latin-1").split(",")
    try:
        proxies = TrustedProxies(networks)
    except ValueError:
        return
    try:
        peer = (lines[1].decode("latin-1"), 4711) if lines[1] else None
        address = canonical_address(peer[0]) if peer is not None else ""
    except ValueError:
        return
    assert address in proxies or not _is_trusted(networks, address)
    assert address not in proxies or _is_trusted(networks, address)
    forwarded_for = [line[1:] for line in lines[2:] if line[:1] == b"F"]
    forwarded_proto = [line[1:] for line in lines[2:] if line[:1] == b"P"]
    client = proxies.client(peer, forwarded_for, forwarded_proto)
    port = peer[1] if peer is not None else 0
    if client.address:
        assert canonical_address(client.address) == client.address
        assert is_loopback(client.address) == ip_address(client.address).is_loopback
    if address not in proxies:
        assert client == (address, port, False), "an untrusted peer was believed"
        return
    assert client.address == _walked(networks, address, forwarded_for)
    assert client.port in (0, port)
    if client.secure:
        assert forwarded_proto[-1].rpartition(b",")[2].strip().lower() in (b"https", b"wss")
    if client.address not in proxies and forwarded_for:
        for forged in _FORGED:
            again = proxies.client(peer, [forged + b"," + forwarded_for[0], *forwarded_for[1:]], forwarded_proto)
            assert again == client, f"{forged!r} in front changed the client"
            again = proxies.client(peer, [forged, *forwarded_for], forwarded_proto)
            assert again == client, f"{forged!r} in a header in front changed the client"


def _is_trusted(networks: list[str], address: str) -> bool:
    """The same question asked of `ipaddress` directly."""
    named = [network.strip() for network in networks]
    if "*" in named:
        return True
    parsed = ip_address(address or "127.0.0.1")
    candidates = [ip_network(name, strict=False) for name in named if name]
    return any(parsed.version == network.version and parsed in network for network in candidates)


def _entries(values: list[bytes]) -> list[bytes]:
    return [entry.strip() for value in values for entry in value.split(b",")]


def _walked(networks: list[str], address: str, values: list[bytes]) -> str:
    """The walk from the right, as RFC 7239 5.2 describes trust, over addresses that were all parsed before."""
    parsed = [_address(entry) for entry in _entries(values)]
    while parsed and _is_trusted(networks, address):
        nearest = parsed.pop()
        if not nearest:
            break
        address = nearest
    return address


def _address(entry: bytes) -> str:
    """An entry's address in canonical form, empty if it has none."""
    if not entry.isascii():
        return ""
    host = entry.decode().strip()
    if host.startswith("["):
        host, bracket, _ = host[1:].partition("]")
        if not bracket:
            return ""
    elif host.count(":") == 1:
        host = host.split(":")[0]
    try:
        parsed = ip_address(host.split("%")[0])
    except ValueError:
        return ""
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def seeds() -> Mapping[str, bytes]:
    """Chains of proxies, with ports, brackets and both families of addresses."""
    return {
        "direct": b"127.0.0.1\n8.8.8.8",
        "untrusted": b"127.0.0.1\n8.8.8.8\nF1.2.3.4\nPhttps",
        "one": b"127.0.0.1\n127.0.0.1\nF1.2.3.4\nPhttps",
        "chain": b"127.0.0.1,10.0.0.0/8\n127.0.0.1\nF9.9.9.9, 1.2.3.4, 10.0.0.1\nF10.0.0.2\nPhttp, https",
        "all-trusted": b"*\n::1\nF1.2.3.4, 5.6.7.8\nPWSS",
        "ipv6": b"2001:db8::/32\n2001:DB8::1\nF[2001:db8::2]:80, ::FFFF:1.2.3.4",
        "mapped": b"10.0.0.0/8\n::ffff:10.0.0.1\nF1.2.3.4:80",
        "scope": b"fe80::/10\nfe80::1%eth0\nFfe80::2%1,unknown",
        "unix": b"127.0.0.1\n\nF1.2.3.4\nPhttps",
        "bad": b"127.0.0.1\n127.0.0.1\nF1.2.3.4, nonsense, 127.0.0.1,,\xe4",
    }
