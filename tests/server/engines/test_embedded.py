"""A Redis of our own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fastws.errors import StartError
from fastws.server.engines import embedded
from fastws.server.engines.embedded import EmbeddedRedis
from tests.support.redis import redis_binary
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def short_names(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for temporary files that no other test uses, whose path is short enough for a socket."""
    tmp_path_factory.getbasetemp()  # where `tmp_path` is: made once, and not in there
    with tempfile.TemporaryDirectory(prefix="fws-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def ask(redis: EmbeddedRedis, line: str) -> str:
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(30)
        sock.connect(redis.url.removeprefix("unix://"))
        sock.sendall(f"{line}\r\n".encode())
        return sock.recv(4096).decode()


def answers(redis: EmbeddedRedis) -> bool:
    try:
        return ask(redis, "PING") == "+PONG\r\n"
    except OSError:
        return False


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of it for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_runs_for_the_time_of_the_block(short_names: Path) -> None:
    with EmbeddedRedis(redis_binary()) as redis:
        assert answers(redis)
        path = Path(redis.url.removeprefix("unix://"))
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o700
        assert "tcp_port:0" in ask(redis, "INFO server")
        assert "noeviction" in ask(redis, "CONFIG GET maxmemory-policy")
        pid = redis.pid
    assert not is_alive(pid)
    assert not redis.pid
    assert not list(short_names.iterdir())


def test_it_is_started_again_when_it_dies(caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedRedis(redis_binary()) as redis:
        pid = redis.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: redis.pid not in (0, pid) and answers(redis))
        assert "the embedded Redis ended (signal 9): it is started again" in caplog.text


def test_data_outlives_it_and_its_death(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    with EmbeddedRedis(redis_binary(), str(folder)) as redis:
        assert folder.stat().st_mode & 0o777 == 0o700
        ask(redis, "SET a 1")
    with EmbeddedRedis(redis_binary(), str(folder)) as redis:
        assert ask(redis, "GET a") == "$1\r\n1\r\n"
        ask(redis, "SET a 2")
        pid = redis.pid
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: redis.pid not in (0, pid) and answers(redis))
        assert ask(redis, "GET a") == "$1\r\n2\r\n"


def test_a_data_directory_is_held_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "HELD_S", 0.05)
    with EmbeddedRedis(redis_binary(), str(tmp_path)), pytest.raises(StartError, match="in use by another server"):
        EmbeddedRedis(redis_binary(), str(tmp_path)).start()
    with EmbeddedRedis(redis_binary(), str(tmp_path)) as redis:
        assert answers(redis)


def test_one_that_was_killed_is_waited_for_while_it_writes(
    tmp_path: Path, short_names: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = (
        "import sys; from fastws.server.engines.embedded import EmbeddedRedis\n"
        "redis = EmbeddedRedis(*sys.argv[1:]); redis.start(); print(redis.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, redis_binary(), str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(short_names)}
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        owner.kill()

    def let_it_end() -> None:
        try:
            wait_until(lambda: "waiting for its end" in caplog.text)
        finally:
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=let_it_end)
    thread.start()
    with EmbeddedRedis(redis_binary(), str(tmp_path)) as redis:
        assert answers(redis)
        wait_until(lambda: not is_alive(pid))
    thread.join()


def test_what_cannot_start_says_why(tmp_path: Path, short_names: Path) -> None:
    (tmp_path / "appendonlydir").write_text("in the way")
    with pytest.raises(StartError, match=r"it ended \(exit code 1\); its last words: .*appendonlydir"):
        EmbeddedRedis(redis_binary(), str(tmp_path)).start()
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"cannot start: .*file"):
        EmbeddedRedis(redis_binary(), str(tmp_path / "file")).start()
    assert not list(short_names.iterdir())


def test_its_log_is_in_ours(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fastws.redis")
    with EmbeddedRedis(redis_binary()):
        pass
    levels = {record.levelname: record.getMessage() for record in caplog.records if "ready to" in record.getMessage()}
    assert levels["DEBUG"].startswith("redis: The server is now ready to accept connections")
    assert levels["INFO"].startswith("redis: Redis is now ready to exit")


OWNER = """
import sys, tempfile
from fastws.server.engines.embedded import EmbeddedRedis
tempfile.tempdir = sys.argv[2]
redis = EmbeddedRedis(sys.argv[1])
redis.start()
print(redis.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, None])
def test_it_ends_with_its_owner_whatever_happens(short_names: Path, ending: signal.Signals | None) -> None:
    command = [sys.executable, "-c", OWNER, redis_binary(), str(short_names)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        if ending is None:
            owner.communicate()  # it ends without having stopped it
        else:
            owner.send_signal(ending)
            owner.wait()
    wait_until(lambda: not is_alive(pid))
    assert len(list(short_names.iterdir())) == 1
    with EmbeddedRedis(redis_binary()):
        assert len(list(short_names.iterdir())) == 1  # what was left is gone
    assert not list(short_names.iterdir())


def test_one_that_runs_is_not_taken_for_left_behind() -> None:
    with EmbeddedRedis(redis_binary()) as first, EmbeddedRedis(redis_binary()) as second:
        assert answers(first)
        assert answers(second)
