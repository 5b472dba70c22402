"""Builds and tests what people install.

Usage: wheels.py sdist DIRECTORY | wheel DIRECTORY | test [PYTEST OPTIONS]

`sdist` makes a source distribution of the checkout; `wheel` a wheel of that, for the Python that runs this.

`test` makes a wheel of the source distribution for each CPython on this machine that the project is declared for, with
nothing but what pip brings along, and runs the fast tests with it in an environment of its own, where they find the
installed package and no checkout. Interpreters are looked for on PATH and among the versions of pyenv; what cannot be
tried is named and skipped. Exits 1 if anything failed, or nothing was tested.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "wheels"
TOOLS = ("build>=1.2,<2", "twine>=6,<7")
# The shape of the repository, its tools, its benchmarks and the sources of the extension are no part of the package.
NOT_OF_THE_PACKAGE = (
    *("tests/test_layout.py", "tests/test_build.py", "tests/packaging", "tests/bench", "tests/browser"),
    *("tests/fuzz/test_native.py", "tests/docs", "tests/examples"),
)
FAST = "not alone and not conformance and not browser and not slow"


def run(*command: str | Path, cwd: Path = ROOT, loud: bool = False) -> None:
    """Run a command outside the checkout's environment; raises `CalledProcessError`.

    `loud`: show what it prints even if it succeeds.
    """
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}
    output = None if loud else subprocess.PIPE
    words = [str(part) for part in command]
    done = subprocess.run(
        words, cwd=cwd, env=clean | quiet, stdout=output, stderr=output and subprocess.STDOUT, check=False
    )
    if done.returncode:
        sys.stdout.write((done.stdout or b"").decode(errors="replace"))
        raise subprocess.CalledProcessError(done.returncode, " ".join(words))


def declared_versions() -> list[str]:
    """The versions of Python that pyproject.toml names, such as 3.12."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in project["classifiers"]]
    return [match[1] for match in found if match]


def candidates() -> Iterator[Path]:
    """Everything that may be an interpreter."""
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        for path in sorted(Path(directory or ".").glob("python3*")):
            if re.fullmatch(r"python3(\.\d+)?", path.name):
                yield path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/3*/bin/python"))


def interpreters() -> dict[str, Path]:
    """The first working CPython of each version, outside virtual environments."""
    found: dict[str, Path] = {}
    ask = (
        "import ensurepip, sys, venv; "  # Debian has interpreters without these
        "print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.prefix == sys.base_prefix, sys.executable)"
    )
    for path in candidates():
        try:
            done = subprocess.run([path, "-c", ask], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        words = done.stdout.split(maxsplit=3)
        if done.returncode == 0 and words[0] == "cpython" and words[2] == "True":
            found.setdefault(words[1], Path(words[3].strip()))  # behind the shims of pyenv
    return found


def environment(directory: Path, python: Path, *requirements: str | Path) -> Path:
    """Make a fresh virtual environment and return its interpreter."""
    shutil.rmtree(directory, ignore_errors=True)
    run(python, "-m", "venv", directory)
    if requirements:
        run(directory / "bin" / "python", "-m", "pip", "install", *requirements)
    return directory / "bin" / "python"


def build_sdist() -> Path:
    """The source distribution, its metadata and its README looked through as an index does."""
    tools = CACHE / "tools" / "bin" / "python"
    if not tools.exists():
        environment(CACHE / "tools", Path(sys.executable), *TOOLS)
    out = CACHE / "sdist"
    shutil.rmtree(out, ignore_errors=True)
    run(tools, "-m", "build", "--sdist", "--outdir", out)
    (sdist,) = out.glob("fastws-*.tar.gz")
    run(tools, "-m", "twine", "check", "--strict", sdist)
    return sdist


def build_wheel(python: Path, sdist: Path, work: Path) -> Path:
    """A wheel of the source distribution, built in isolation."""
    builder = environment(work / "builder", python)
    run(builder, "-m", "pip", "wheel", "--no-deps", "--no-cache-dir", "--wheel-dir", work, sdist, cwd=work)
    (wheel,) = work.glob("fastws-*.whl")
    run(CACHE / "tools" / "bin" / "python", "-m", "twine", "check", "--strict", wheel)
    check_wheel(wheel, str(work))
    return wheel


def check_wheel(wheel: Path, *places: str) -> None:
    """Raise `ValueError` if it claims more than it is, or has something of the machine that built it."""
    if not re.search(r"-linux_\w+\.whl$", wheel.name):
        raise ValueError(f"{wheel.name}: built here, so it is for machines like this one: linux_<machine>")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith((".c", ".pyx", ".o")) or name.startswith(("tests/", "bench/", "build/")):
                raise ValueError(f"{wheel.name}: {name} has no business there")
            content = archive.read(name)
            for place in (str(ROOT), "/pip-", *places):
                if place.encode() in content:
                    raise ValueError(f"{wheel.name}: {name} has the path {place} in it")


def test_wheel(python: Path, sdist: Path, wheel: Path, work: Path, arguments: list[str]) -> None:
    """Run the fast tests of the source distribution against the installed wheel."""
    tested = environment(work / "venv", python, f"fastws[test] @ {wheel.as_uri()}")
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    (place,) = work.glob("fastws-*/")
    for package in ("fastws", "fastws_ext", "fastws.egg-info"):
        shutil.rmtree(place / package)
    inside = str(work / "venv")
    where = f"import fastws_ext.wire, fastws; assert fastws.__file__.startswith({inside!r}), fastws.__file__"
    run(tested, "-c", where, cwd=place)
    ignored = [f"--ignore={name}" for name in NOT_OF_THE_PACKAGE]
    run(
        *(tested, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "--show-capture=no"),
        *("-m", FAST),
        *(*ignored, *arguments),
        cwd=place,
        loud=True,
    )


def test(arguments: list[str]) -> int:
    """Build and test on every interpreter, say how each did, and return the exit code."""
    found, results = interpreters(), {}
    declared = declared_versions()
    for version in sorted({*declared, *found}, key=lambda text: int(text.split(".")[1])):
        if version not in found:
            results[version] = "skipped: not installed"
        elif version not in declared:
            results[version] = "skipped: not a version that fastws is declared for"
    sdist = build_sdist()
    for version in (version for version in declared if version in found):
        begun = time.monotonic()
        work = CACHE / version
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        print(f"fastws: {sdist.name} on CPython {version} ({found[version]})", flush=True)
        try:
            wheel = build_wheel(found[version], sdist, work)
            test_wheel(found[version], sdist, wheel, work, arguments)
            results[version] = f"passed: {wheel.name}"
        except (subprocess.CalledProcessError, ValueError) as error:
            results[version] = f"FAILED: {error}"
        results[version] += f" ({time.monotonic() - begun:.0f} s)"
        print(f"fastws: CPython {version} {results[version]}", flush=True)
    for version, result in results.items():
        print(f"fastws: CPython {version} {result}")
    failed = any(result.startswith("FAILED") for result in results.values())
    return 1 if failed or not any(result.startswith("passed") for result in results.values()) else 0


def main() -> int:
    command, *rest = sys.argv[1:] or [""]
    if command == "test":
        return test(rest)
    if command not in ("sdist", "wheel") or len(rest) != 1:
        sys.exit(__doc__)
    out = Path(rest[0])
    out.mkdir(parents=True, exist_ok=True)
    made = build_sdist()
    if command == "wheel":
        work = CACHE / "wheel"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        made = build_wheel(Path(sys.executable), made, work)
    print(f"fastws: {shutil.copy(made, out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
