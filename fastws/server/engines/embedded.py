"""`--redis embedded`: a Redis of our own, on a Unix socket that no other user can reach, as long as this process lives.

A thread starts it, hands its log on to ours, and starts it again if it dies. It ends with this process whatever happens
to that: the kernel tells it (prctl(2), PR_SET_PDEATHSIG), and that ends it in order. What a killed process left in the
directory for temporary files is removed by the next one that starts.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from fastws.errors import StartError

_log: Final = logging.getLogger("fastws.redis")

START_S: Final = 10.0
"""Seconds within which it has to answer; while it reads its data it answers that."""
STOP_S: Final = 20.0
"""Seconds that it has for writing its data at the end."""
HELD_S: Final = 10.0
"""Seconds that are waited for a data directory: the Redis of a server that was killed still writes there."""
LONGEST_PAUSE_S: Final = 2.0
"""Before it is started again, if it ends at once each time."""

_PREFIX: Final = "fastws-embedded-"
_LOCK: Final = "lock"
_UNLOCKED: Final = "new"
_MAX_SOCKET_PATH: Final = 107  # unix(7)
_POLL_S: Final = 0.01
_LAST_LINES: Final = 5

# What runs between us and the server, in its process: prctl(2) PR_SET_PDEATHSIG, unless we have died already.
_PRELUDE: Final = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, {int(signal.SIGTERM)})
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

_LINE: Final = re.compile(r"\d+:(?:\w \d+ \w+ \d+ [\d:.]+ ([.*#-]) |signal-handler \(\d+\) )(.*)")


class EmbeddedRedis:
    """One server, as a context: `url` is what to connect to. `StartError` if it cannot run."""

    def __init__(self, binary: str, data_dir: str | None = None) -> None:
        """`data_dir`: where it keeps its data; without one it forgets everything at the end."""
        self._binary = binary
        self._data_dir = Path(data_dir).absolute() if data_dir is not None else None
        self._folder: Path | None = None
        self._locks: list[int] = []
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def url(self) -> str:
        """Where it can be reached."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """Of its process, 0 while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    def start(self) -> None:
        """Start it, and wait until it takes commands."""
        _remove_left_behind()
        try:
            if self._data_dir is not None:
                self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lock_data(self._data_dir)
            self._folder = _private_folder()
            # Whoever removes what was left behind finds it locked, or not at all.
            self._lock(self._folder / _UNLOCKED)
            (self._folder / _UNLOCKED).rename(self._folder / _LOCK)
            # A thread that ends is a parent that dies (prctl(2)), so it is one and the same that starts it each time.
            self._thread = threading.Thread(target=self._keep_running, name="embedded redis", daemon=True)
            self._thread.start()
            self._wait_until_it_answers()
        except OSError as error:
            self.stop()
            raise StartError(f"the embedded Redis cannot start: {error}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; with a data directory, once it has written its data."""
        self._stopping.set()
        with self._changing:
            process = self._process
            if process is not None:
                process.terminate()
        if process is not None:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                _log.error("the embedded Redis did not end within %g s and is killed", STOP_S)
                process.kill()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        while self._locks:
            os.close(self._locks.pop())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _socket(self) -> Path:
        assert self._folder is not None, "it was not started"
        return self._folder / "redis.sock"

    def _lock_data(self, folder: Path) -> None:
        """Raises `StartError` if another server goes on holding it."""
        end_s = time.monotonic() + HELD_S
        if self._lock(folder / _LOCK):
            return
        _log.warning("--data-dir %s is in use by another server: waiting for its end", folder)
        while not self._lock(folder / _LOCK):
            if time.monotonic() > end_s:
                raise StartError(f"--data-dir {folder} is in use by another server: each one needs its own")
            time.sleep(_POLL_S)

    def _lock(self, path: Path) -> bool:
        """Hold a file for as long as this process or the server lives; False if another one does."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _take(descriptor):
            os.close(descriptor)
            return False
        self._locks.append(descriptor)
        return True

    def _command(self) -> list[str]:
        options = {"port": "0", "unixsocket": str(self._socket), "unixsocketperm": "700", "daemonize": "no"}
        options |= {"maxmemory-policy": "noeviction", "client-output-buffer-limit": "pubsub 256mb 128mb 60"}
        if self._data_dir is None:
            options |= {"dir": str(self._folder), "save": "", "appendonly": "no"}
        else:
            options |= {"dir": str(self._data_dir), "save": "3600 1 300 100 60 10000", "appendonly": "yes"}
            options |= {"appendfsync": "everysec"}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [sys.executable, "-ISc", _PRELUDE, str(os.getpid()), self._binary, *words]

    def _keep_running(self) -> None:
        """The thread: until `stop`."""
        pause_s = 0.05
        while not self._stopping.is_set():
            begun_s = time.monotonic()
            try:
                process = self._spawn()
            except OSError as error:
                _log.error("the embedded Redis cannot be started: %s", error)
            else:
                if process is None:
                    return
                self._follow(process)
                if self._stopping.is_set():
                    return
                lost = "" if self._data_dir is not None else "; what it knew is lost: --data-dir would keep it"
                _log.error("the embedded Redis ended (%s): it is started again%s", _cause_of(process.returncode), lost)
            pause_s = 0.05 if time.monotonic() - begun_s > START_S else min(2 * pause_s, LONGEST_PAUSE_S)
            self._stopping.wait(pause_s)

    def _spawn(self) -> subprocess.Popen[str] | None:
        with self._changing:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(  # noqa: S603 - what find_binary found
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="backslashreplace",
                pass_fds=self._locks,
                start_new_session=True,  # Ctrl+C is for us; it is ended when everything has been said
            )
            return self._process

    def _follow(self, process: subprocess.Popen[str]) -> None:
        """Hand its log on until it ends."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._note(line.rstrip())
        process.wait()

    def _note(self, line: str) -> None:
        match = _LINE.fullmatch(line)
        text = match[2] if match is not None else line
        if not text or text.startswith("oO0"):  # a flourish at the start
            return
        self._last_lines.append(text)
        if match is None or (match[1] == "#" and text.startswith("WARNING")):
            level = logging.WARNING
        else:
            # The sign for warnings alone says little: versions and settings have it too.
            level = logging.INFO if match[1] == "#" else logging.DEBUG
        _log.log(level, "redis: %s", text)

    def _wait_until_it_answers(self) -> None:
        end_s = time.monotonic() + START_S
        while True:
            answer = self._ask()
            if answer.startswith(b"+PONG"):
                return
            process = self._process
            if process is not None and process.poll() is not None:
                raise StartError(f"the embedded Redis cannot start: {self._why(process)}")
            if answer.startswith(b"-LOADING"):
                end_s = time.monotonic() + START_S
            elif time.monotonic() > end_s:
                raise StartError(f"the embedded Redis did not answer within {START_S:g} s")
            time.sleep(_POLL_S)

    def _why(self, process: subprocess.Popen[str]) -> str:
        """Its last words."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        return f"it ended ({_cause_of(process.returncode)}); its last words: " + " / ".join(self._last_lines)

    def _ask(self) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(1.0)
            try:
                sock.connect(str(self._socket))
                sock.sendall(b"PING\r\n")
                return sock.recv(1024)
            except OSError:
                return b""


def _parents() -> tuple[str, str]:
    """Where private directories are: the second one where the name of the first is too long."""
    return tempfile.gettempdir(), "/tmp"  # noqa: S108 - mkdtemp makes them unguessable and private


def _private_folder() -> Path:
    """A new directory for the socket, whose path has to be short."""
    for parent in _parents():
        if len(parent) + len(_PREFIX) + 32 < _MAX_SOCKET_PATH:
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    raise StartError("the embedded Redis needs a directory for temporary files with a shorter name: set TMPDIR")


def _remove_left_behind() -> None:
    """Remove the directories of servers that were killed: nobody holds their locks any more."""
    for folder in (folder for parent in _parents() for folder in Path(parent).glob(f"{_PREFIX}*")):
        with suppress(OSError):
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid == os.getuid() and _take(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cause_of(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
