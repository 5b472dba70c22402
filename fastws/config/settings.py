"""All settings of fastws, each declared once.

The attribute `ping_interval` is the option `--ping-interval`, the variable `FASTWS_PING_INTERVAL`, the key
`ping_interval` of the table `[heartbeat]` in the file, and a row of docs/configuration.md.
"""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from fastws.config import checks
from fastws.config.addresses import is_loopback
from fastws.config.declare import Group, options_of
from fastws.config.values import to_toml

SERVER = Group("server", "Where it listens and what it runs")
ENGINE = Group("engine", "What carries messages between processes and nodes")
ADMIN = Group("admin", "The address for operators and back ends")
LIMITS = Group("limits", "What one client, one address and the node may take (0 = unlimited)")
HEARTBEAT = Group("heartbeat", "How dead connections are found")
WEBSOCKET = Group("websocket", "The WebSocket protocol and what stands in front of it")
AUTH = Group("auth", "Who may connect")
TLS = Group("tls", "Certificates")
SHUTDOWN = Group("shutdown", "How connections are moved away before the process ends")
LOGGING = Group("logging", "What is written, where and how")
GROUPS = (SERVER, ENGINE, ADMIN, LIMITS, HEARTBEAT, WEBSOCKET, AUTH, TLS, SHUTDOWN, LOGGING)

MASK = "***"
_URL_PASSWORD = re.compile(r"(://[^:@]*:).*@")  # up to the last @: what was not written as %XX is a secret all the same
_QUERY_PASSWORD = re.compile(r"([?&][a-z_]*password=)[^&#]*")


def node_name_of(host_name: str) -> str:
    """Make a valid node name of a host name, whatever somebody called the machine."""
    cleaned = "".join(letter if checks.node_name_problem(letter) is None else "-" for letter in host_name[:64])
    return cleaned or "node"


def masked(text: str) -> str:
    """Hide the password of every URL in a text (RFC 3986 3.2.1), in its query too; the user name stays."""
    return _QUERY_PASSWORD.sub(rf"\g<1>{MASK}", _URL_PASSWORD.sub(rf"\g<1>{MASK}@", text))


