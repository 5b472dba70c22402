"""What the constructor of `FastWS` takes, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastws.app.routes import TOKEN
from fastws.config import check_namespaces
from fastws.core.codecs.schemas import schema_problem
from fastws.errors import ConfigError, UsageError


def checked_headers(names: Iterable[str]) -> tuple[str, ...]:
    """Names of headers; `UsageError` for what is none."""
    given = tuple(names) if isinstance(names, Iterable) else (names,)
    wrong = [name for name in given if not isinstance(name, str) or not TOKEN.fullmatch(name)]
    if isinstance(names, str) or wrong:
        raise UsageError(
            f"keep_headers={names!r} is no tuple of header names", 'write keep_headers=("user-agent", "x-request-id")'
        )
    return given


def checked_namespaces(tables: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """Options of namespaces, durations in seconds; `UsageError` with one line for each thing that is wrong."""
    if tables is None:
        return {}
    if not isinstance(tables, Mapping):
        raise UsageError(f"namespaces={tables!r} is no dict", 'write namespaces={"chat": {"subscribe": "all"}}')
    schemas = {
        name: table["schema"] for name, table in tables.items() if isinstance(table, Mapping) and "schema" in table
    }
    for name, schema in schemas.items():
        problem = schema_problem(schema)
        if problem is not None:
            raise UsageError(f"the schema of the namespace {name!r} {problem}", "give a type of msgspec or pydantic")
    plain = {
        name: {key: value for key, value in table.items() if key != "schema"} if name in schemas else table
        for name, table in tables.items()
    }
    try:
        checked = check_namespaces(plain, "FastWS(namespaces=...)")
    except ConfigError as error:
        raise UsageError(str(error)) from None
    for name, schema in schemas.items():
        checked[name]["schema"] = schema
    return checked
