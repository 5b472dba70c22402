"""The source distribution has everything that is in the repository, and nothing that was built or cached there."""

from __future__ import annotations

import email
import email.message
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[str]:
    """The files of the repository as they are now, by name."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> tarfile.TarFile:
    """Built in a copy of the repository that has the leftovers of work in it."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    for name in (
        "fastws_ext/frames.c",
        "fastws_ext/frames.so",
        "bench/bin/load",
        "bench/results/x.json",
        "bench/peers/fastwebsockets/Cargo.lock",
        "tests/x.pyc",
    ):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_bytes(b"\0")
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", build, "out"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (checkout / "out").glob("fastws-*.tar.gz")
    return tarfile.open(path)


def names(sdist: tarfile.TarFile) -> set[str]:
    """What is in it, without the folder that everything is in."""
    return {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}


def test_it_has_all_of_the_repository(sdist: tarfile.TarFile) -> None:
    wanted = {name for name in tracked() if not name.endswith(".gitignore")}
    assert not wanted - names(sdist)


def test_it_has_nothing_else(sdist: tarfile.TarFile) -> None:
    more = names(sdist) - set(tracked())
    assert {name for name in more if not name.startswith("fastws.egg-info/")} == {"PKG-INFO", "setup.cfg"}


def test_scripts_can_be_run(sdist: tarfile.TarFile) -> None:
    modes = {member.name.partition("/")[2]: member.mode for member in sdist.getmembers()}
    assert all(modes[name] & 0o111 for name in (".ci/venv", ".ci/run"))


def metadata(sdist: tarfile.TarFile) -> email.message.Message:
    (member,) = (one for one in sdist.getmembers() if one.name.count("/") == 1 and one.name.endswith("/PKG-INFO"))
    file = sdist.extractfile(member)
    assert file is not None
    return email.message_from_bytes(file.read())


def test_its_metadata(sdist: tarfile.TarFile) -> None:
    found = metadata(sdist)
    assert found["Name"] == "fastws"
    assert found["License-Expression"] == "MIT"
    assert found["License-File"] == "LICENSE"
    assert found["Requires-Python"] == ">=3.11"
    assert found["Description-Content-Type"] == "text/markdown"
    assert found["Summary"]
    assert len(str(found.get_payload())) > 500
    assert not [line for line in found.get_all("Classifier", []) if line.startswith("License ::")]
