"""The command `fastws-server`: options, configuration, checks, then the worker; errors become exit codes here.

Exit codes: 0 drained and stopped, 2 wrong usage or configuration, 3 could not start, 4 the application could not be
imported, 1 anything else.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import click

from fastws import __version__
from fastws.config import GROUPS, OPTIONS, Option, Settings, load
from fastws.config.not_built import NOT_BUILT
from fastws.config.values import Flag, Items
from fastws.errors import ConfigError, StartupError
from fastws.observe import logs
from fastws.server import engines, startup_checks
from fastws.server.process import reloader

PROGRAM = f"fastws {__version__}"

_ABOUT = """Serve WebSocket clients.

MODULE:APP is a FastWS object in a Python module, such as chat:app for app in chat.py. Without it the built-in gateway
is served: clients subscribe to topics and publish.

Every option can also be given as a variable of the environment, shown in brackets, or as a key of the file
fastws.toml, in the table of its group. An option wins over a variable, and that over the file.
"""

_EPILOG = """\b
Signals:
  TERM, INT   close every connection in turn, then exit; a second one exits at once
  HUP         take new certificates; with --workers also new code and
              configuration, worker by worker
  TTIN, TTOU  with --workers: one worker more, one fewer
  USR1        open log files again
\b
Exit codes:
  0 stopped   2 wrong usage or configuration   3 could not start
  4 the application could not be imported      1 anything else
\b
Examples:
  fastws-server --dev                   try it out, demo page at http://127.0.0.1:8000/
  fastws-server chat:app --port 9001    serve your own application
  fastws check fastws.toml              validate a configuration
"""


class GroupedCommand(click.Command):
    """A command whose `--help` shows the options under the headings of their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group of settings, then what belongs to none."""
        parameters = {option.name: option for option in self.get_params(ctx) if isinstance(option, click.Option)}
        sections = [
            (f"[{group.name}] {group.title}", [name for name, option in OPTIONS.items() if option.group == group.name])
            for group in GROUPS
        ]
        sections.append(("Other", [name for name in parameters if name not in OPTIONS and name is not None]))
        for title, names in sections:
            options = [parameters[name] for name in names if name in parameters]
            records = [record for option in options if (record := option.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def serve(settings: Settings, given: Mapping[str, object] = MappingProxyType({})) -> int:
    """Start what the settings describe and return the exit code once it has stopped.

    `given`: the options of the command line that they were read from. With `--workers` it is a supervisor that serves,
    with as many processes as they say, which read them again; else it is this process. Raises `StartupError` before it
    serves: protected mode, a missing extension, a failing import, a port in use.
    """
    logs.configure(settings)
    startup_checks.protect(settings)
    settings = engines.chosen(settings)
    logs.announce(settings, startup_checks.first_line(settings, PROGRAM))
    warn(settings)
    startup_checks.raise_descriptor_limit()
    # Imported here: --help and configuration errors need none of it, and it cannot be imported without the extension.
    if settings.is_set("workers") and not settings.reload:
        from fastws.server.supervisor import supervisor  # noqa: PLC0415

        with engines.provided(settings) as provided:
            return supervisor.run(settings, given, provided.redis)
    from fastws.server import loader, worker  # noqa: PLC0415

    app = loader.load_app(settings.app, settings.app_dir) if settings.app is not None else None
    with engines.provided(settings) as provided:
        return worker.run(provided, app, given)


def warn(settings: Settings) -> None:
    """Log, once, what will make this server slower or smaller than was asked for, and what is hardly meant."""
    logger = logging.getLogger("fastws.server")
    if startup_checks.loop_name() == "asyncio":
        logger.warning("uvloop is not installed: running on asyncio's loop, which serves several times fewer messages")
    for doubt in startup_checks.doubts(settings):
        logger.warning("%s", doubt)
    short = startup_checks.shortfalls(settings, startup_checks.Machine.read())
    if short:
        logger.warning(
            "this machine allows less than is asked for: %s; run: %s",
            "; ".join(short),
            startup_checks.tune_line(settings),
        )


def parameter(option: Option) -> click.Parameter:
    """Return what click needs to know of a setting: it only splits the command line, values are read by `load`."""
    if option.argument:
        return click.Argument([option.name], required=False, metavar=f"[{option.flag}]")
    notes = [option.variable]
    if option.default_text:
        notes.append(f"default: {option.default_text}")
    if option.name in NOT_BUILT:
        notes.append("not built yet")
    return click.Option(
        [option.name, option.shown_flag],
        help=f"{option.help}  [{'; '.join(notes)}]",
        metavar=option.kind.metavar or None,
        multiple=isinstance(option.kind, Items),
        is_flag=isinstance(option.kind, Flag) or None,
        type=None if isinstance(option.kind, Flag) else click.STRING,
        default=None,
    )


def run_command(**given: object) -> None:
    """Callback of the command: `given` has every option by name, None or empty if it was not given."""
    texts = {
        name: ",".join(raw) if isinstance(raw, tuple) else raw for name, raw in given.items() if raw not in (None, ())
    }
    try:
        settings = load(texts)
        code = _serve_reloading(settings, texts) if settings.reload else serve(settings, texts)
    except StartupError as error:
        fail(error)
    sys.exit(code)


def _serve_reloading(settings: Settings, texts: dict[str, object]) -> int:
    """Serve in children that are replaced whenever the application or the configuration file changes."""
    if settings.workers > 1:
        raise ConfigError("--reload serves with one process: leave --workers away, or --reload and send HUP instead")
    logs.configure(settings)

    def serve_once() -> int:
        try:
            # the file is read again, as it may have changed; nobody wants to wait for a drain here
            now = {**texts, "drain_timeout": "0"}
            return serve(load(now), now)
        except StartupError as error:
            return report(error)

    files = [Path(name).resolve() for name in (settings.config, settings.log_config) if name is not None]
    return reloader.run(serve_once, reloader.Watch(Path(settings.app_dir or ".").resolve(), files))


def fail(error: StartupError) -> NoReturn:
    """Write an error to standard error and exit with its code."""
    sys.exit(report(error))


def report(error: StartupError) -> int:
    """Write an error to standard error and return its exit code."""
    for line in str(error).splitlines():
        click.echo(f"Error: {line}" if not line.startswith(" ") else line, err=True)
    return error.exit_code


command = GroupedCommand(
    "fastws-server",
    callback=run_command,
    params=[parameter(option) for option in OPTIONS.values()],
    help=_ABOUT,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
click.version_option(__version__, prog_name="fastws", message="%(prog)s %(version)s")(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `fastws-server`; always ends with `SystemExit`."""
    command.main(arguments, prog_name="fastws-server")


if __name__ == "__main__":
    main()
