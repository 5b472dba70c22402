"""The file with the id of the process that signals are for."""

from __future__ import annotations

import os
from pathlib import Path

from fastws.errors import StartError


def write_pidfile(name: str | None) -> Path | None:
    """Write this process's id to the file of that name; the file, for whoever removes it at the end, or None without a
    name. Raises `StartError`.
    """
    if name is None:
        return None
    path = Path(name)
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise StartError(f"cannot write --pidfile {path}: {error.strerror or error}") from error
    return path
