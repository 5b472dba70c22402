"""docs/reference/commands.md: the fields of commands from their types, and what answers and pushes hold."""

from __future__ import annotations

from typing import Any, Final

import msgspec.inspect as types

from docs.generate.markdown import GENERATED, table
from docs.generate.words import COMMANDS, FIELDS, PUSHES, VALUES
from fastws.core.codecs.commands import NAMES, NOT_BUILT

_HEAD: Final = f"""\
# Commands and pushes

{GENERATED}

A command is an object with `cmd`, the fields below and, if a reply is wanted, `id`: a text of at most 64 bytes or a
signed 64-bit integer. The reply is `{{"id", "result"}}` or `{{"id", "error"}}`; [codes](codes.md) has the errors.
Fields without a value are absent, never null. Times named `ts`, `timestamp` and `last_seen` are milliseconds of Unix
time, `expires` is seconds of it.

"""


def render() -> str:
    """The whole page."""
    sections = [_HEAD, "## Commands\n"]
    for command, name in NAMES.items():
        sections.append(f"\n### `{name}`\n\n{COMMANDS[name].about}\n\n")
        fields = [field for field in types.type_info(command).fields if field.name != "id"]  # type: ignore[attr-defined]
        if fields:
            rows = [
                (f"`{field.name}`", described(field.type), "yes" if field.required else "", FIELDS[name, field.name])
                for field in fields
            ]
            sections.append(table(("field", "type", "required", "meaning"), rows) + "\n")
        sections.append(_values(COMMANDS[name].result, "result"))
    missing = ", ".join(f"`{name}`" for name in sorted(NOT_BUILT))
    sections.append(f"\n{missing} (direct messages) are not part of this version; they answer 108.\n\n## Pushes\n")
    for event, push in PUSHES.items():
        sections.append(f"\n### `{event}`\n\n{push.about}\n\n{_values(push.fields, 'field')}")
    return "".join(sections)


def _values(names: tuple[str, ...], head: str) -> str:
    """A table of the values of a result or push; a name that ends in `?` may be absent."""
    if not names:
        return "The result is empty.\n"
    rows = [(f"`{shown(name)}`", "" if name.endswith("?") else "yes", VALUES[name.rstrip("?")]) for name in names]
    return table((head, "always there", "meaning"), rows)


def shown(name: str) -> str:
    """The field of a name of `words`: some fields mean different things in different places."""
    return name.rstrip("?").rpartition(" ")[2]


def described(kind: Any) -> str:
    """A type in words."""
    match kind:
        case types.UnionType(types=members):
            return " or ".join(described(one) for one in members if not isinstance(one, types.NoneType))
        case types.StrType():
            return "text"
        case types.BoolType():
            return "true or false"
        case types.IntType(ge=None):
            return "integer"
        case types.IntType(ge=least):
            return f"integer, ≥ {least}"
        case types.FloatType():
            return "number"
        case types.AnyType():
            return "anything"
        case types.ListType(item_type=item):
            return f"list of {described(item)}"
        case types.StructType(fields=fields):
            return "`{" + ", ".join(f'"{field.name}"' for field in fields) + "}`"
    raise NotImplementedError(f"no words for {kind}")
