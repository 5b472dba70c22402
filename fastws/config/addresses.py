"""What a listening address means."""

import ipaddress
import socket


def is_loopback(host: str) -> bool:
    """Say whether listening on `host`, an address or a name, is reachable from this machine alone.

    A name that cannot be resolved is not: binding to it fails later with its own message.
    """
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(address[4][0]).partition("%")[0]).is_loopback for address in found)


def as_url(host: str, port: int, scheme: str = "http") -> str:
    """Write host and port as a URL, IPv6 addresses in brackets (RFC 3986 3.2.2)."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
