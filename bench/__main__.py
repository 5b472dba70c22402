"""`python -m bench SCENARIO`: prints a table and writes a JSON file to `bench/results/`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import click

from bench import gate, measure, report, roster, servers
from bench.build import BuildError
from bench.load import LoadError
from bench.scenarios import connect, echo, footprint, turns

CANNOT_MEASURE = (BuildError, LoadError, servers.ServerError, roster.PeerError)

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
    options = echo.EchoOptions(connections, size, inflight, rounds, seconds, text, _chosen(peers))
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
@click.option("--connections", default=15000, type=click.IntRange(1))
@click.option("--batches", default=3, type=click.IntRange(1), help="Times that all are opened and closed.")
@with_peers
@with_quick
def footprint_command(*, connections: int, batches: int, peers: str, quick: bool) -> None:
    """Bytes of an idle connection, in the server and in the kernel."""
    if quick:
        connections, batches = min(connections, 5000), min(batches, 2)
    subjects = (turns.OURS, footprint.GATEWAY, *_chosen(peers))
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


@main.command("gate")
def gate_command() -> None:
    """Fail if echo got slower by a third; takes at most a minute."""
    try:
        with report.progress_bar() as progress:
            table, failed = gate.run(progress, gate.CHECKS)
    except CANNOT_MEASURE as error:
        raise click.ClickException(str(error)) from error
    click.echo(report.table_text(table))
    if failed:
        raise click.ClickException(gate.advice(failed))


def _chosen(peers: str) -> tuple[str, ...]:
    try:
        chosen, skipped = roster.choose(peers, turns.REFERENCE)
    except KeyError as error:
        raise click.BadParameter(error.args[0]) from error
    for name, problem in skipped.items():
        click.echo(f"without {name}: {problem}", err=True)
    return tuple(chosen)


def _show(
    scenario: str, options: Any, run: Callable[[report.ProgressBar], tuple[report.Table, dict[str, Any]]]
) -> None:
    facts = measure.machine_facts()
    try:
        with report.progress_bar() as progress:
            table, results = run(progress)
    except CANNOT_MEASURE as error:
        raise click.ClickException(str(error)) from error
    path = report.save(scenario, dataclasses.asdict(options), facts, results)
    click.echo(report.table_text(table))
    click.echo(report.facts_text(facts))
    click.echo(f"written to {path}")


if __name__ == "__main__":
    main()
