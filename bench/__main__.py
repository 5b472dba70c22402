"""`python -m bench SCENARIO`: prints a table and writes a JSON file to `bench/results/`."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench import gate, measure, report, roster, servers, suite
from bench.build import BuildError
from bench.bystander import commands
from bench.cluster import restart
from bench.cluster import scenario as cluster
from bench.load import LoadError
from bench.reporting import plots, series, targets
from bench.scenarios import connect, echo, fanout, footprint, turns, variants
from bench.scenarios.steady import rooms, slow
from fastws.errors import StartError

CANNOT_MEASURE = (BuildError, LoadError, servers.ServerError, roster.PeerError, StartError)
SLOWER_BUILD = "Its figures are not those of fastws; `make build` makes a release build."

with_peers = click.option(
    "--peers",
    default="c_epoll",
    show_default=True,
    help="Servers beside fastws, with commas; the first is 1. all: those ready.",
)
with_quick = click.option("--quick", is_flag=True, help="Fewer, shorter rounds: whether it works, and about how fast.")


@click.group(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure fastws beside the limit of the machine. All traffic stays on loopback."""
    measure.raise_descriptor_limit()
    if (build := measure.extension_build()) != measure.RELEASE:
        click.secho(f"NO RELEASE BUILD of fastws_ext, but: {build}. {SLOWER_BUILD}", err=True, fg="red", bold=True)


@main.command("echo")
@click.option("--connections", default=100, type=click.IntRange(1))
@click.option("--size", default=64, type=click.IntRange(0, 65536), help="Bytes of payload.")
@click.option("--inflight", default=1, type=click.IntRange(1, 4096), help="Messages on their way, for each connection.")
@click.option("--rounds", default=5, type=click.IntRange(1))
@click.option("--seconds", default=3.0, type=click.FloatRange(0.1), help="Measured in each round.")
@click.option("--text", is_flag=True, help="Text messages, not binary ones.")
@with_peers
@with_quick
def echo_command(
    *, connections: int, size: int, inflight: int, rounds: int, seconds: float, text: bool, peers: str, quick: bool
) -> None:
    """Messages a second on one core, a Python callback for each."""
    if quick:
        rounds, seconds = min(rounds, 3), min(seconds, 1.0)
    options = echo.EchoOptions(connections, size, inflight, rounds, seconds, text, peers=_chosen(peers))
    _show("echo", options, lambda progress: echo.run(options, progress))


@main.command("connect")
@click.option("--connections", default=15000, type=click.IntRange(1))
@click.option("--concurrency", default=256, type=click.IntRange(1), help="Upgrades on their way.")
@click.option("--rounds", default=5, type=click.IntRange(1))
@with_peers
@with_quick
def connect_command(*, connections: int, concurrency: int, rounds: int, peers: str, quick: bool) -> None:
    """Upgrades a second on one core."""
    if quick:
        rounds, connections = min(rounds, 3), min(connections, 5000)
    connections = min(connections, measure.descriptor_limit() - footprint.SERVER_SPARE)
    options = connect.ConnectOptions(connections, concurrency, rounds, _chosen(peers))
    _show("connect", options, lambda progress: connect.run(options, progress))


@main.command("footprint")
@click.option("--connections", default=15000, type=click.IntRange(2))
@click.option("--batches", default=3, type=click.IntRange(1), help="Times that all are opened and closed.")
@with_peers
@with_quick
def footprint_command(*, connections: int, batches: int, peers: str, quick: bool) -> None:
    """Bytes of an idle connection, in the server and in the kernel."""
    if quick:
        connections, batches = min(connections, 5000), min(batches, 2)
    subjects = (*footprint.OWN, *_chosen(peers))
    options = footprint.FootprintOptions(connections, batches, subjects)
    _show("footprint", options, lambda progress: footprint.run(options, progress))


