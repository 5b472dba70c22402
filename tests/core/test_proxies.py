"""The client's address behind proxies: believed from trusted ones, forged in vain by everyone else."""

from __future__ import annotations

import pytest

from fastws.core.proxies import Client, TrustedProxies, canonical_address, is_loopback

PROXY = ("127.0.0.1", 1000)


def client(networks: list[str], peer: tuple[str, int] | None, *forwarded: bytes) -> str:
    return TrustedProxies(networks).client(peer, forwarded, []).address


def test_the_rightmost_untrusted_entry_is_the_client() -> None:
    networks = ["127.0.0.1", "10.0.0.0/8"]
    assert client(networks, PROXY, b"6.6.6.6, 1.2.3.4, 10.1.1.1") == "1.2.3.4"
    assert client(networks, PROXY, b"6.6.6.6", b"1.2.3.4, 10.1.1.1") == "1.2.3.4"
    assert client(networks, PROXY, b"6.6.6.6,1.2.3.4") == "1.2.3.4"


def test_an_untrusted_peer_is_the_client() -> None:
    trusted = TrustedProxies(["10.0.0.1"])
    assert trusted.client(("1.1.1.1", 5), [b"6.6.6.6"], [b"https"]) == Client("1.1.1.1", 5, False)
    assert TrustedProxies([]).client(PROXY, [b"6.6.6.6"], []) == Client("127.0.0.1", 1000, False)


def test_without_the_headers_the_peer_is_the_client() -> None:
    assert TrustedProxies(["127.0.0.1"]).client(PROXY, [], []) == Client("127.0.0.1", 1000, False)


def test_where_every_entry_is_trusted_the_leftmost_counts() -> None:
    assert client(["127.0.0.1", "10.0.0.0/8"], PROXY, b"10.0.0.1, 10.0.0.2") == "10.0.0.1"
    assert client(["*"], PROXY, b"1.1.1.1, 2.2.2.2") == "1.1.1.1"


@pytest.mark.parametrize("entry", [b"unknown", b"", b"1.2.3", b"evil\xff", b"1.2.3.4.5", b"_hidden", b"[::1"])
def test_an_entry_that_is_no_address_ends_the_walk(entry: bytes) -> None:
    assert client(["127.0.0.1", "10.0.0.1"], PROXY, b"6.6.6.6, " + entry + b", 10.0.0.1") == "10.0.0.1"
    assert client(["127.0.0.1"], PROXY, entry) == "127.0.0.1"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        (b"1.2.3.4:5678", "1.2.3.4"),
        (b"[2001:DB8::1]:443", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"2001:db8:0:0::1", "2001:db8::1"),
        (b"::ffff:1.2.3.4", "1.2.3.4"),
    ],
)
def test_forms_of_entries(entry: bytes, address: str) -> None:
    assert client(["127.0.0.1"], PROXY, entry) == address


def test_the_port_is_unknown_behind_a_proxy() -> None:
    assert TrustedProxies(["127.0.0.1"]).client(PROXY, [b"1.2.3.4:99"], []) == Client("1.2.3.4", 0, False)


@pytest.mark.parametrize(
    ("proto", "secure"), [(b"https", True), (b"WSS", True), (b"http", False), (b"https, http", False)]
)
def test_the_scheme(proto: bytes, secure: bool) -> None:
    assert TrustedProxies(["127.0.0.1"]).client(PROXY, [], [proto]).secure is secure


def test_a_unix_socket_is_trusted_as_this_machine_is() -> None:
    assert client(["127.0.0.1"], None, b"1.2.3.4") == "1.2.3.4"
    assert client(["10.0.0.1"], None, b"1.2.3.4") == ""


def test_ipv4_peers_in_ipv6_clothes() -> None:
    assert client(["127.0.0.1"], ("::ffff:127.0.0.1", 1), b"1.2.3.4") == "1.2.3.4"
    assert canonical_address("fe80::1%eth0") == "fe80::1"


def test_networks_that_are_none() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        TrustedProxies(["nonsense"])


def test_loopback() -> None:
    assert is_loopback("127.8.9.1")
    assert is_loopback("::1")
    assert not is_loopback("128.0.0.1")
    assert not is_loopback("")
