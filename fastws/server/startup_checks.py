"""What is looked at before the server starts: who could reach it, and whether this machine allows what is asked for."""

import importlib.util
import resource
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fastws.config import OPTIONS, Settings, as_url, is_loopback
from fastws.config.not_built import NOT_BUILT
from fastws.errors import ConfigError, StartError
from fastws.net.admission import DESCRIPTOR_RESERVE
from fastws.net.tls.context import server_context
from fastws.server.engines import engine_line

_MILLION = 1_000_000
_KEYS = ("jwt_secret", "jwt_public_key", "jwt_jwks")
_SAFE_SECRET = 32  # bytes; RFC 7518 3.2 asks for as many as the digest has


@dataclass(frozen=True)
class Machine:
    """The limits of this machine that matter to a server."""

    descriptors: int
    """What one process may open, the hard limit."""
    somaxconn: int
    """Connections that may wait in one listener's queue."""
    ephemeral_ports: tuple[int, int]
    """First and last port that outgoing connections are given."""
    reserved_ports: frozenset[int]
    """Ports of that range that they are not given."""

    @classmethod
    def read(cls) -> "Machine":
        """Look at the limits in force; what cannot be read counts as the kernel's default."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        first, _, last = _sysctl("net/ipv4/ip_local_port_range", "32768 60999").partition(" ")
        return cls(
            descriptors=hard if hard != resource.RLIM_INFINITY else 2**31,
            somaxconn=int(_sysctl("net/core/somaxconn", "4096")),
            ephemeral_ports=(int(first), int(last)),
            reserved_ports=_ports(_sysctl("net/ipv4/ip_local_reserved_ports", "")),
        )


def protect(settings: Settings) -> None:
    """Protected mode: raise `StartError` if strangers could come in because nobody said who may.

    Holds for clients (raw endpoints and `--dev` included) and for the admin address.
    """
    if not (settings.auth_configured or settings.anonymous or settings.on_loopback):
        ways = ["--anonymous to accept clients without a token", "--host 127.0.0.1 to serve this machine only"]
        keys = [OPTIONS[name].flag for name in _KEYS if name not in NOT_BUILT]
        if keys:
            ways.insert(0, f"{' or '.join(keys)} to authenticate clients")
        address = as_url(settings.host, settings.port, settings.scheme)
        raise StartError(
            f"protected mode: no authentication is configured, and {address} can be reached from other machines. "
            f"Set one of:\n{_bullets(ways)}"
        )
    if settings.admin_port != -1 and settings.admin_key is None and not is_loopback(settings.admin_host):
        ways = [
            "--admin-key to ask callers for a key",
            "--admin-host 127.0.0.1 to serve this machine only",
            "--admin-port -1 to turn it off",
        ]
        raise StartError(
            f"protected mode: the admin address {as_url(settings.admin_host, settings.admin_port)} can be reached "
            f"from other machines without a key. Set one of:\n{_bullets(ways)}"
        )


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what TLS is served with, None without TLS. Raises `ConfigError` if the files cannot be used."""
    if settings.ssl_certfile is None:
        for name in ("ssl_keyfile", "ssl_keyfile_password"):
            if getattr(settings, name) is not None:
                raise ConfigError(f"{OPTIONS[name].flag} is set without --ssl-certfile: TLS needs the certificate too")
        return None
    return server_context(settings.ssl_certfile, settings.ssl_keyfile, settings.ssl_keyfile_password)


def doubts(settings: Settings) -> list[str]:
    """Return what is allowed, and hardly meant."""
    found: list[str] = []
    if settings.jwt_secret is not None and len(settings.jwt_secret.encode("utf-8", "replace")) < _SAFE_SECRET:
        found.append(f"--jwt-secret has fewer than {_SAFE_SECRET} bytes, which can be guessed from any token")
    if settings.jwt_secret is not None and settings.jwt_secret != settings.jwt_secret.strip():
        found.append(
            "--jwt-secret begins or ends with white space, which is part of it: is that how tokens are signed?"
        )
    if settings.data_dir is not None and settings.redis not in ("none", "embedded"):
        found.append("--data-dir is of the embedded Redis, and has no effect on the one that --redis names")
    if not any(getattr(settings, name) for name in _KEYS):
        found += [
            f"{OPTIONS[name].flag} is set without a key: no token can be valid"
            for name in ("jwt_issuer", "jwt_audience")
            if getattr(settings, name) is not None
        ]
    return found


def raise_descriptor_limit() -> None:
    """Lift the soft limit of descriptors to the hard one: the soft one only protects programs that use select."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def shortfalls(settings: Settings, machine: Machine) -> list[str]:
    """Return what this machine allows less of than was asked for; defaults ask for nothing."""
    return list(_shortfalls(settings, machine))


def tune_line(settings: Settings) -> str:
    """Return the command that lifts the kernel's limits."""
    return f"make tune CONNECTIONS={settings.max_connections or _MILLION}"


def loop_name() -> str:
    """Return the event loop that will run: uvloop, or asyncio where it is not installed."""
    return f"uvloop {version('uvloop')}" if importlib.util.find_spec("uvloop") else "asyncio"


def codec_name() -> str:
    """Return how frames are parsed and written; raises `StartError` if the extension was not built."""
    spec = importlib.util.find_spec("fastws_ext.frames") if importlib.util.find_spec("fastws_ext") else None
    if spec is None:
        raise StartError("the compiled part of fastws is missing: run `make build`, or install the package again")
    return "compiled"


def first_line(settings: Settings, program: str) -> str:
    """Return the line that says what is about to run: version, address, workers, engine, event loop, codec."""
    address = as_url(settings.host, settings.port, settings.scheme)
    if settings.uds is not None:
        address = f"unix:{settings.uds}" + (" with TLS" if settings.ssl_certfile is not None else "")
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    return (
        f"{program} on {address}, {workers}, engine {engine_line(settings)}, event loop {loop_name()}, "
        f"codec {codec_name()}, serving {settings.app or 'the built-in gateway'}"
    )


def _shortfalls(settings: Settings, machine: Machine) -> Iterator[str]:
    needed = settings.max_connections // settings.workers + DESCRIPTOR_RESERVE
    if settings.max_connections and needed > machine.descriptors:
        yield f"{settings.max_connections} connections need {needed} descriptors, {machine.descriptors} are allowed"
    asked_for = settings.is_set("backlog") or settings.max_connections > machine.somaxconn
    if asked_for and settings.backlog > machine.somaxconn:
        yield f"a backlog of {settings.backlog} is cut to net.core.somaxconn = {machine.somaxconn}"
    first, last = machine.ephemeral_ports
    if settings.uds is None and first <= settings.port <= last and settings.port not in machine.reserved_ports:
        yield f"port {settings.port} may go to an outgoing connection: net.ipv4.ip_local_port_range is {first} {last}"


def _sysctl(name: str, default: str) -> str:
    try:
        return " ".join(Path("/proc/sys", name).read_text(encoding="ascii").split())
    except OSError:
        return default


def _ports(text: str) -> frozenset[int]:
    """Read a list such as `8000,9000-9010`."""
    ports: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        ports.update(range(int(first), int(last or first) + 1))
    return frozenset(ports)


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
