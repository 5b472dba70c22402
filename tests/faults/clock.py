"""The other end of `clock.c`: another time of day for a process that is started with `environment`."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.preloads import compiled

SOURCE: Final = Path(__file__).with_name("clock.c")
CACHE: Final = Path(__file__).resolve().parents[2] / ".cache" / "faults"


def library() -> Path:
    """The compiled shim; or skip."""
    return compiled(SOURCE, CACHE)


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
