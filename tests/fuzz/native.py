"""The extension modules compiled once more for fuzzing: bounds checks, C assertions, and coverage for libFuzzer.

They stand in `.cache/fuzz/native`, beside nothing of the checkout. Needs gcc, which is what knows the flags used here.
"""

import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "fuzz"
FOLDER = CACHE / "native"
_COUNTERS = FOLDER / "coverage.so"
_FLAGS = "-fsanitize-coverage=trace-pc,trace-cmp"


def build() -> str:
    """Compile what changed. Returns why the modules of the checkout have to do, or an empty text."""
    (FOLDER / "fastws_ext").mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two campaigns may begin at once
        problem = _compile()
        if problem:
            _COUNTERS.unlink(missing_ok=True)  # modules of an older checkout would fit nothing
        return problem


def _compile() -> str:
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        _renew(ROOT / name, FOLDER / name)
    sources = [path for path in (ROOT / "fastws_ext").iterdir() if path.suffix in {".pyx", ".pxd", ".pyi", ".h", ".py"}]
    for path in sources:
        _renew(path, FOLDER / "fastws_ext" / path.name)
    environment = {**os.environ, "FASTWS_DEBUG": "1", "CFLAGS": _FLAGS}
    compiler = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O2"]
    for command in (
        [*compiler, "-o", str(_COUNTERS), str(Path(__file__).with_name("coverage.c"))],
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
    ):
        try:
            done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            return f"{command[0]}: {error.strerror}"
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            return f"{Path(command[0]).name} failed: {lines[-1] if lines else 'without a word'}"
    return ""


def _renew(source: Path, copy: Path) -> None:
    """Copy what is different, so that nothing else is compiled again."""
    if not copy.exists() or copy.read_bytes() != source.read_bytes():
        shutil.copy(source, copy)


def take() -> None:
    """Make these modules the ones that are imported, and connect their counters. Raises `OSError` if that fails."""
    core: Any = import_module("atheris.core_with_libfuzzer")
    counters = ctypes.CDLL(str(_COUNTERS), ctypes.RTLD_GLOBAL)
    counters.fastws_connect.argtypes = [ctypes.c_void_p]
    if counters.fastws_connect(ctypes.CDLL(core.__file__)._handle) != 0:
        raise OSError("atheris has no counters to connect with")
    sys.path.insert(0, str(FOLDER))


def is_built() -> bool:
    """Whether `take` has something to take."""
    return _COUNTERS.exists() and any((FOLDER / "fastws_ext").glob("wire.*.so"))