@main.command("peers")
def peers_command() -> None:
    """Install and build the other servers, where that has not been done, and say which are ready."""
    with report.progress_bar() as progress:
        table, failures = roster.prepare_all(progress)
    click.echo(report.table_text(table))
    for name, complaint in failures.items():
        click.echo(f"\n{name}:\n{complaint}", err=True)
    if failures:
        raise click.ClickException(f"not ready although all they need is here: {', '.join(failures)}")


@main.command("fanout")
@click.option("--subscribers", default="1000,9000", help="Numbers of subscribers, with commas.")
@click.option("--burst", default="1,10", help="Publications in one write, with commas.")
@click.option(
    "--size",
    default=fanout.SIZE,
    type=click.IntRange(fanout.LEAST_SIZE, fanout.MOST_SIZE),
    help="Bytes of payload; the number of a publication is in it.",
)
@click.option("--rounds", default=5, type=click.IntRange(1))
@click.option("--seconds", default=3.0, type=click.FloatRange(0.1), help="Measured in each round.")
@with_peers
@with_quick
def fanout_command(
    *, subscribers: str, burst: str, size: int, rounds: int, seconds: float, peers: str, quick: bool
) -> None:
    """Deliveries a second on one core, from one publisher to many."""
    if quick:
        rounds, seconds = min(rounds, 3), min(seconds, 1.0)
    options = fanout.FanoutOptions(_numbers(subscribers), _numbers(burst), size, rounds, seconds, _chosen(peers))
    _show("fanout", options, lambda progress: fanout.run(options, progress))


@main.command("rooms")
@click.option("--users", default=10000, type=click.IntRange(1))
@click.option("--room-size", default=10, type=click.IntRange(1), help="Members of a room.")
@click.option("--p99", "p99_ms", default=20.0, type=click.FloatRange(0.1), help="The bound, in milliseconds.")
@click.option("--rounds", default=3, type=click.IntRange(1))
@click.option("--seconds", default=1.0, type=click.FloatRange(0.1), help="Of each window, for one rate.")
@with_peers
@with_quick
def rooms_command(
    *, users: int, room_size: int, p99_ms: float, rounds: int, seconds: float, peers: str, quick: bool
) -> None:
    """The highest steady rate in many small rooms that is kept within a p99, beside servers that have rooms."""
    if quick:
        users, rounds, seconds = min(users, 2000), 1, min(seconds, 0.5)
    users = min(users, measure.descriptor_limit() - footprint.SERVER_SPARE)
    options = rooms.RoomsOptions(users, room_size, p99_ms, rounds, seconds, peers=_chosen(peers))
    _show("rooms", options, lambda progress: rooms.run(options, progress))


@main.command("cluster")
@click.option("--size", default=128, type=click.IntRange(24, 60000), help="Bytes of payload.")
@click.option("--topics", default=10, type=click.IntRange(1, 100))
@click.option("--burst", default="1,100", help="Publications in one write of a client of A, with commas.")
@click.option("--together", default="1,16", help="Publications that come to B in one message, with commas.")
@click.option("--rounds", default=5, type=click.IntRange(1))
@click.option("--seconds", default=2.0, type=click.FloatRange(0.1), help="Measured in each round.")
@with_quick
def cluster_command(
    *, size: int, topics: int, burst: str, together: str, rounds: int, seconds: float, quick: bool
) -> None:
    """What is published at one node and heard at another, through one Redis; beside it redis-py's client."""
    if quick:
        rounds, seconds = min(rounds, 3), min(seconds, 1.0)
    options = cluster.ClusterOptions(size, topics, _numbers(burst), _numbers(together), rounds, seconds)
    _show("cluster", options, lambda progress: cluster.run(options, progress))


@main.command("restart")
@click.option("--workers", default=8, type=click.IntRange(1))
@click.option("--connections", default=8000, type=click.IntRange(1), help="That stay.")
@click.option("--passing", default=32, type=click.IntRange(0), help="Clients that connect and leave, over and over.")
@click.option("--drain-timeout", default=10.0, type=click.FloatRange(0.1), help="Seconds.")
@click.option("--rounds", default=3, type=click.IntRange(1))
@with_quick
def restart_command(
    *, workers: int, connections: int, passing: int, drain_timeout: float, rounds: int, quick: bool
) -> None:
    """What clients notice of a rolling restart, and how evenly they are spread afterwards."""
    if quick:
        workers, connections, drain_timeout, rounds = min(workers, 3), min(connections, 600), min(drain_timeout, 2.0), 1
    connections = min(connections, measure.descriptor_limit() - footprint.SERVER_SPARE)
    options = restart.RestartOptions(workers, connections, passing, drain_timeout, rounds)
    _show("restart", options, lambda progress: restart.run(options, progress))


