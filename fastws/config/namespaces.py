"""The tables `[namespaces.NAME]`: what they may say. Python's `FastWS(namespaces=...)` is checked by the same rules."""

from collections.abc import Mapping

from fastws.config.values import Choice, Duration, Flag, Integer, Kind, Text, did_you_mean, printable
from fastws.errors import ConfigError

_WHO = Choice(("all", "authenticated", "token", "nobody"))
_MAX_NAME_BYTES = 255

NAMESPACE_KEYS: dict[str, Kind] = {
    "subscribe": _WHO,
    "publish": _WHO,
    "history_size": Integer(unit="publications"),
    "history_ttl": Duration(),
    "recover": Flag(),
    "presence": Flag(),
    "join_leave": Flag(),
    "max_subscribers": Integer(unit="subscribers"),
    "slow_policy": Choice(("disconnect", "drop_oldest", "conflate")),
    "conflate_key": Text(),
    "echo": Flag(),
}


def read_namespace(name: str, table: object, where: str) -> tuple[dict[str, object], list[str]]:
    """Check one table and return its values, durations in seconds, beside the list of what is wrong with it.

    `where` begins the sentences: `fastws.toml`. Keys that were not given are absent: the caller has the defaults.
    """
    place = f"{where}: [namespaces.{printable(name)}]"
    name_problem = _name_problem(name)
    if name_problem is not None:
        return {}, [f"{place} {name_problem}"]
    if not isinstance(table, Mapping):
        return {}, [f"{place} must be a table"]
    values: dict[str, object] = {}
    problems: list[str] = []
    for key, raw in table.items():
        kind = NAMESPACE_KEYS.get(key)
        if key == "schema":
            problems.append(f"{place} schema takes a type of Python: give it in FastWS(namespaces=...)")
        elif kind is None:
            problems.append(f"{place} has no key {key!r}{did_you_mean(key, NAMESPACE_KEYS)}")
        else:
            try:
                values[key] = kind.read(raw)
            except ValueError as error:
                problems.append(f"{place} {key} {error}")
    if not problems:
        problems.extend(f"{place} {problem}" for problem in contradictions(values))
    return values, problems


def contradictions(values: Mapping[str, object]) -> list[str]:
    """Return what cannot go together: recovery needs every publication since a position, in order."""
    if not values.get("recover"):
        return []
    if values.get("slow_policy") in ("drop_oldest", "conflate"):
        return [f'recover = true does not go with slow_policy = "{values["slow_policy"]}", which leaves gaps']
    if not values.get("history_size"):
        return ["recover = true needs history_size above 0"]
    return []


def check_namespaces(tables: Mapping[str, object], where: str) -> dict[str, dict[str, object]]:
    """Check several tables at once; raises `ConfigError` with one line for each thing that is wrong."""
    checked: dict[str, dict[str, object]] = {}
    problems: list[str] = []
    for name, table in tables.items():
        checked[name], found = read_namespace(name, table, where)
        problems.extend(found)
    if problems:
        raise ConfigError("\n".join(problems))
    return checked


def _name_problem(name: str) -> str | None:
    if not name or len(name.encode()) > _MAX_NAME_BYTES:
        return f"must have a name of 1 to {_MAX_NAME_BYTES} bytes"
    if ":" in name:
        return "must not contain a colon: a namespace is what stands before the first one"
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in name):
        return "must not contain control characters"
    return None
