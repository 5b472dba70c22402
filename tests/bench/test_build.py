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


def compiled(folder: Path, *steps: str) -> Path:
    return build.peer_binary("thing", [step.split() for step in steps], [folder / "thing.c"], folder)


def test_compiled_on_first_use_and_after_a_change(folder: Path) -> None:
    assert not build.is_built("thing", [folder / "thing.c"])
    binary = compiled(folder, "cc -o {binary} thing.c")
    assert build.is_built("thing", [folder / "thing.c"])
    first = binary.stat().st_ino
    assert compiled(folder, "cc -o {binary} thing.c").stat().st_ino == first
    later = binary.stat().st_mtime + 10
    os.utime(folder / "thing.c", (later, later))
    assert compiled(folder, "cc -o {binary} thing.c").stat().st_ino != first
    assert [path.name for path in binary.parent.iterdir()] == ["thing"]


def test_steps_follow_each_other(folder: Path) -> None:
    binary = compiled(folder, "cc -c -o thing.o thing.c", "cc -o {binary} thing.o")
    assert os.access(binary, os.X_OK)


def test_what_does_not_compile_is_shown_and_leaves_nothing(folder: Path) -> None:
    (folder / "thing.c").write_text("int main(void) { return missing; }\n")
    with pytest.raises(build.BuildError, match="missing"):
        compiled(folder, "cc -o {binary} thing.c", "false")
    with pytest.raises(build.BuildError, match="exit code 1"):
        compiled(folder, "cp thing.c {binary}", "false")
    assert list(build.BINARIES.iterdir()) == []


def test_a_missing_compiler_is_named(folder: Path) -> None:
    with pytest.raises(build.BuildError, match="no-such-compiler is not installed"):
        compiled(folder, "no-such-compiler -o {binary} thing.c")


def test_a_command_has_its_time(folder: Path) -> None:
    with pytest.raises(build.BuildError, match="took more than 0 s"):
        build.outcome_of(["sleep", "60"], folder, 0.05)
