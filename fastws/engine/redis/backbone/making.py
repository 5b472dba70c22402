"""From a URL to the connections that it describes.

::

    redis://[user:password@]host:port/db         one server; rediss:// by TLS
    unix:///path?db=0                            one server, by its socket
    redis+sentinel://[user:password@]h1:26379,h2:26379/db?sentinel_master_name=m
    redis+cluster://[user:password@]h1:7000,h2:7001

The last two take `ssl=true` for TLS everywhere, and with it the options of `rediss://`; Sentinel takes
`sentinel_username` and `sentinel_password` where sentinels have others than their servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from fastws.engine.redis.backbone.cluster import Cluster
from fastws.engine.redis.backbone.contract import Backbone
from fastws.engine.redis.backbone.sentinel import Sentinel
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.resp.address import (
    DEFAULT_PORT,
    Address,
    Url,
    db_of,
    parse_address,
    protocol_of,
    split_url,
    tls_of,
)
from fastws.engine.redis.resp.link import DEFAULT_TUNING
from fastws.errors import ConfigError

SENTINEL_PORT: Final = 26379
MOST_HOSTS: Final = 64
_SENTINEL_OPTIONS: Final = ("sentinel_master_name", "sentinel_username", "sentinel_password", "ssl")


class Target(NamedTuple):
    """What a URL names."""

    address: Address
    """The server; of sentinels or a cluster how all servers are reached, whatever their host and port."""
    sentinels: Sequence[Address] = ()
    master_name: str = ""
    """Under which the sentinels know the master."""
    seeds: Sequence[Address] = ()
    """Members of a cluster."""


def make_backbone(
    url: str, *, prefix: str, name: str = "fastws", min_replicas: int = 0, replicas_s: float = 1.0
) -> Backbone:
    """Make the backbone of a URL; nothing is connected before it is started.

    :param prefix: of all keys and channels.
    :param name: how the servers list our connections, without spaces.
    :param min_replicas: that have what is stored before that is answered.
    :param replicas_s: seconds for which they are waited for.
    :raises ConfigError: the URL cannot be, or a file that TLS needs cannot be used.
    """
    target = parse_target(url)
    tuning = DEFAULT_TUNING._replace(min_replicas=min_replicas, replicas_s=replicas_s)
    if target.sentinels:
        return Sentinel(target.address, target.sentinels, target.master_name, prefix=prefix, name=name, tuning=tuning)
    if target.seeds:
        return Cluster(target.seeds, prefix=prefix, name=name, tuning=tuning)
    return Standalone(target.address, prefix=prefix, name=name, tuning=tuning)


def describe(url: str) -> str:
    """What a URL names, for people, without user and password. Raises `ConfigError`."""
    target = parse_target(url)
    if target.sentinels:
        return f"master {target.master_name} of the sentinels {_listed(target.sentinels)}"
    if target.seeds:
        return f"cluster of {_listed(target.seeds)}"
    return str(target.address)


def parse_target(url: str) -> Target:
    """Read a URL. Raises `ConfigError`, never with what may be secret."""
    scheme = url.partition("://")[0].lower()
    if scheme == "redis+sentinel":
        return _sentinels(split_url(url))
    if scheme == "redis+cluster":
        return _cluster(split_url(url))
    return Target(parse_address(url))


def _sentinels(parts: Url) -> Target:
    address = _common(parts, _SENTINEL_OPTIONS, db=db_of(parts, path=True))
    master_name = parts.options.get("sentinel_master_name", "")
    if not master_name:
        raise ConfigError(
            "the URL of Redis has to say which master: redis+sentinel://host:26379/0?sentinel_master_name=mymaster"
        )
    login = replace(
        address,
        db=0,
        username=parts.options.get("sentinel_username", ""),
        password=parts.options.get("sentinel_password", ""),
    )
    if login.username and not login.password:
        raise ConfigError("the URL of Redis has sentinel_username and no sentinel_password")
    return Target(address, sentinels=_places(parts, login, SENTINEL_PORT), master_name=master_name)


def _cluster(parts: Url) -> Target:
    if db_of(parts, path=True):
        raise ConfigError("a cluster of Redis has the database 0 alone")
    address = _common(parts, ("ssl",), db=0)
    return Target(address, seeds=_places(parts, address, DEFAULT_PORT))


def _common(parts: Url, known: Sequence[str], *, db: int) -> Address:
    """How all servers are reached."""
    ssl = parts.options.get("ssl", "false").lower()
    if ssl not in {"true", "false", "1", "0"}:
        raise ConfigError("ssl in the URL of Redis is true or false")
    return Address(
        db=db,
        username=parts.username,
        password=parts.password,
        tls=tls_of(parts, is_used=ssl in {"true", "1"}, known=known),
        protocol=protocol_of(parts),
    )


def _places(parts: Url, address: Address, port: int) -> Sequence[Address]:
    if not parts.hosts or len(parts.hosts) > MOST_HOSTS:
        raise ConfigError(f"the URL of Redis names from 1 to {MOST_HOSTS} hosts, as in {parts.scheme}://host1:{port}")
    return [address.at(host, given if given is not None else port) for host, given in dict.fromkeys(parts.hosts)]


def _listed(addresses: Sequence[Address]) -> str:
    return ", ".join(f"[{a.host}]:{a.port}" if ":" in a.host else f"{a.host}:{a.port}" for a in addresses)
