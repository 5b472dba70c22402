"""MODULE:APP: what is found, and what is said if it is not."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastws.app import FastWS
from fastws.errors import AppImportError, ConfigError
from fastws.server.loader import load_app


@pytest.fixture(autouse=True)
def _forgets_what_it_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "loaded" in name:
            del sys.modules[name]


def write(text: str, name: str = "loaded.py") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def error_of(target: str, directory: str | None = None) -> str:
    with pytest.raises(AppImportError) as caught:
        load_app(target, directory)
    assert caught.value.exit_code == 4
    return str(caught.value)


def test_the_working_directory_is_looked_in() -> None:
    write("from fastws import FastWS\napp = FastWS()\nclass Place: inner = FastWS()")
    assert isinstance(load_app("loaded:app"), FastWS)
    assert isinstance(load_app("loaded:Place.inner"), FastWS)


def test_another_directory_and_a_package() -> None:
    write("", "src/loaded_package/__init__.py")
    write("from fastws import FastWS\napp = FastWS()", "src/loaded_package/chat.py")
    assert isinstance(load_app("loaded_package.chat:app", "src"), FastWS)


@pytest.mark.parametrize("target", ["loaded", "loaded:", ":app"])
def test_what_is_not_module_app_is_wrong_usage(target: str) -> None:
    with pytest.raises(ConfigError, match="such as chat:app"):
        load_app(target)


def test_a_missing_module_names_the_directory() -> None:
    assert error_of("loaded_nowhere:app") == f"there is no module 'loaded_nowhere' in {Path.cwd()} (see --app-dir)"
    assert "'loaded_nowhere'" in error_of("loaded_nowhere.deeper:app")


def test_a_missing_attribute_names_what_is_there() -> None:
    write("from fastws import FastWS\napp = FastWS()\nother = FastWS()")
    assert error_of("loaded:ap") == "loaded:ap: there is no 'ap' in loaded; it has app, other"


def test_something_else_than_a_fastws() -> None:
    write("from fastws import FastWS\napp = 3\ndef make(): return FastWS()")
    assert error_of("loaded:app") == "loaded:app is an int, not a FastWS"
    assert error_of("loaded:make") == "loaded:make is a function, not a FastWS"
    assert error_of("loaded:FastWS") == "loaded:FastWS is the class FastWS, not a FastWS"


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("import loaded_missing_dependency", "ModuleNotFoundError: No module named 'loaded_missing_dependency'"),
        ("def f(): raise ValueError('my fault')\nf()", "ValueError: my fault"),
        ("x = (", "SyntaxError: '(' was never closed"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_a_module_that_fails_shows_its_own_frames(text: str, last: str) -> None:
    write(text)
    message = error_of("loaded:app")
    assert message.startswith("loaded could not be imported\n")
    assert message.endswith(last)
    assert "loaded.py" in message
    assert "importlib" not in message
    assert "loader.py" not in message
