"""Builds the compiled leaf: every `fastws_ext/*.pyx` becomes one extension module.

Environment:
    FASTWS_DEBUG=1      bounds checks, C assertions, no optimisation, debug information
    FASTWS_COMPILE=0    no extension modules: an editable install whose modules `make build` compiles afterwards
    FASTWS_SANITIZE=1   the same under AddressSanitizer and UndefinedBehaviorSanitizer (needs libasan at run time)
Everything else about the package stands in pyproject.toml.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
PACKAGE = "fastws_ext"
MODE_FILE = ROOT / "build" / "extension-mode"
COMPILER_HELP = """\
fastws has a compiled part, and {missing}.
Install it, then run the same command again:
    Debian, Ubuntu   apt-get install gcc libc6-dev python3-dev
    Fedora, RHEL     dnf install gcc glibc-devel python3-devel
    Alpine           apk add gcc musl-dev linux-headers python3-dev"""


def switched_on(variable):
    return os.environ.get(variable, "0") not in ("", "0")


def without_modules():
    return os.environ.get("FASTWS_COMPILE") == "0"


def mode():
    if switched_on("FASTWS_SANITIZE"):
        return "sanitize"
    return "debug" if switched_on("FASTWS_DEBUG") else "release"


def flags(build_mode):
    """Compiler and linker arguments of a mode."""
    common = ["-fno-strict-aliasing", "-Wno-unused-function", "-Wno-unreachable-code", "-Wno-sign-compare"]
    if build_mode == "release":
        return [*common, "-O3", "-g0", "-DNDEBUG"], []
    checked = [*common, "-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer"]
    if build_mode == "debug":
        return checked, []
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize=function"]
    supported = [flag for flag in sanitizers if compiles_with(flag)]
    return [*checked, *supported], supported


def compiles_with(flag):
    command = [*compiler_command(), flag, "-x", "c", "-c", os.devnull, "-o", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def compiler_command():
    return (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()


def extensions(build_mode):
    sources = sorted((ROOT / PACKAGE).glob("*.pyx"))
    headers = sorted(str(header.relative_to(ROOT)) for header in (ROOT / PACKAGE).glob("*.h"))
    compile_args, link_args = flags(build_mode)
    return [
        Extension(
            f"{PACKAGE}.{source.stem}",
            [str(source.relative_to(ROOT))],
            include_dirs=[PACKAGE],
            depends=headers,
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
        for source in sources
    ]


def directives(build_mode):
    checked = build_mode != "release"
    return {
        "language_level": 3,
        "boundscheck": checked,
        "wraparound": checked,
        "initializedcheck": checked,
        "nonecheck": checked,
        "overflowcheck": False,
        "cdivision": True,
        "binding": True,
        "embedsignature": True,
        "embedsignature.format": "python",
        "auto_pickle": False,
    }


class BuildExtensions(build_ext):
    """Compiles two files at a time, everything again when the mode changed, and says what a bare machine lacks."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or min(2, os.cpu_count() or 1)
        self.mode = mode()
        if not MODE_FILE.exists() or MODE_FILE.read_text() != self.mode:
            self.force = True

    def run(self):
        if not self.extensions:
            return
        if not sys.platform.startswith("linux"):
            sys.exit(f"fastws runs on Linux only, this is {sys.platform}: its reactor is built on epoll.")
        if shutil.which(compiler_command()[0]) is None:
            sys.exit(COMPILER_HELP.format(missing=f"no C compiler ({compiler_command()[0]!r}) is installed"))
        if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
            version = sys.version.split()[0]
            sys.exit(COMPILER_HELP.format(missing=f"the headers of Python {version} are missing (Python.h)"))
        try:
            from Cython.Build import cythonize
        except ImportError:
            sys.exit(f"fastws is built with Cython, which is not installed for {sys.executable}: pip install Cython")
        compiled = cythonize(
            self.extensions, compiler_directives=directives(self.mode), force=bool(self.force), quiet=True
        )
        for extension, result in zip(self.extensions, compiled, strict=True):
            extension.sources = result.sources
        try:
            super().run()
        except CompileError as error:
            why = f"it could not be compiled ({error}); above stands why, most often a header is missing"
            sys.exit(COMPILER_HELP.format(missing=why))
        MODE_FILE.parent.mkdir(exist_ok=True)
        MODE_FILE.write_text(self.mode)


setup(ext_modules=[] if without_modules() else extensions(mode()), cmdclass={"build_ext": BuildExtensions})
