"""Compiles the programs of the benchmarks on first use, and again when a source is newer."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

BENCH = Path(__file__).resolve().parent
BINARIES = BENCH / "bin"
ENGINE = BENCH / "engine"
BUILD_TIMEOUT_S = 900.0
LAST_LINES = 15  # of what a failed command wrote
ENGINE_LIBRARIES = {  # what the load engine does without where a header is missing, and then says so
    "openssl/ssl.h": ("-DWITH_TLS", "-lssl", "-lcrypto"),
    "zlib.h": ("-DWITH_DEFLATE", "-lz"),
}


class BuildError(RuntimeError):
    """A program of the benchmarks does not build, or something it takes is not installed."""


def load_engine() -> Path:
    """The load engine, compiled.

    :raises BuildError: it does not compile.
    """
    files = [*_files(ENGINE), Path(__file__)]
    if is_built("load", files):
        return BINARIES / "load"
    sources = sorted(str(path) for path in ENGINE.glob("*.c"))
    optional = [flag for header, flags in ENGINE_LIBRARIES.items() if _has_header(header) for flag in flags]
    command = ["cc", "-O2", "-Wall", "-Wextra", "-o", "{binary}", *sources, *optional]
    return _built("load", [command], files, ENGINE)


def _has_header(name: str) -> bool:
    if shutil.which("cc") is None:
        return False
    command = ["cc", "-E", "-include", name, "-x", "c", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def peer_binary(name: str, steps: Sequence[Sequence[str]], sources: Sequence[Path], folder: Path) -> Path:
    """The program of a peer, built by the commands `steps`, run in `folder`.

    :raises BuildError: it does not build.
    """
    return _built(name, steps, sources, folder)


def is_built(name: str, sources: Sequence[Path]) -> bool:
    """Whether the program is there and no source is newer."""
    binary = BINARIES / name
    return binary.exists() and binary.stat().st_mtime > max(path.stat().st_mtime for path in sources)


def outcome_of(command: Sequence[str], folder: Path, timeout_s: float = BUILD_TIMEOUT_S) -> None:
    """Run a command in `folder`.

    :raises BuildError: it is not installed, failed or took too long; the message ends with the last lines it wrote.
    """
    if shutil.which(command[0]) is None:
        raise BuildError(f"{command[0]} is not installed")
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{shlex.join(command)}\ntook more than {timeout_s:.0f} s") from error
    if result.returncode:
        lines = result.stdout.strip().splitlines()[-LAST_LINES:] or [f"exit code {result.returncode}"]
        raise BuildError("\n".join([shlex.join(command), *lines]))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def _built(name: str, steps: Sequence[Sequence[str]], sources: Sequence[Path], folder: Path) -> Path:
    binary = BINARIES / name
    if is_built(name, sources):
        return binary
    BINARIES.mkdir(exist_ok=True)
    # Several tests may build at once: each writes a file of its own, and the last rename wins.
    unfinished = BINARIES / f"{name}.{os.getpid()}"
    try:
        for step in steps:
            outcome_of([part.replace("{binary}", str(unfinished)) for part in step], folder)
        unfinished.replace(binary)
    finally:
        unfinished.unlink(missing_ok=True)
    return binary
