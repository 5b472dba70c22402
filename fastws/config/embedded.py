"""Settings of a server that is no process of its own: given in Python, without what only a process has."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from fastws.config.load import load
from fastws.config.settings import Settings
from fastws.errors import ConfigError

OF_THE_PROCESS: Final = frozenset(
    {"app", "app_dir", "workers", "reload", "pidfile", "log_level", "log_format", "log_config"}
)
"""Options that mean nothing where another program owns the process."""


def embedded(
    given: Mapping[str, object],
    *,
    name: str,
    without: Collection[str] = OF_THE_PROCESS,
    environ: Mapping[str, str] | None = None,
    look_for_file: bool = True,
) -> Settings:
    """Settings from `given`, by their names in Python, before environment and file, as `load` reads them.

    `name` says what is served, in place of MODULE:APP. Options in `without` have no effect, and being given one raises
    `ConfigError`, as unknown names and values that cannot be do.
    """
    useless = sorted(without & given.keys())
    if useless:
        raise ConfigError(f"{', '.join(useless)} cannot be given here: that belongs to the process around it")
    lists = {key: list(value) if isinstance(value, tuple | set | frozenset) else value for key, value in given.items()}
    return replace(load(lists, environ, look_for_file=look_for_file), app=name)
