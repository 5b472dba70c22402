"""What a wheel packs. `make test-wheels` builds them as people do, and runs the tests with what is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HURRIED_COMPILER = '#!/bin/sh\nexec cc "$@" -O0\n'  # what is in a wheel does not depend on how fast it runs


@pytest.fixture
def wheel(source: Path) -> Path:
    compiler = source.parent / "cc"
    compiler.write_text(HURRIED_COMPILER, encoding="ascii")
    compiler.chmod(0o755)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    done = subprocess.run(
        command,
        cwd=source,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "CC": str(compiler)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (source / "out").glob("fastws-*.whl")
    return path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_wheel_has_everything_that_runs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        scripts = archive.read(entry_points).decode()
    wanted = [path.relative_to(ROOT).as_posix() for path in (ROOT / "fastws").rglob("*.py")]
    wanted += ["fastws/py.typed", "fastws/static/demo.html", "fastws_ext/py.typed", "fastws_ext/__init__.py"]
    wanted += [
        f"fastws_ext/{path.name}" for kind in ("*.pyi", "*.pxd", "*.h") for path in (ROOT / "fastws_ext").glob(kind)
    ]
    assert not set(wanted) - set(names)
    built = {match[1] for name in names if (match := re.fullmatch(r"fastws_ext/(\w+)\.[\w-]+\.so", name))}
    assert built == {path.stem for path in (ROOT / "fastws_ext").glob("*.pyx")}
    assert not [name for name in names if name.endswith(".c") or name.startswith(("tests", "bench"))]
    assert "fastws-server = fastws.server.cli:main" in scripts
    assert "fastws = fastws.server.toolbox:main" in scripts
