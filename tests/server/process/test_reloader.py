"""`--reload`: what is watched, and that a changed application is served without being asked."""

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastws.server.process import reloader
from fastws.server.process.reloader import Watch, python_files
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

APP = """
from fastws import FastWS
app = FastWS()

@app.http("/answer")
def answer(request):
    return {text!r}
"""


def replace(path: Path, text: str) -> None:
    """Write a file as editors do, in one step, with a time of change that differs from the last one's."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    now = max(fresh.stat().st_mtime_ns, before + 1_000_000_000)
    os.utime(fresh, ns=(now, now))
    fresh.rename(path)


def get(address: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/answer")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def addresses(server: ServerProcess) -> list[str]:
    return [line.rpartition("//")[2] for line in server.lines if line.startswith("listening on ")]


def test_only_modules_of_the_application_are_watched(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", "b/d.txt", ".hidden/e.py", "__pycache__/f.py", "env/g.py", "env/pyvenv.cfg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert {path.relative_to(tmp_path).as_posix() for path in python_files(tmp_path)} == {"a.py", "b/c.py"}


def test_new_changed_and_removed_files_are_changes(tmp_path: Path) -> None:
    other = tmp_path / "fastws.toml"
    watch = Watch(tmp_path, [other])
    assert watch.changed() == []
    for change in (
        lambda: replace(tmp_path / "a.py", "1"),
        lambda: replace(tmp_path / "a.py", "2"),
        (tmp_path / "a.py").unlink,
    ):
        change()
        assert watch.changed() == [tmp_path / "a.py"]
        assert watch.changed() == []
    replace(other, "")
    assert watch.changed() == [other]


def test_a_changed_application_is_served_and_a_broken_one_waited_for(tmp_path: Path) -> None:
    module = tmp_path / "reloaded.py"
    replace(module, APP.format(text="one"))
    with ServerProcess("--reload", "--app-dir", str(tmp_path), app="reloaded:app") as server:
        assert get(addresses(server)[-1]) == "one"
        replace(module, APP.format(text="two"))
        wait_until(lambda: len(addresses(server)) == 2, 30, "the second server")
        assert get(addresses(server)[-1]) == "two"
        replace(module, "1 / 0\n")
        wait_until(lambda: "waiting for a change" in server.stderr(), 30, "the failure of the third")
        assert "ZeroDivisionError" in server.stderr()
        replace(module, APP.format(text="four"))
        wait_until(lambda: len(addresses(server)) == 3, 30, "the fourth server")
        assert get(addresses(server)[-1]) == "four"
        server.signal(signal.SIGINT)
        assert server.wait() == 0


def test_it_can_be_stopped_while_it_waits_for_a_change(tmp_path: Path) -> None:
    module = tmp_path / "reloaded.py"
    replace(module, APP.format(text="one"))
    with ServerProcess("--reload", "--app-dir", str(tmp_path), app="reloaded:app") as server:
        replace(module, "1 / 0\n")
        wait_until(lambda: "waiting for a change" in server.stderr(), 30, "the failure")


def test_a_server_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloader, "_STOP_TIMEOUT_S", 0.2)
    with subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"],
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        reloader._end(child.pid)
        assert not Path(f"/proc/{child.pid}").exists()
        child.returncode = -signal.SIGKILL  # it was collected behind the back of Popen
