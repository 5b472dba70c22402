"""The file with the id of the process."""

import os
from pathlib import Path

import pytest

from fastws.errors import StartError
from fastws.server.process.pidfile import write_pidfile


def test_it_is_written(tmp_path: Path) -> None:
    assert write_pidfile(str(tmp_path / "pid")) == tmp_path / "pid"
    assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"


def test_none_is_asked_for() -> None:
    assert write_pidfile(None) is None


def test_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot write --pidfile .*: No such file or directory"):
        write_pidfile(str(tmp_path / "missing" / "pid"))
