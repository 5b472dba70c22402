"""Programs are compiled once, again after a change, and a failure says why."""

import os
from pathlib import Path

import pytest

from bench import build


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "BINARIES", tmp_path / "bin")
    folder = tmp_path / "thing"
    folder.mkdir()
    (folder / "thing.c").write_text("int main(void) { return 0; }\n")
    return folder


def test_compiled_on_first_use_and_after_a_change(folder: Path) -> None:
    command = "cc -o {binary} thing.c"
    binary = build.peer_binary(folder, command)
    first = binary.stat().st_ino
    assert build.peer_binary(folder, command).stat().st_ino == first
    later = binary.stat().st_mtime + 10
    os.utime(folder / "thing.c", (later, later))
    assert build.peer_binary(folder, command).stat().st_ino != first
    assert [path.name for path in binary.parent.iterdir()] == ["thing"]


def test_what_does_not_compile_is_shown(folder: Path) -> None:
    (folder / "thing.c").write_text("int main(void) { return missing; }\n")
    with pytest.raises(build.BuildError, match="missing"):
        build.peer_binary(folder, "cc -o {binary} thing.c")


def test_a_missing_compiler_is_named(folder: Path) -> None:
    with pytest.raises(build.BuildError, match="no-such-compiler is not installed"):
        build.peer_binary(folder, "no-such-compiler -o {binary} thing.c")
