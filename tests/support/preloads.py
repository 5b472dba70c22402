"""C sources that tests compile, and preload into the processes that they start."""

from __future__ import annotations

import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import pytest


@functools.cache
def compiled(source: Path, folder: Path) -> Path:
    """The shared library made of a source, kept in `folder` until the source changes; or skip."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler ({compiler[0]})")
    path = folder / f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as directory:
            fresh = Path(directory, path.name)
            command = [*compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(fresh), str(source), "-ldl"]
            # The compiler has no part in a test that is itself run under what was preloaded.
            clean = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
            done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            fresh.replace(path)
    return path
