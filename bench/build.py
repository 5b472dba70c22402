"""Compiles the C programs of the benchmarks on first use, and again when a source is newer."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

BENCH = Path(__file__).resolve().parent
BINARIES = BENCH / "bin"
ENGINE = BENCH / "engine"


class BuildError(RuntimeError):
    """A program of the benchmarks does not compile, or there is no compiler."""


def load_engine() -> Path:
    """The load engine, compiled.

    :raises BuildError: it does not compile.
    """
    sources = [str(ENGINE / name) for name in ("load.c", "worker.c", "client.c")]
    command = ["cc", "-O2", "-Wall", "-Wextra", "-o", "{binary}", *sources]
    return _compiled("load", command, [ENGINE], ENGINE)


def peer_binary(folder: Path, command: str) -> Path:
    """The program of a peer, compiled by its one-line `command`, run in its folder.

    :raises BuildError: it does not compile.
    """
    return _compiled(folder.name, shlex.split(command), [folder, ENGINE], folder)


def _compiled(name: str, command: Sequence[str], source_folders: Sequence[Path], folder: Path) -> Path:
    binary = BINARIES / name
    newest = max(path.stat().st_mtime for source in source_folders for path in source.iterdir() if path.is_file())
    if binary.exists() and binary.stat().st_mtime > newest:
        return binary
    if shutil.which(command[0]) is None:
        raise BuildError(f"{command[0]} is not installed; it builds the benchmark program {name!r}")
    BINARIES.mkdir(exist_ok=True)
    # Several tests may build at once: each writes a file of its own, and the last rename wins.
    unfinished = BINARIES / f"{name}.{os.getpid()}"
    arguments = [part.replace("{binary}", str(unfinished)) for part in command]
    result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildError(f"{shlex.join(arguments)}\n{result.stderr}")
    unfinished.replace(binary)
    return binary