def usable_cpus() -> int:
    """Return how many CPUs this process may use; that is what `--workers auto` stands for."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """The effective settings of one server, immutable. Durations are seconds, sizes bytes, rates per second.

    `Settings()` has every default; `fastws.config.load` applies option, variable and file to them.
    """

    app: str | None = SERVER.optional(
        "The application to serve; without it the built-in gateway is served.",
        check=checks.app_problem,
        metavar="MODULE:APP",
        argument=True,
        shown="the built-in gateway",
    )
    host: str = SERVER.text("127.0.0.1", "Address or host name to listen on.", metavar="HOST")
    port: int = SERVER.integer(
        8000, "TCP port to listen on; 0 takes any free one and prints it.", maximum=65535, metavar="PORT", unit="port"
    )
    uds: str | None = SERVER.optional(
        "Listen on a Unix socket at this path, instead of host and port.", metavar="PATH", check=checks.filled_problem
    )
    path: str = SERVER.text(
        "/ws", "Path of the client protocol, compared exactly.", metavar="PATH", check=checks.path_problem
    )
    workers: int = SERVER.integer(
        1,
        "Worker processes; auto is one for each usable CPU.",
        minimum=1,
        maximum=1024,
        words={"auto": usable_cpus},
        metavar="N|auto",
        unit="processes",
    )
    backlog: int = SERVER.integer(
        65535, "Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.", minimum=1
    )
    app_dir: str | None = SERVER.optional(
        "Directory in which MODULE is looked up first.",
        metavar="DIR",
        check=checks.filled_problem,
        shown="the working directory",
    )
    config: str | None = SERVER.optional(
        "Configuration file.",
        metavar="FILE",
        check=checks.filled_problem,
        in_file=False,
        shown="./fastws.toml if it exists",
    )
    reload: bool = SERVER.flag(
        False, "Start again when a Python file below the application's directory or this configuration changes."
    )
    dev: bool = SERVER.flag(
        False, "Development: demo page at /, every topic open, 100 messages of history for 10 minutes."
    )
    pidfile: str | None = SERVER.optional(
        "Write the process id to this file and remove it at the end.", metavar="FILE", check=checks.filled_problem
    )

    redis: str = ENGINE.text(
        "none",
        "Redis that connects the processes: a URL, embedded (a private one is started), or none.",
        metavar="URL|embedded|none",
        check=checks.redis_problem,
    )
    data_dir: str | None = ENGINE.optional(
        "Directory in which the embedded Redis keeps messages over restarts.",
        metavar="DIR",
        check=checks.filled_problem,
    )
    node_name: str = ENGINE.text(
        node_name_of(socket.gethostname()),
        "Name of this node, unique in the cluster; clients see it in welcome.",
        metavar="NAME",
        check=checks.node_name_problem,
        shown="the host's name",
    )
    prefix: str = ENGINE.text("fastws", "Prefix of every key in Redis.", check=checks.prefix_problem)
    min_replicas: int = ENGINE.integer(
        0,
        "Replicas of Redis that have what is stored before that is answered as stored; 0: its master is enough.",
        maximum=16,
        unit="replicas",
    )
    replica_timeout: float = ENGINE.duration(
        1.0,
        "Time that these have; then the answer is error 113, and what was stored may get lost in a failover.",
        minimum=0.001,
        maximum=1.0,
    )

    admin_host: str = ADMIN.text("127.0.0.1", "Address of the control API, metrics and dashboard.", metavar="HOST")
    admin_port: int = ADMIN.integer(
        9000, "Port of the same; 0 takes any free one, -1 turns it off.", minimum=-1, maximum=65535, metavar="PORT"
    )
    admin_key: str | None = ADMIN.optional(
        "Key that callers of the control API present as a bearer token; without one only programs on this machine may "
        "call. Prefer the variable or the file: options show in ps.",
        secret=True,
        check=checks.header_problem,
    )

    max_connections: int = LIMITS.integer(
        0,
        "Connections of this node, over all workers; 0 is what the descriptor limit allows, less a reserve.",
        unit="connections",
    )
    max_connections_per_ip: int = LIMITS.integer(
        100,
        "Connections from one address, over all workers; loopback is exempt unless this is set.",
        unit="connections",
    )
    max_connections_per_user: int = LIMITS.integer(
        0, "Connections of one user of one tenant, over all nodes.", unit="connections"
    )
    user_limit_policy: str = LIMITS.choice(
        "reject", ("reject", "replace"), "Over that cap: refuse the newcomer, or close the user's oldest connection."
    )
    max_topics: int = LIMITS.integer(128, "Subscriptions of one connection.", unit="topics")
    max_message_size: int = LIMITS.integer(
        65536, "Largest message from a client, after inflation; larger ones close 1009.", unit="bytes", metavar="BYTES"
    )
    max_outbox: int = LIMITS.integer(
        1048576,
        "Bytes that may wait for a client that reads too slowly, counting 64 for each frame; then slow_policy decides.",
        unit="bytes",
        metavar="BYTES",
    )
    max_fragments: int = LIMITS.integer(1024, "Frames of one message; more close 1009.", unit="frames")
    messages_per_second: int = LIMITS.integer(
        0, "Commands or messages per second of one connection.", unit="per second"
    )
    bytes_per_second: int = LIMITS.integer(
        0, "Inbound payload per second of one connection, after inflation.", unit="bytes per second", metavar="BYTES"
    )
    connect_rate: int = LIMITS.integer(
        0, "New connections per second of one worker; more are answered 503.", unit="per second"
    )
    handshake_timeout: float = LIMITS.duration(3.0, "Time from accept to a complete upgrade request, TLS included.")
    auth_timeout: float = LIMITS.duration(10.0, "Time from the upgrade to authentication; then 4502.")

    ping_interval: float = HEARTBEAT.duration(
        25.0, "Quiet time after which a client is pinged; 0 turns native pings off."
    )
    ping_timeout: float = HEARTBEAT.duration(10.0, "Time after a ping within which something must arrive; then 4002.")
    tcp_keepalive: bool = HEARTBEAT.flag(True, "TCP keepalive and user timeout as the second line behind pings.")

    deflate: bool = WEBSOCKET.flag(
        False, "Accept permessage-deflate where the upgrade alone settles who the client is."
    )
    origins: tuple[str, ...] = WEBSOCKET.items(
        (),
        "Origins from which browsers may connect, instead of the same host; * is any.",
        check=checks.origin_problem,
        metavar="ORIGIN,...",
        shown="the same host",
    )
    proxy_headers: bool = WEBSOCKET.flag(
        True, "Take the client's address and scheme from X-Forwarded-For and X-Forwarded-Proto of trusted proxies."
    )
    forwarded_allow_ips: tuple[str, ...] = WEBSOCKET.items(
        ("127.0.0.1",),
        "Proxies to trust: addresses, networks, or *.",
        check=checks.network_problem,
        metavar="ADDRESS,...",
    )

    jwt_secret: str | None = AUTH.optional(
        "Secret of HS256, HS384 and HS512 tokens. Prefer the variable or the file: options show in ps.",
        secret=True,
        check=checks.filled_problem,
    )
    jwt_public_key: str | None = AUTH.optional(
        "PEM file with the public key of RS, ES or EdDSA tokens.", metavar="FILE", check=checks.filled_problem
    )
    jwt_jwks: str | None = AUTH.optional(
        "Where the public keys of tokens are fetched.", metavar="URL", check=checks.web_url_problem
    )
    jwt_issuer: str | None = AUTH.optional("Required issuer (iss) of tokens.", check=checks.filled_problem)
    jwt_audience: str | None = AUTH.optional("Required audience (aud) of tokens.", check=checks.filled_problem)
    anonymous: bool = AUTH.flag(False, "Accept clients without a token on any address; they see what is open to all.")

    ssl_certfile: str | None = TLS.optional(
        "PEM file with the certificate and its chain.", metavar="FILE", check=checks.filled_problem
    )
    ssl_keyfile: str | None = TLS.optional(
        "PEM file with the private key, if it is not in the certificate's.", metavar="FILE", check=checks.filled_problem
    )
    ssl_keyfile_password: str | None = TLS.optional("Password of that key.", secret=True)
    ssl_ca_certs: str | None = TLS.optional(
        "PEM file with the authorities that client certificates are checked against.",
        metavar="FILE",
        check=checks.filled_problem,
    )
    ssl_require_client_cert: bool = TLS.flag(False, "Refuse clients without a certificate of those authorities.")

    drain_timeout: float = SHUTDOWN.duration(
        30.0, "Longest time for closing connections at the end; 0 closes everyone at once."
    )
    drain_rate: int = SHUTDOWN.integer(
        0, "Connections closed per second by each worker; 0 spreads them over half the timeout.", unit="per second"
    )

    log_level: str = LOGGING.choice(
        "info", ("critical", "error", "warning", "info", "debug"), "Least important level that is written."
    )
    log_format: str | None = LOGGING.optional_choice(
        ("text", "json"),
        "Lines for people, or one JSON object a line.",
        shown="text on a terminal, else json",
    )
    log_config: str | None = LOGGING.optional(
        "Configuration of Python's logging, .json, .toml or .ini, in place of the options here.",
        metavar="FILE",
        check=checks.filled_problem,
    )
    access_log: bool = LOGGING.flag(False, "One line for each request: upgrades, refusals and plain HTTP.")

    namespaces: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """The tables `[namespaces.NAME]` of the file: known keys only, durations in seconds."""
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where each value came from: `option`, `environment NAME`, `file PATH` or `default`."""

    def __post_init__(self) -> None:
        frozen = {name: MappingProxyType(dict(table)) for name, table in self.namespaces.items()}
        object.__setattr__(self, "namespaces", MappingProxyType(frozen))
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    def is_set(self, name: str) -> bool:
        """Say whether somebody set this option, be it to its default; a few defaults hold only if nobody did."""
        if self.sources.get(name, "default") != "default":
            return True
        return bool(getattr(self, name) != OPTIONS[name].default)

    def shown(self, name: str) -> str:
        """Return the value of an option as TOML, with `***` for what is secret; empty if it has none."""
        value = getattr(self, name)
        if value is None:
            return ""
        if OPTIONS[name].secret:
            return to_toml(MASK)
        return to_toml(masked(value) if isinstance(value, str) else value)

    def __repr__(self) -> str:
        """Show what differs from the defaults, without secrets."""
        changed = (f"{name}={self.shown(name)}" for name in OPTIONS if getattr(self, name) != OPTIONS[name].default)
        return f"Settings({', '.join(changed)})"

    @property
    def auth_configured(self) -> bool:
        """True if there is any way for a client to prove who it is."""
        has_token_option = any(self.is_set(name) for name in OPTIONS if name.startswith("jwt_"))
        return has_token_option or self.ssl_require_client_cert

    @property
    def scheme(self) -> str:
        """`https` if the listener for clients speaks TLS, else `http`."""
        return "http" if self.ssl_certfile is None else "https"

    @cached_property
    def on_loopback(self) -> bool:
        """True if every listener for clients is on loopback or a Unix socket. Looks up host names."""
        return self.uds is not None or is_loopback(self.host)

    @property
    def anonymous_is_authenticated(self) -> bool:
        """True if clients without a token count as authenticated (their user stays empty).

        That is so only where no auth is configured and either `--dev` is set, or the built-in gateway is served on
        nothing but loopback. Everywhere else they may do what is open to `all`.
        """
        return not self.auth_configured and (self.dev or (self.app is None and self.on_loopback))


OPTIONS = options_of(Settings)
"""Every option by attribute name, in the order of the groups."""
