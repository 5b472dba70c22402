"""The other end of `clock.c`: another time of day for a process that is started with `environment`."""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
import shlex
import shutil
import struct
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

SOURCE: Final = Path(__file__).with_name("clock.c")
CACHE: Final = Path(__file__).resolve().parents[2] / ".cache" / "faults"


@functools.cache
def library() -> Path:
    """The compiled shim, made on the first call for this source; or skip."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler ({compiler[0]})")
    path = CACHE / f"clock-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            fresh = Path(folder, "clock.so")
            command = [*compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(fresh), str(SOURCE), "-ldl"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            fresh.replace(path)
    return path


class Clock:
    """The time of day of the processes that were started with its `environment`, as a context."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="fastws-clock-")
        self._file.truncate(8)
        self._memory = mmap.mmap(self._file.fileno(), 8)
        others = os.environ.get("LD_PRELOAD", "")
        self.environment = {
            "FAULTS_CLOCK": self._file.name,
            "LD_PRELOAD": " ".join(filter(None, (str(library()), others))),
        }

    def step(self, seconds: float) -> None:
        """From now on it is so much later, or earlier, than it is."""
        self._memory[:] = struct.pack("=q", int(seconds * 1e9))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.close()
        self._file.close()
