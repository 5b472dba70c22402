"""From option, environment and file to `Settings`: precedence, unknown names, values out of range."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastws.config.declare import Option
from fastws.config.namespaces import read_namespace
from fastws.config.not_built import not_built_problem
from fastws.config.settings import GROUPS, OPTIONS, Settings
from fastws.config.values import did_you_mean, printable
from fastws.errors import ConfigError

DEFAULT_FILE = "fastws.toml"

_VARIABLES = {option.variable: option for option in OPTIONS.values()}
# Kubernetes makes the first two families for every service called fastws; tests and benches use the others.
_IGNORED_PREFIXES = ("FASTWS_SERVICE_", "FASTWS_PORT_", "FASTWS_TEST_", "FASTWS_BENCH_")


@dataclass
class _Reading:
    """What was found so far; every problem is collected, so that somebody can mend all of them at once."""

    values: dict[str, object] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, dict[str, object]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, option: Option, raw: object, source: str, called: str) -> None:
        """Read one value unless a stronger source had one already. It is checked in either case."""
        if isinstance(raw, str) and not raw.isprintable() and not _is_utf8(raw):
            self.problems.append(f"{called} must be UTF-8")
            return
        try:
            value = option.kind.read(raw)
        except ValueError as error:
            self.problems.append(f"{called} {error}")
            return
        if option.name not in self.values:
            self.values[option.name] = value
            self.sources[option.name] = source


def _is_utf8(text: str) -> bool:
    """Python hands on bytes of the environment and the command line that are not UTF-8 as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def load(
    given: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    allow_not_built: bool = False,
    look_for_file: bool = True,
) -> Settings:
    """Return the effective settings: option before environment before file before default.

    `given` has the command line's options by attribute name, as text; absent or None means not given. `environ` is
    the process's own unless passed. Unless `look_for_file`, a file is read only where one is named. Raises
    `ConfigError` with one line for each thing that is wrong, and, unless `allow_not_built`, for each option whose part
    does not exist yet.
    """
    reading = _Reading()
    for name, raw in (given or {}).items():
        if name not in OPTIONS:
            reading.problems.append(f"there is no option {printable(name)}{did_you_mean(name, OPTIONS)}")
        elif raw is not None:
            reading.take(OPTIONS[name], raw, "option", OPTIONS[name].flag)
    _read_environment(reading, os.environ if environ is None else environ)
    path = _file_to_read(reading, look_for_file)
    if path is not None:
        _read_file(reading, path)
        reading.values["config"] = path
    if not allow_not_built:
        reading.problems.extend(
            problem for name, value in reading.values.items() if (problem := not_built_problem(OPTIONS[name], value))
        )
    if reading.problems:
        raise ConfigError("\n".join(reading.problems))
    sources = {name: reading.sources.get(name, "default") for name in OPTIONS}
    return Settings(**reading.values, namespaces=reading.namespaces, sources=sources)  # type: ignore[arg-type]


def _read_environment(reading: _Reading, environ: Mapping[str, str]) -> None:
    """Take the `FASTWS_*` variables; an empty one counts as not set, as container tools pass those for nothing."""
    for name, text in sorted(_own_variables(environ)):
        option = _VARIABLES.get(name)
        if option is not None:
            if text:
                reading.take(option, text, f"environment {name}", name)
            continue
        problem = f"unknown variable {printable(name)}{did_you_mean(name, _VARIABLES)}"
        positive = "FASTWS_" + name.removeprefix("FASTWS_NO_")
        if positive != name and positive in _VARIABLES:
            problem = f"unknown variable {name}; write {positive}=false"
        reading.problems.append(problem)


def _own_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in environ.items():
        made_by_kubernetes = name == "FASTWS_PORT" and text.startswith("tcp://")
        if name.startswith("FASTWS_") and not name.startswith(_IGNORED_PREFIXES) and not made_by_kubernetes:
            yield name, text


def _file_to_read(reading: _Reading, look_for_file: bool) -> str | None:
    asked = reading.values.get("config")
    if asked is not None:
        return str(asked)
    return DEFAULT_FILE if look_for_file and Path(DEFAULT_FILE).is_file() else None


def _read_file(reading: _Reading, path: str) -> None:
    tables = _parse_file(path)
    known_groups = {group.name for group in GROUPS} | {"namespaces"}
    for name, table in tables.items():
        if name == "namespaces" and isinstance(table, dict):
            for namespace, options in table.items():
                reading.namespaces[namespace], problems = read_namespace(namespace, options, path)
                reading.problems.extend(problems)
        elif name in known_groups and isinstance(table, dict):
            _read_group(reading, path, name, table)
        elif name in known_groups:
            reading.problems.append(f"{path}: {name} must be a table: write [{name}]")
        elif name in OPTIONS and OPTIONS[name].in_file:
            reading.problems.append(f"{path}: {name} belongs in the table [{OPTIONS[name].group}]")
        else:
            nearest = did_you_mean(name, sorted(known_groups))
            reading.problems.append(f"{path}: unknown table [{printable(name)}]{nearest}")


def _read_group(reading: _Reading, path: str, group: str, table: Mapping[str, object]) -> None:
    known = {option.name: option for option in OPTIONS.values() if option.group == group and option.in_file}
    for key, raw in table.items():
        option = known.get(key)
        elsewhere = OPTIONS.get(key)
        if option is not None:
            reading.take(option, raw, f"file {path}", f"{path}: [{group}] {key}")
        elif elsewhere is not None and elsewhere.in_file:
            reading.problems.append(f"{path}: {key} belongs in the table [{elsewhere.group}], not in [{group}]")
        elif key.removeprefix("no_") in known and key.startswith("no_"):
            reading.problems.append(f"{path}: [{group}] has no key {key!r}; write {key.removeprefix('no_')} = false")
        else:
            reading.problems.append(f"{path}: [{group}] has no key {key!r}{did_you_mean(key, known)}")


def _parse_file(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_bytes().decode())
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
