"""What a build says, and the targets of the Makefile that other people's scripts rely on."""

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMPILED = sorted(path.stem for path in (ROOT / "fastws_ext").glob("*.pyx"))
TARGETS = [
    *("run", "test", "build", "debug", "test-debug", "sanitize", "lint", "types", "conformance", "fuzz", "soak"),
    *("clean", "help"),
    *("bench", "gate", "bench-million", "bench-peers", "tune-check", "tune", "tune-persist", "tune-revert"),
    *("sdist", "wheel", "test-wheels"),
]


def run(*command: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    # Without make's own variables: this may itself run under `make test`.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        command, cwd=cwd, env=clean | env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", COMPILED)
def test_every_compiled_module_can_be_imported(name: str) -> None:
    assert import_module(f"fastws_ext.{name}").__file__.endswith(".so")


def test_without_a_compiler_the_build_says_what_to_install() -> None:
    result = run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", CC="no-such-compiler")
    assert result.returncode == 1
    assert "'no-such-compiler'" in result.stderr
    assert "apt-get install gcc libc6-dev python3-dev" in result.stderr
    assert "Traceback" not in result.stderr


def test_dependencies_are_ranges() -> None:
    """A lower bound that is known to work, and an upper one: a new major version must not break an old release."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("\ndependencies = [") : text.index("\n[project.optional-dependencies]")]
    names = re.findall(r'"([^"]+)"', block)
    assert len(names) >= 8
    assert [name for name in names if not re.fullmatch(r"[\w\[\]-]+>=[\d.]+,<[\d.]+", name)] == []


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_the_makefile_has_the_target(target: str) -> None:
    result = run("make", "--question", "--dry-run", target)
    assert "No rule to make target" not in result.stderr


@needs_make
@pytest.mark.parametrize("target", ["bench-million", "tune", "tune-check"])
def test_a_target_that_is_not_built_yet_is_no_success(target: str) -> None:
    result = run("make", target)
    assert result.returncode == 2
    assert f"make {target}: " in result.stderr
    assert "is not part of this version" in result.stderr


@needs_make
@pytest.mark.parametrize(("minutes", "seconds"), [("10", "20"), ("0.5", "1")])
def test_a_soak_ends_with_the_torture_for_a_tenth_of_its_time(minutes: str, seconds: str) -> None:
    result = run("make", "--dry-run", "--silent", "soak", f"MINUTES={minutes}")
    loads, torture = result.stdout.index(f"bench soak --minutes {minutes}\n"), result.stdout.index("tests/torture")
    assert loads < torture
    (command,) = re.findall(r"FASTWS_TEST_TORTURE_S=(.*) \\", result.stdout)
    assert run("sh", "-c", f"unset FASTWS_TEST_TORTURE_S; echo {command}").stdout == f"{seconds}\n"


@needs_make
def test_make_help_names_what_there_is() -> None:
    result = run("make", "help")
    assert result.returncode == 0
    for target in ("run", "test", "build", "lint", "types", "conformance"):
        assert f"make {target} " in result.stdout
