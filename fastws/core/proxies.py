"""Who the client is when proxies stand in front: `X-Forwarded-For` and `X-Forwarded-Proto`, believed only from
trusted peers.

Every proxy appends the address it accepted from, so the list is read from the right, over the proxies that are
trusted, to the first address that is not: what stands further left was written by the client and may be forged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

_LOCAL: Final = ip_address("127.0.0.1")


class Client(NamedTuple):
    """The far end as the application should see it."""

    address: str
    """An IP address, or empty if it is not known (Unix sockets without a proxy's word)."""
    port: int
    """0 where only a proxy knows it."""
    secure: bool
    """Whether the client's own connection is encrypted."""


def canonical_address(text: str) -> str:
    """`text` as it is compared: IPv4 in IPv6 becomes IPv4, letters and zeros of IPv6 are normal. Raises `ValueError`
    if it is no address.
    """
    return str(_parse(text))


def is_loopback(address: str) -> bool:
    """Whether `address` (canonical) is of this machine alone."""
    return address.startswith("127.") or address == "::1"


class TrustedProxies:
    """The peers whose `X-Forwarded-*` headers are believed.

    `networks`: addresses and networks, or `*` for every peer. Raises `ValueError` naming an entry that is neither. A
    Unix socket's peer is a program of this machine, and trusted as 127.0.0.1 is.
    """

    __slots__ = ("_everyone", "_networks")

    def __init__(self, networks: Iterable[str]) -> None:
        entries = [entry.strip() for entry in networks]
        self._everyone = "*" in entries
        self._networks = [ip_network(entry, strict=False) for entry in entries if entry and entry != "*"]

    def __contains__(self, address: str) -> bool:
        """Whether `address` (empty for a Unix socket) is trusted."""
        if self._everyone:
            return True
        return self._trusts(_parse(address) if address else _LOCAL)

    def client(
        self,
        peer: tuple[str, int] | None,
        forwarded_for: Sequence[bytes],
        forwarded_proto: Sequence[bytes],
        *,
        over_tls: bool = False,
    ) -> Client:
        """The client behind `peer`, by the values of the two headers in their order; both are ignored if the peer is
        not trusted. `over_tls`: whether the peer itself speaks TLS, which holds unless the second header says more.

        An entry that is no address ends the walk: the last good one is the client.
        """
        address, port = (canonical_address(peer[0]), peer[1]) if peer is not None else ("", 0)
        if not (forwarded_for or forwarded_proto) or address not in self:
            return Client(address, port, over_tls)
        for entry in reversed([item for value in forwarded_for for item in value.split(b",")]):
            try:
                address, port = canonical_address(_without_port(entry.decode("ascii").strip())), 0
            except ValueError:
                break
            if address not in self:
                break
        protos = [item.strip().lower() for value in forwarded_proto for item in value.split(b",")]
        return Client(address, port, protos[-1] in (b"https", b"wss") if protos else over_tls)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _parse(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _without_port(text: str) -> str:
    """`1.2.3.4:80` and `[::1]:80` without their ports."""
    if text.startswith("["):
        address, bracket, _ = text[1:].partition("]")
        return address if bracket else ""
    return text.partition(":")[0] if text.count(":") == 1 else text
