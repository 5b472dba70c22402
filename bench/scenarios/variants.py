"""Variants: echo with compressed messages, with messages in fragments, under TLS and over a Unix socket."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import measure, roster, servers
from bench.build import BuildError
from bench.load import LoadError, LoadResult
from bench.report import ProgressBar, Spread, Table
from bench.scenarios import comparison, footprint, turns

PLAIN = "plain"
KINDS = (PLAIN, "deflate", "fragments", "tls", "unix")
APP = "bench.apps.echo:app"
COLUMNS = (
    "server", "msg/s", "msg/CPU-s", "to its plain per CPU-s", "p50 µs", "p99 µs", "B/idle connection", "server CPU",
    "client CPU",
)  # fmt: skip
WARM_UP_CONNECTIONS = 200  # opened first where memory is measured, for what a process allocates once; at most half

Start = Callable[[set[int]], servers.Server]


@dataclass(frozen=True, slots=True)
class VariantsOptions:
    """What the command line says."""

    kinds: Sequence[str] = KINDS
    connections: int = 100
    size: int = 1024  # bytes of payload: text that compresses well
    inflight: int = 1  # messages on their way, for each connection
    fragments: int = 4  # frames of a message, in the variant of that name
    rounds: int = 5
    seconds: float = 2.0  # measured in each round
    idle: int = 2000  # connections whose memory is measured, at least 2; 0: none
    peers: Sequence[str] = ("websockets", "ws", "gws")  # those that have variants in their peer.toml


@dataclass(frozen=True, slots=True)
class Entry:
    """A server in one variant."""

    server: str
    kind: str
    contestant: turns.Contestant

    @property
    def name(self) -> str:
        """As the table shows it."""
        return self.server if self.kind == PLAIN else f"{self.server} {self.kind}"


def run(options: VariantsOptions, progress: ProgressBar) -> tuple[Table, dict[str, Any]]:
    """Measure; return the table and what belongs into the JSON file. What does not run is named in its notes.

    :raises bench.load.LoadError: plain echo on fastws failed.
    """
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="fastws-bench-") as folder:
        places = _certificate(Path(folder), options, failures)
        entries = [
            entry
            for name in [turns.OURS, *options.peers]
            for entry in _entries(name, options, places | {"unix": str(Path(folder) / f"{name}.sock")})
        ]
        contestants = {entry.name: entry.contestant for entry in entries}
        results = turns.rounds_of("echo", contestants, options.rounds, progress, failures)
        idle = _idle_bytes(entries, options, progress, failures) if options.idle else {}
    to_plain = {
        entry.name: turns.ratios({"it": results[entry.name], PLAIN: results[entry.server]}, per_cpu_second, PLAIN)["it"]
        for entry in entries
        if entry.name in results and entry.server in results
    }
    rows = [_row(name, own, to_plain.get(name), idle.get(name)) for name, own in results.items()]
    title = (
        f"variants: echo, {options.connections} connections, {options.size} B text, {options.inflight} in flight, "
        f"{options.rounds} rounds of {options.seconds:g} s"
    )
    notes = [
        "deflate: both directions, no context taken over, zlib's default level at the client",
        f"fragments: each message in {options.fragments} frames; tls: TLS with a certificate of P-256, not verified",
        (
            f"B/idle connection: PSS of the server with {options.idle} open, less with "
            f"{footprint.few_of(options.idle, WARM_UP_CONNECTIONS)} open in a new process, for each of the difference"
        ),
        "to its plain: round by round, median (lowest to highest); other figures are medians",
        *(f"{name} failed: {' '.join(reason.split())[-200:]}" for name, reason in failures.items()),
        *turns.idle_notes(results, lambda result: result.run),
    ]
    content = {**turns.as_json(results, to_plain=to_plain), "idle_bytes": idle, "failures": failures}
    return Table(title, COLUMNS, rows, notes), content


def per_cpu_second(result: LoadResult) -> float:
    """Messages for each CPU-second of the server."""
    return result.run.per_cpu_second(result.run.messages)


def _certificate(folder: Path, options: VariantsOptions, failures: dict[str, str]) -> dict[str, str]:
    """The files of a certificate, where one is wanted and can be made."""
    if "tls" not in options.kinds:
        return {}
    if shutil.which("openssl") is None:
        failures["tls"] = "the program openssl is not installed; it makes the certificate"
        return {}
    return certificate(folder)


def certificate(folder: Path) -> dict[str, str]:
    """Make a certificate for localhost that nobody trusts; return the paths of `cert` and `key`."""
    paths = {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-out", paths["cert"], "-keyout", paths["key"]]
    subprocess.run(command, check=True, capture_output=True)
    return paths


def _entries(server: str, options: VariantsOptions, places: Mapping[str, str]) -> list[Entry]:
    """The variants that the server called so has, of those that are wanted."""
    entries = []
    for kind in options.kinds:
        if kind == "tls" and "cert" not in places:
            continue
        start = _ours(kind, places) if server == turns.OURS else _peers(server, kind, places)
        if start is not None:
            entries.append(Entry(server, kind, turns.Contestant(start, _load(kind, options, places))))
    return entries


def _ours(kind: str, places: Mapping[str, str]) -> Start:
    arguments = {
        "deflate": ["--deflate"],
        "tls": ["--ssl-certfile", places.get("cert", ""), "--ssl-keyfile", places.get("key", "")],
        "unix": ["--uds", places["unix"]],
    }
    return lambda cpus: servers.fastws(APP, *arguments.get(kind, ()), cpus=cpus)


def _peers(name: str, kind: str, places: Mapping[str, str]) -> Start | None:
    """None where the peer does not have this variant."""
    variants = roster.read(name).variants
    if not variants or (kind != PLAIN and kind not in variants):
        return None
    arguments = [word.format(**places) for word in variants.get(kind, "").split()]
    return lambda cpus: servers.peer(name, *arguments, cpus=cpus)


def _load(kind: str, options: VariantsOptions, places: Mapping[str, str]) -> turns.Options:
    ways: dict[str, dict[str, float | str | bool]] = {
        "deflate": {"deflate": True},
        "fragments": {"fragments": options.fragments},
        "tls": {"tls": True},
        "unix": {"unix": places["unix"]},
    }
    return {
        "connections": options.connections,
        "size": options.size,
        "inflight": options.inflight,
        "seconds": options.seconds,
        "text": True,
        **ways.get(kind, {}),
    }


def _idle_bytes(
    entries: Sequence[Entry], options: VariantsOptions, progress: ProgressBar, failures: dict[str, str]
) -> dict[str, float]:
    """Bytes of an idle connection, for each entry to which it makes a difference."""
    measured: dict[str, float] = {}
    wanted = [entry for entry in entries if entry.kind != "fragments" and entry.name not in failures]
    server_cpus, _ = measure.server_and_client_cpus()
    progress.start(len(wanted))
    for entry in wanted:
        progress.say(f"{entry.name}: {options.idle} idle connections")
        ways = {name: value for name, value in entry.contestant.options.items() if name in ("deflate", "tls", "unix")}
        try:
            with entry.contestant.server(server_cpus) as server:
                subject = footprint.Subject(server, server.path, options=ways)
                few = footprint.few_of(options.idle, WARM_UP_CONNECTIONS)
                warm_up = footprint.open_and_close(server, few, subject)
                measured[entry.name] = footprint.open_and_close(server, options.idle, subject).per_connection(warm_up)
        except (BuildError, LoadError, servers.ServerError) as error:
            failures[f"{entry.name}, idle"] = str(error)
        progress.step()
    return measured


def _row(name: str, results: Sequence[LoadResult], to_plain: Spread | None, idle: float | None) -> list[str]:
    runs = [result.run for result in results]
    return [
        name,
        f"{comparison.median_of(runs, lambda span: span.messages / span.seconds):,.0f}",
        f"{comparison.median_of(runs, lambda span: span.per_cpu_second(span.messages)):,.0f}",
        "-" if to_plain is None else f"{to_plain:.3f}",
        f"{comparison.median_of(runs, lambda span: span.latency.p50):,.0f}",
        f"{comparison.median_of(runs, lambda span: span.latency.p99):,.0f}",
        "-" if idle is None else f"{idle:,.0f}",
        *comparison.cpu_cells(runs),
    ]
