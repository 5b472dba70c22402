"""Installing on a machine that cannot compile: the last thing that pip shows is what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

END = "[end of output]"  # after this pip says only that it failed
ADVICE = [
    "Install it, then run the same command again:",
    "Debian, Ubuntu   apt-get install gcc libc6-dev python3-dev",
    "Fedora, RHEL     dnf install gcc glibc-devel python3-devel",
    "Alpine           apk add gcc musl-dev linux-headers python3-dev",
]


def pip_install(source: Path, **env: str) -> list[str]:
    """Let pip install `source`, which has to fail; the lines of what it built, and what it says at the end of them."""
    clean = {name: value for name, value in os.environ.items() if name not in ("CC", "CFLAGS", "PYTHONPATH")}
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--target", "out", "."]
    done = subprocess.run(
        command,
        cwd=source,
        env=clean | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    end = lines.index(END)
    assert len(lines) - end < 10
    return lines[:end]


def python_startup(source: Path, code: str) -> str:
    """Have `code` run at the start of every interpreter that is told this PYTHONPATH."""
    place = source.parent / "startup"
    place.mkdir()
    (place / "sitecustomize.py").write_text(code, encoding="utf-8")
    return str(place)


def test_without_a_compiler(source: Path) -> None:
    *_, problem, one, two, three, four = pip_install(source, PATH="/nonexistent")
    assert problem.startswith("fastws has a compiled part, and no C compiler ('")
    assert [one, two, three, four] == ADVICE


def test_without_the_headers_of_python(source: Path) -> None:
    startup = python_startup(
        source,
        "import sysconfig\n"
        "found = sysconfig.get_paths\n"
        "sysconfig.get_paths = lambda *given, **named: found(*given, **named) | {'include': '/nonexistent'}\n",
    )
    *_, problem, one, two, three, four = pip_install(source, PYTHONPATH=startup)
    assert "the headers of Python" in problem
    assert "(Python.h)" in problem
    assert [one, two, three, four] == ADVICE


def test_with_a_compiler_that_finds_no_headers(source: Path) -> None:
    for path in (source / "fastws_ext").glob("*.pyx"):
        if path.stem != "frames":
            path.unlink()
    (source / "fastws_ext" / "utf8.h").write_text("#include <no_such_header.h>\n", encoding="ascii")
    *above, problem, one, two, three, four = pip_install(source)
    assert any("no_such_header.h" in line for line in above)
    assert "could not be compiled" in problem
    assert [one, two, three, four] == ADVICE


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        ("sys.modules['Cython'] = None", "fastws is built with Cython, which is not installed for"),
        ("sys.platform = 'plan9'", "fastws runs on Linux only, this is plan9"),
    ],
)
def test_what_else_can_be_missing(source: Path, machine: str, sentence: str) -> None:
    build = "sys.argv = ['setup.py', '-q', 'build_ext']; runpy.run_path('setup.py')"
    code = f"import runpy, setuptools.dist, sys, sysconfig; sysconfig.get_config_vars(); {machine}; {build}"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(sentence)
    assert "Traceback" not in done.stderr
