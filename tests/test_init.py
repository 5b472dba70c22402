"""What `import fastws` offers, and what it does not load."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastws
from fastws import types

ROOT = Path(__file__).resolve().parent.parent


def test_every_public_name_is_there() -> None:
    for name in fastws.__all__:
        assert getattr(fastws, name) is not None
    assert dir(fastws) == sorted(fastws.__all__)


def test_every_value_that_handlers_get_is_public() -> None:
    declared = {name for name, value in vars(types).items() if getattr(value, "__module__", "") == types.__name__}
    assert declared <= set(fastws.__all__)


def test_names_of_the_readme_and_the_docs_can_be_imported_together() -> None:
    from fastws import Connection, FastWS, Reject, TopicError

    assert all(isinstance(item, type) for item in (Connection, FastWS, Reject, TopicError))


def test_parts_are_loaded_when_they_are_asked_for() -> None:
    code = "import sys, fastws; assert 'fastws.asgi' not in sys.modules; fastws.asgi.mount; fastws.testing.TestServer"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="FastWSS"):
        _ = fastws.FastWSS


def test_the_version_is_that_of_the_package() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert fastws.__version__ == tomllib.load(file)["project"]["version"]


def test_importing_a_table_loads_no_compiled_module() -> None:
    code = "import sys, fastws.closes; sys.exit(any(name.startswith('fastws_ext') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
