"""docs/reference/toolbox.md: the commands of `fastws`, from what they say about themselves."""

from __future__ import annotations

import inspect
from typing import Final

import click

from docs.generate.markdown import GENERATED, table
from fastws.server.toolbox import toolbox

_HEAD: Final = f"""\
# The toolbox

{GENERATED}

`fastws` is the command beside the server: it looks at configurations, talks to servers and operates them. Options of
`fastws-server` itself are [configuration](../configuration.md). Exit codes of both: 0 done, 2 wrong usage or
configuration, 3 could not start, 4 the application could not be imported, 1 anything else.
"""


def render() -> str:
    """The whole page."""
    context = click.Context(toolbox, info_name="fastws")
    return _HEAD + "".join(_command(name, toolbox.commands[name], context) for name in sorted(toolbox.commands))


def _command(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"\n## `fastws {name} {usage}`\n\n", _paragraphs(inspect.cleandoc(command.help or ""))]
    records = [
        record
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and (record := option.get_help_record(context))
    ]
    if records:
        parts += ["\n", table(("option", "meaning"), [(f"`{flag}`", meaning) for flag, meaning in records])]
    return "".join(parts)


def _paragraphs(text: str) -> str:
    """The help of a command. Paragraphs below a line with a backspace keep their lines, for click and here."""
    written = []
    for paragraph in text.strip().split("\n\n"):
        first, *lines = paragraph.splitlines()
        if first not in ("\b", r"\b"):
            written.append("\n".join((first, *lines)))
            continue
        prose = [line for line in lines if not line.startswith(" ")]
        code = [line.strip() for line in lines if line.startswith(" ")]
        written.append("\n".join(prose) + "\n\n" + "".join(f"    {line}\n" for line in code))
    return "\n\n".join(part.strip("\n") for part in written) + "\n"
