"""What a build says and packs, and the targets of the Makefile that other people's scripts rely on."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_wheel_has_everything_that_runs_and_nothing_else(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    for folder in ("fastws", "fastws_ext"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    pip = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        "out",
        ".",
    )
    result = run(*pip, cwd=checkout, PIP_DISABLE_PIP_VERSION_CHECK="1")
    assert result.returncode == 0, result.stderr
    (wheel,) = (checkout / "out").glob("fastws-*.whl")
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
    assert built == set(COMPILED)
    assert not [name for name in names if name.endswith(".c") or name.startswith(("tests", "bench"))]
    assert "fastws-server = fastws.server.cli:main" in scripts
    assert "fastws = fastws.server.toolbox:main" in scripts


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
