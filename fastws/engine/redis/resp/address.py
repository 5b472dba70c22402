"""Where a Redis server is, and how to present oneself there: read from a URL, and never shown with its password."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import unquote

from fastws.errors import ConfigError

DEFAULT_PORT: Final = 6379
_CERT_REQS: Final = ("required", "none")
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_MAX_DB: Final = 1_000_000


@dataclass(frozen=True)
class Tls:
    """How a server is reached by `rediss://`."""

    ca_certs: str = ""
    """File of the authorities that are trusted; empty: those of the system."""
    certfile: str = ""
    """Our own certificate, if the server wants one."""
    keyfile: str = ""
    verify: bool = True
    """Whether the server has to show that it is the one that it is called."""

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises `ConfigError` for those that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_certs or None)
            if self.certfile:
                context.load_cert_chain(self.certfile, self.keyfile or None, password=_no_password)
        except (OSError, ValueError) as error:
            raise ConfigError(f"a file of TLS for Redis cannot be used: {error}") from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    raise ValueError("ssl_keyfile is encrypted; a key without a password is needed")


@dataclass(frozen=True)
class Address:
    """One server. As text it has neither user nor password."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    unix: str = ""
    """Path of a socket; if there is one, host and port mean nothing."""
    db: int = 0
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    tls: Tls | None = None
    protocol: int = 3
    """2 or 3: the protocol to ask for. A server that has only 2 is asked in 2."""

    def __str__(self) -> str:
        if self.unix:
            return f"unix://{self.unix}?db={self.db}" if self.db else f"unix://{self.unix}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls is not None else 'redis'}://{host}:{self.port}/{self.db}"

    def at(self, host: str, port: int) -> Address:
        """Another server that is reached in the same way."""
        return replace(self, host=host, port=port, unix="")


@dataclass(frozen=True)
class Url:
    """The parts of a URL whose scheme names Redis, decoded."""

    scheme: str
    """In lower case."""
    hosts: Sequence[tuple[str, int | None]]
    """With the port, where one is said; empty where there is none."""
    path: str
    options: Mapping[str, str]
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def split_url(url: str) -> Url:
    """Take a URL apart. It may name several hosts, with commas. Raises `ConfigError`, never with what may be secret."""
    scheme, colon, rest = url.partition("://")
    if not colon or not scheme or any(not letter.isprintable() or letter.isspace() for letter in url):
        raise ConfigError("the URL of Redis has to look like redis://host:6379/0")
    if "#" in rest:
        raise ConfigError("the URL of Redis has a '#': in a password write %23")
    rest, _, query = rest.partition("?")
    place, slash, path = rest.partition("/")
    login, at, hosts = place.rpartition("@")
    if not at and "@" in rest and scheme.lower() != "unix":
        raise ConfigError("the URL of Redis has a '/' in the user or password: write %2F")
    username, colon, password = login.partition(":")
    return Url(
        scheme.lower(),
        tuple(_host(part) for part in hosts.split(",") if part),
        slash + unquote(path),
        _options(query),
        _unquoted(username),
        _unquoted(password),
    )


def parse_address(url: str) -> Address:
    """Read `redis://`, `rediss://` and `unix://`. Raises `ConfigError`."""
    parts = split_url(url)
    if parts.scheme == "unix":
        return _unix(parts)
    if parts.scheme not in {"redis", "rediss"}:
        raise ConfigError(f"the URL of Redis begins with redis, rediss or unix, not with {parts.scheme[:20]!a}")
    if len(parts.hosts) > 1:
        raise ConfigError("several hosts: for Sentinel write redis+sentinel://, for a cluster redis+cluster://")
    host, port = parts.hosts[0] if parts.hosts else ("127.0.0.1", None)
    return Address(
        host,
        port if port is not None else DEFAULT_PORT,
        db=db_of(parts, path=True),
        username=parts.username,
        password=parts.password,
        tls=tls_of(parts, is_used=parts.scheme == "rediss"),
        protocol=protocol_of(parts),
    )


def check_options(parts: Url, *known: str) -> None:
    """Raise `ConfigError` for an option that means nothing."""
    for name in parts.options:
        if name not in known:
            raise ConfigError(f"the URL of Redis has the option {name[:40]!a}; there are {', '.join(known)}")


def db_of(parts: Url, *, path: bool) -> int:
    """The number of the database, from the path (if `path`) or the option `db`; 0 if none is named."""
    text = parts.options.get("db") or (parts.path.strip("/") if path else "") or "0"
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= _MAX_DB):
        raise ConfigError("the database in the URL of Redis is a number, as in redis://host:6379/0")
    return int(text[:9])


def tls_of(parts: Url, *, is_used: bool, known: Sequence[str] = ()) -> Tls | None:
    """The options of TLS, and a check of all others: `known` are those that the caller reads."""
    check_options(parts, "db", "protocol", *known, *(_TLS_OPTIONS if is_used else ()))
    if not is_used:
        return None
    options = parts.options
    wanted = options.get("ssl_cert_reqs", "required").lower()
    if wanted not in _CERT_REQS:
        raise ConfigError(f"ssl_cert_reqs in the URL of Redis is one of {', '.join(_CERT_REQS)}")
    return Tls(
        options.get("ssl_ca_certs", ""),
        options.get("ssl_certfile", ""),
        options.get("ssl_keyfile", ""),
        verify=wanted == "required",
    )


def protocol_of(parts: Url) -> int:
    """2 or 3, from the option `protocol`; 3 by default."""
    text = parts.options.get("protocol", "3")
    if text not in {"2", "3"}:
        raise ConfigError("protocol in the URL of Redis is 2 or 3")
    return int(text)


def _unix(parts: Url) -> Address:
    # "unix://run/redis.sock" is meant as "unix:///run/redis.sock" by nobody but those who wrote it, and often.
    if parts.hosts or not parts.path.strip("/"):
        raise ConfigError("the path of a socket begins with a slash: unix:///run/redis.sock?db=0")
    tls_of(parts, is_used=False)
    return Address(
        unix=parts.path,
        db=db_of(parts, path=False),
        username=parts.username,
        password=parts.password,
        protocol=protocol_of(parts),
    )


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            options[_unquoted(name)] = _unquoted(value)
    return options


def _host(text: str) -> tuple[str, int | None]:
    """Of "host", "host:port", "[::1]:port"."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        host = _unquoted(host)
        try:
            IPv6Address(host.partition("%")[0])
        except AddressValueError:
            bracket = ""
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError("a host in the URL of Redis is no IPv6 address in brackets")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
        host = _unquoted(host)
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise ConfigError("a port in the URL of Redis is a number from 1 to 65535")
    return host or "127.0.0.1", int(port) if port else None


def _unquoted(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError("the URL of Redis has an escape (%XX) that is no UTF-8") from None
