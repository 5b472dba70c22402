"""`python -m bench bystander` and `python -m bench soak`."""

import dataclasses

import click

from bench import measure, report
from bench.build import BuildError
from bench.bystander.loads import LOADS, LONGEST_S
from bench.bystander.watch import BystanderError
from bench.load import LoadError
from bench.scenarios import bystander, soak
from bench.servers import ServerError
from bench.soaking.plot import plot

CANNOT_MEASURE = (BuildError, LoadError, ServerError, BystanderError)
LONGEST_SOAK_MIN = LONGEST_S / 60 - 10  # its idle connections have to outlast it


@click.command("bystander")
@click.option("--load", "loads", multiple=True, type=click.Choice(list(LOADS)), help="Repeatable; default: all.")
@click.option("--seconds", default=5.0, type=click.FloatRange(0.1), help="Of each load.")
@click.option("--attempts", default=3, type=click.IntRange(1), help="For a load that does not pass.")
def bystander_command(*, loads: tuple[str, ...], seconds: float, attempts: int) -> None:
    """What an echo client, a timer and a link wait while others load the server; fails if that is too long."""
    options = bystander.BystanderOptions(loads or tuple(LOADS), seconds, attempts)
    facts = measure.machine_facts()
    try:
        with report.progress_bar() as progress:
            table, results = bystander.run(options, progress)
    except CANNOT_MEASURE as error:
        raise click.ClickException(str(error)) from error
    path = report.save("bystander", {"options": dataclasses.asdict(options), "machine": facts, "results": results})
    click.echo(report.table_text(table))
    click.echo(report.facts_text(facts))
    click.echo(f"written to {path}")
    if not results["holds"]:
        raise click.ClickException("bystanders wait too long: see the rows with NO")


@click.command("soak")
@click.option("--minutes", default=10.0, type=click.FloatRange(0.01, LONGEST_SOAK_MIN))
@click.option("--connections", default=8000, type=click.IntRange(1), help="Idle ones, beside those of the loads.")
def soak_command(*, minutes: float, connections: int) -> None:
    """Every load in turn for a time: fails unless memory and descriptors stay level and everybody is served."""
    options = soak.SoakOptions(minutes, connections)
    facts = measure.machine_facts()
    try:
        with report.progress_bar() as progress:
            table, results, sampler = soak.run(options, progress)
    except CANNOT_MEASURE as error:
        raise click.ClickException(str(error)) from error
    path = report.save("soak", {"options": dataclasses.asdict(options), "machine": facts, "results": results})
    click.echo(report.table_text(table))
    click.echo(report.facts_text(facts))
    picture = path.with_suffix(".png")
    if plot(sampler.samples, picture):
        click.echo(f"written to {path} and {picture}")
    else:
        click.echo(f"written to {path}; without a picture: install the extra 'bench' for matplotlib")
    if not results["passed"]:
        raise click.ClickException("the soak did not pass: see the rows with NO")