@main.command("slow")
@click.option("--subscribers", default=1000, type=click.IntRange(2))
@click.option("--share", default=0.1, type=click.FloatRange(0, 0.9), help="Of them who stop reading.")
@click.option("--rate", default=60.0, type=click.FloatRange(1), help="Publications a second.")
@click.option("--max-outbox", default=65536, type=click.IntRange(1024), help="Bytes that fastws keeps for each.")
@click.option("--rounds", default=3, type=click.IntRange(1))
@click.option("--seconds", default=4.0, type=click.FloatRange(0.1), help="Of each window: all read; some stopped.")
@with_peers
@with_quick
def slow_command(
    *,
    subscribers: int,
    share: float,
    rate: float,
    max_outbox: int,
    rounds: int,
    seconds: float,
    peers: str,
    quick: bool,
) -> None:
    """What readers of a topic notice of others who stopped reading, and what those cost the server in memory."""
    if quick:
        subscribers, rate, rounds, seconds = min(subscribers, 300), 2 * rate, 1, min(seconds, 2.0)
    subscribers = min(subscribers, measure.descriptor_limit() - footprint.SERVER_SPARE)
    stopped = round(subscribers * share)
    options = slow.SlowOptions(subscribers, stopped, rate, max_outbox, rounds, seconds, _chosen(peers))
    _show("slow", options, lambda progress: slow.run(options, progress))


@main.command("variants")
@click.option("--connections", default=100, type=click.IntRange(1))
@click.option("--size", default=1024, type=click.IntRange(1, 65536), help="Bytes of payload.")
@click.option("--inflight", default=1, type=click.IntRange(1, 4096), help="Messages on their way, for each connection.")
@click.option("--rounds", default=5, type=click.IntRange(1))
@click.option("--seconds", default=2.0, type=click.FloatRange(0.1), help="Measured in each round.")
@with_peers
@with_quick
def variants_command(
    *, connections: int, size: int, inflight: int, rounds: int, seconds: float, peers: str, quick: bool
) -> None:
    """Echo with deflate, in fragments, under TLS and over a Unix socket, and the memory of such connections."""
    if quick:
        rounds, seconds = min(rounds, 3), min(seconds, 1.0)
    able = tuple(name for name in _chosen(peers) if roster.read(name).variants)
    options = variants.VariantsOptions(
        connections=connections, size=size, inflight=inflight, rounds=rounds, seconds=seconds, peers=able
    )
    _show("variants", options, lambda progress: variants.run(options, progress))


@main.command("all")
@click.option("--peers", default="all", help="Servers beside fastws, with commas. all: those that are ready.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Folder of the report.")
@click.option("--only", default="", help="Parts to measure, with commas: echo,echo16,connect,footprint,fanout,...")
@click.option("--quick", is_flag=True, help="Fewer parts, shorter rounds.")
def all_command(*, peers: str, output: Path | None, only: str, quick: bool) -> None:
    """Everything beside every server that is ready: tables, one result file, plots and an HTML report."""
    chosen, skipped = _chosen_and_skipped(peers)
    parts = suite.plan(chosen, quick=quick)
    if only:
        keys = [part.key for part in parts]
        if unknown := set(only.split(",")) - set(keys):
            raise click.BadParameter(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(keys)}")
        parts = [part for part in parts if part.key in only.split(",")]
    with report.progress_bar() as progress:
        content = suite.run(parts, progress)
    options = {"peers": chosen, "quick": quick}
    content = {"options": options, "skipped": skipped, "peers": suite.peer_facts(), **content}
    path = report.save("all", content, output)
    for part in content["parts"]:
        for table in part["tables"]:
            click.echo(report.table_text(report.Table(**table)) + "\n")
        if part["error"]:
            click.echo(f"{part['label']}: not measured\n{part['error']}\n", err=True)
    for name, problem in skipped.items():
        click.echo(f"without {name}: {problem}")
    _write_report(path)
    if any(part["error"] for part in content["parts"]):
        raise click.ClickException("some parts could not be measured; see above")


