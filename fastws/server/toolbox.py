"""The command `fastws`: the toolbox beside the server. Exit codes are those of `fastws-server`."""

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import click
import msgspec

from fastws import __version__
from fastws.config import GROUPS, OPTIONS, Settings, load
from fastws.config.docs import render
from fastws.config.values import read_duration, to_toml
from fastws.errors import ConfigError, StartError, StartupError
from fastws.gateway.auth import making as tokens
from fastws.observe.admin import client
from fastws.server import console, doctor, engines, startup_checks
from fastws.server.cli import fail
from fastws.server.console.link import ConnectError

_NOT_BUILT = {
    "top": "Live view of the nodes.",
    "dead-letters": "List or requeue messages that could not be delivered.",
}
_LIBRARIES = ("uvloop", "wsproto", "hiredis", "orjson", "msgspec", "click", "aiohttp")


class Toolbox(click.Group):
    """A group whose commands raise `StartupError` for what the user did wrong; it becomes message and exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except StartupError as error:
            fail(error)


@click.group(
    cls=Toolbox,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="The server itself is the command fastws-server.",
)
@click.version_option(__version__, prog_name="fastws", message="%(prog)s %(version)s")
def toolbox() -> None:
    """Tools around fastws-server: look at its configuration, talk to it, operate it."""


@toolbox.command()
@click.argument("file", required=False)
def check(file: str | None) -> None:
    """Validate a configuration.

    FILE is by default the one that fastws-server would read here. The environment is validated with it. Exits 0 if
    the server would take it, else 2 with one line for each thing that is wrong.
    """
    settings = load({"config": file})
    startup_checks.tls_context(settings)
    try:
        startup_checks.protect(settings)
        engines.check_redis(settings)
    except StartError as error:
        click.echo(f"warning: the server would not start: {error}", err=True)
    click.echo(f"{settings.config or 'no file: environment and defaults'}: ok")


@toolbox.command()
@click.option("--config", "file", metavar="FILE", help="Read this file instead of FASTWS_CONFIG or ./fastws.toml.")
@click.option("--docs", is_flag=True, hidden=True, help="Print the documentation of every setting instead.")
def config(file: str | None, docs: bool) -> None:
    """Print the effective configuration as TOML, secrets masked, with where each value came from."""
    if docs:
        click.echo(render(), nl=False)
        return
    for line in effective(load({"config": file}, allow_not_built=True)):
        click.echo(line)


@toolbox.command("version")
def show_version() -> None:
    """Print the versions of fastws, of Python and of the libraries below it."""
    try:
        codec = startup_checks.codec_name()
    except StartError:
        codec = "missing"
    click.echo(f"fastws {__version__}")
    click.echo(f"codec {codec}")
    click.echo(f"{platform.python_implementation()} {platform.python_version()}")
    click.echo(f"{platform.system()} {platform.release()} {platform.machine()}")
    for library in _LIBRARIES:
        click.echo(f"{library} {version(library)}")


@toolbox.command()
@click.argument("url")
@click.option("--subprotocol", "subprotocols", multiple=True, metavar="NAME", help="Offer a subprotocol; repeatable.")
@click.option("--token", metavar="JWT", help="Token to present as Authorization: Bearer.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Send a header; repeatable.")
@click.option("--uds", metavar="PATH", help="Connect to a Unix socket instead of the URL's host and port.")
@click.option("--insecure", is_flag=True, help="Accept any certificate of a wss:// server.")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="How long to listen after the end of an input that is no terminal. By default until the server has answered "
    "a ping and nothing more came for half a second.",
)
def connect(
    *,
    url: str,
    subprotocols: tuple[str, ...],
    token: str | None,
    headers: tuple[str, ...],
    uds: str | None,
    insecure: bool,
    wait: float | None,
) -> None:
    """Talk to a WebSocket server: every line is sent as a text message, every frame is printed.

    \b
    On a terminal lines are edited, with history; /help shows the commands.
    Otherwise the lines of standard input are sent:
      echo '{"id":1,"cmd":"ping"}' | fastws connect ws://127.0.0.1:8000/ws

    Exits 0 if the connection ended as asked for, else 1.
    """  # noqa: D301 - click wants the character
    read_headers = tuple(console.read_header(text) for text in headers)
    target = console.Target(url, subprotocols, read_headers, token, uds, insecure)
    try:
        code = console.run(target, wait)
    except ConnectError as error:
        click.echo(f"Error: {error}", err=True)
        code = 1
    sys.exit(code)


@toolbox.command("doctor")
@click.option("--connections", metavar="N", type=click.IntRange(min=1), help="How many shall fit.")
@click.option("--config", "file", metavar="FILE", help="Read this file instead of FASTWS_CONFIG or ./fastws.toml.")
def examine(connections: int | None, file: str | None) -> None:
    """Say what this machine allows, and the Redis that is configured, and what caps it.

    Limits of descriptors are those of this shell: run it as the user and in the unit that the server runs in. Lines
    begin with ok, look (worth a look) or LOW. Exits 1 when N connections, by default --max-connections, do not fit.
    """
    settings = load({"config": file}, allow_not_built=True)
    wanted = connections or settings.max_connections
    problem = ""
    engine, facts = "none can be started", None
    try:
        engine = engines.engine_line(engines.chosen(settings))
        facts = doctor.examine(settings)
    except StartError as error:
        problem = str(error)
    lines, fits = doctor.lines_of(doctor.diagnose(settings, doctor.read_limits(), engine, facts, wanted), wanted)
    for line in lines:
        click.echo(line)
    if problem:
        click.echo(f"Error: {problem}", err=True)
    sys.exit(0 if fits and not problem else 1)


@toolbox.command(context_settings={"ignore_unknown_options": True})  # -1 is JSON
@click.argument("topic")
@click.argument("data", metavar="JSON")
@click.option(
    "--admin-url", metavar="URL", help="Where the server's admin address is; by default, the configuration's."
)
@click.option(
    "--admin-key", metavar="KEY", help="Key of the admin address; by default FASTWS_ADMIN_KEY, or the file's."
)
@click.option("--config", "file", metavar="FILE", help="Read this file instead of FASTWS_CONFIG or ./fastws.toml.")
@click.option("--tenant", metavar="NAME", default="", help="The topic is one of this tenant.")
@click.option("--key", metavar="TEXT", help="Unique for 5 minutes in the topic: a repeated message is not delivered.")
def publish(
    *,
    topic: str,
    data: str,
    admin_url: str | None,
    admin_key: str | None,
    file: str | None,
    tenant: str,
    key: str | None,
) -> None:
    """Publish a message to a topic of a running server, and print what became of it.

    \b
      fastws publish news '{"text": "hello"}'
      date +'"%c"' | fastws publish clock -
      fastws publish news 1 --admin-url https://admin.example --admin-key "$KEY"

    JSON is any value; - reads it from standard input. Exits 0 if it was published, 1 if the server cannot be reached
    or refuses, 2 for wrong usage.
    """  # noqa: D301 - click wants the character
    target = client.target_of(load({"config": file}, allow_not_built=True), admin_url, admin_key)
    text = sys.stdin.buffer.read() if data == "-" else data.encode(errors="surrogateescape")
    try:
        body = {"topic": topic, "data": msgspec.json.decode(text), "tenant": tenant}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the message is no JSON: {error}; a text stands in quotes: '\"hello\"'") from None
    try:
        result = client.call(target, "publish", body if key is None else {**body, "key": key})
    except client.CallError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    click.echo(msgspec.json.encode(result))


@toolbox.command()
@click.option(
    "--user", default="", metavar="NAME", help="The user (sub); without it the token is an anonymous client's."
)
@click.option("--tenant", default="", metavar="NAME", help="The user's tenant.")
@click.option("--device", default="", metavar="NAME", help="What the user sits at, such as web or phone.")
@click.option("--ttl", default="1h", metavar="TIME", help="How long it is valid: seconds, or 10m, 1h; 0 = for ever.")
@click.option(
    "--claim",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other claim, repeatable; VALUE is JSON, or else a text.",
)
@click.option("--config", "file", metavar="FILE", help="Read this file instead of FASTWS_CONFIG or ./fastws.toml.")
def token(*, user: str, tenant: str, device: str, ttl: str, others: tuple[str, ...], file: str | None) -> None:
    """Make a JWT from the configured secret, with the configured issuer and audience.

    The secret is FASTWS_JWT_SECRET, or jwt_secret in the table [auth] of the file.

    \b
      fastws token --user 42
      fastws token --user 42 --ttl 5m --claim 'permissions={"sub": ["chat:*"], "pub": []}'
      fastws token --user 42 --claim topic=chat:lobby      (a subscription token for one topic)
    """  # noqa: D301 - click wants the character
    settings = load({"config": file}, allow_not_built=True)
    named = {name: value for name, value in (("sub", user), ("tenant", tenant), ("device", device)) if value}
    try:
        lasts_s = read_duration(ttl)
    except ValueError as error:
        raise ConfigError(f"--ttl {error}") from None
    click.echo(tokens.make(settings, lasts_s, named | dict(map(_claim, others))))


def _claim(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ConfigError(f"--claim {text!r} is not NAME=VALUE")
    try:
        return name, msgspec.json.decode(value.encode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        return name, value


def effective(settings: Settings) -> list[str]:
    """Return the lines of a TOML file that says what the settings say, each with its source as a comment."""
    lines: list[str] = []
    for group in GROUPS:
        lines.append(f"[{group.name}]")
        for name, option in OPTIONS.items():
            if option.group == group.name:
                shown = settings.shown(name)
                # TOML has no null, and the path of the file cannot stand in the file
                written = f"{name} = {shown}" if shown and option.in_file else f"# {name} = {shown}".rstrip()
                lines.append(f"{written:<44}  # {settings.sources[name]}")
        lines.append("")
    for namespace, table in settings.namespaces.items():
        lines.append(f"[namespaces.{to_toml(namespace)}]")
        lines += [f"{key} = {to_toml(value)}" for key, value in table.items()]
        lines.append("")
    return lines[:-1]


def _add_not_built(name: str, about: str) -> None:
    """Add a command that takes whatever it is given and says that it does not exist yet."""

    def refuse() -> None:
        raise ConfigError(f"fastws {name} is not built in this version")

    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["-h", "--help"]}
    toolbox.add_command(click.Command(name, callback=refuse, help=f"{about} Not built yet.", context_settings=settings))


for _name, _about in _NOT_BUILT.items():
    _add_not_built(_name, _about)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `fastws`; always ends with `SystemExit`."""
    toolbox.main(arguments, prog_name="fastws")


if __name__ == "__main__":
    main()