@main.command("report")
@click.argument("result", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def report_command(*, result: Path) -> None:
    """Write plots and page of RESULT, a file that `all` has written, again."""
    _write_report(result)


@main.command("plot")
@click.argument("result", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--for", "keys", default="echo,echo16,fanout", help="What to show, with commas: parts, or series of them."
)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A PNG file.")
def plot_command(*, result: Path, keys: str, output: Path) -> None:
    """One picture of RESULT, a file that `all` has written: ratios per CPU-second side by side."""
    content = json.loads(result.read_text(encoding="utf-8"))
    wanted = keys.split(",")
    panels = [
        panel
        for key in wanted
        for panel in [*series.ratio_series(content), *series.footprint_series(content)]
        if panel.key == key or (key == "fanout" and panel.key.startswith("fanout-"))
    ]
    if not panels:
        known = [panel.key for panel in series.ratio_series(content)]
        raise click.BadParameter(f"nothing of {keys!r} in the file; there are: {', '.join(known)}")
    try:
        picture = plots.bars(panels, suite.note_of(panels))
    except plots.NoPlotsError as error:
        raise click.ClickException(str(error)) from error
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(picture)
    click.echo(f"written to {output}")


@main.command("gate")
def gate_command() -> None:
    """Fail if echo or fan-out got slower by a third; takes half a minute, more where something fails."""
    if (build := measure.extension_build()) not in (measure.RELEASE, measure.UNKNOWN):
        raise click.ClickException(f"only a release build is judged, and this one is: {build}")
    try:
        with report.progress_bar() as progress:
            table, failed = gate.run(progress, gate.CHECKS)
    except CANNOT_MEASURE as error:
        raise click.ClickException(str(error)) from error
    click.echo(report.table_text(table))
    if failed:
        raise click.ClickException(gate.advice(failed))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not numbers with commas between them") from error


def _chosen_and_skipped(peers: str) -> tuple[tuple[str, ...], dict[str, str]]:
    try:
        chosen, skipped = roster.choose(peers, turns.REFERENCE)
    except KeyError as error:
        raise click.BadParameter(error.args[0]) from error
    return tuple(chosen), skipped


def _chosen(peers: str) -> tuple[str, ...]:
    chosen, skipped = _chosen_and_skipped(peers)
    for name, problem in skipped.items():
        click.echo(f"without {name}: {problem}", err=True)
    return chosen


def _write_report(result: Path) -> None:
    content = json.loads(result.read_text(encoding="utf-8"))
    click.echo(report.table_text(targets.verdicts(content)) + "\n")
    click.echo(report.facts_text(content["machine"]))
    paths, problem = suite.write_report(content, result)
    if problem:
        click.echo(f"without plots: {problem}", err=True)
    click.echo("\n".join(["written:", *map(str, [result, *paths])]))


def _show(scenario: str, options: Any, run: Callable[[report.ProgressBar], suite.Measured]) -> None:
    facts = measure.machine_facts()
    try:
        with report.progress_bar() as progress:
            found, results = run(progress)
    except CANNOT_MEASURE as error:
        raise click.ClickException(str(error)) from error
    path = report.save(scenario, {"options": dataclasses.asdict(options), "machine": facts, "results": results})
    for table in found if isinstance(found, list) else [found]:
        click.echo(report.table_text(table) + "\n")
    click.echo(report.facts_text(facts))
    click.echo(f"written to {path}")


main.add_command(commands.bystander_command)
main.add_command(commands.soak_command)

if __name__ == "__main__":
    main()
