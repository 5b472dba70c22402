"""A real `fastws-server` in a process of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import on_redis
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0  # more than the default --drain-timeout


@cache
def ending_with_parent() -> list[str]:
    """Before a command: its process is killed when the thread that starts it ends; empty where that cannot be had."""
    prefix = ["setpriv", "--pdeathsig", "KILL", "--"]
    able = shutil.which("setpriv") and subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if able and able.returncode == 0 else []


class ServerFailed(AssertionError):  # noqa: N818 - reads as what happened
    """The server did not do what was asked of the process; the message ends with its standard error."""


class ServerProcess:
    """Starts `fastws-server` on any free port and stops it, whatever happens in between.

    ::

        with ServerProcess("--ping-interval", "1", app="tests.conformance.echo_app:app") as server:
            client = RawClient(server.host, server.port)

    :param options: command-line options; `--port 0` and `--admin-port -1` are added unless given.
    :param app: `MODULE:APP`; without it and without `source` the built-in gateway is served.
    :param source: the text of a module that defines `app`; written to a temporary directory and served.
    :param env: environment variables beside the test's own; `FASTWS_*` of the test's environment are not passed on.
    :param directory: its working directory; an empty one of its own by default.
    :param under: a command that runs it: `("prlimit", "--nofile=300")`. The process has to stay the same.

    Where `setpriv` of util-linux is there the server is killed when the thread that has started it ends, also without
    leaving the block: a test that was killed leaves no server behind.

    Leaving the block stops the server with TERM and fails unless it exits 0; after an exception in the block the server
    is killed and its standard error is added to the exception as a note. Attributes are set once it is ready.
    """

    def __init__(
        self,
        *options: str,
        app: str | None = None,
        source: str | None = None,
        env: dict[str, str] | None = None,
        directory: Path | None = None,
        under: Sequence[str] = (),
    ) -> None:
        self.host = ""
        self.port = 0
        self.uds = ""
        self.admin_url = ""
        self.lines: list[str] = []  # of standard output so far
        self._directory = tempfile.TemporaryDirectory(prefix="fastws-test-")
        self._working_directory = directory or Path(self._directory.name)
        self._stderr = Path(self._directory.name, "stderr").open("w+b")
        self._command = [*under, sys.executable, "-m", "fastws", *options]
        if "--port" not in options and "--uds" not in options:
            self._command += ["--port", "0"]
        if "--admin-port" not in options:
            self._command += ["--admin-port", "-1"]
        self._has_admin = "--admin-port" in options and "-1" not in options
        if source is not None:
            Path(self._directory.name, "tested_app.py").write_text(source, encoding="utf-8")
            self._command += ["--app-dir", self._directory.name]
            app = "tested_app:app"
        elif app is not None and "--app-dir" not in options:
            self._command += ["--app-dir", str(ROOT)]
        if app is not None:
            self._command.append(app)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FASTWS_")}
        path = os.pathsep.join(filter(None, [str(ROOT), clean.get("PYTHONPATH", "")]))
        self._env = clean | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        self._env |= on_redis.variables_of(options, self._working_directory) | (env or {})
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> Self:
        """Start the process and return once it says that it listens.

        :raises ServerFailed: it exited, or was silent for a minute.
        """
        self._process = subprocess.Popen(
            [*ending_with_parent(), *self._command],
            cwd=self._working_directory,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self._reader = threading.Thread(target=self._read_lines, daemon=True)
        self._reader.start()
        try:
            wait_until(lambda: self._ready() or self.process.poll() is not None, START_TIMEOUT_S, "ready to serve")
        except AssertionError as error:
            self.kill()
            raise ServerFailed(f"{error}\n{self.stderr()}") from None
        if not self._ready():
            code = self.process.wait()
            text = self.stderr()
            self.kill()
            raise ServerFailed(f"exited {code} instead of listening: {' '.join(self._command)}\n{text}")
        return self

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def _ready(self) -> bool:
        for line in tuple(self.lines):
            if match := re.fullmatch(r"listening on https?://(.+):(\d+)", line):
                self.host, self.port = match[1].strip("[]"), int(match[2])
            elif match := re.fullmatch(r"listening on unix:(.+)", line):
                self.uds = match[1]
            elif match := re.fullmatch(r"admin on (http://.+)", line):
                self.admin_url = match[1]
        return bool(self.port or self.uds) and bool(self.admin_url or not self._has_admin)

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process; only between `start` and the end of the test."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        """The process id of what was started (the only worker, or the supervisor of several)."""
        return self.process.pid

    def url(self, path: str = "/ws", scheme: str = "ws") -> str:
        """The address of a path: `ws://127.0.0.1:PORT/ws`."""
        return f"{scheme}://{self.host}:{self.port}{path}"

    def stderr(self) -> str:
        """Everything written to standard error so far."""
        if self._stderr.closed:
            return ""
        self._stderr.flush()
        return Path(self._stderr.name).read_text(encoding="utf-8", errors="replace")

    def rss(self) -> int:
        """Resident memory of the process, bytes, pages shared with others included."""
        return self._rollup("Rss")

    def pss(self) -> int:
        """Proportional set size of the process, bytes: what it really costs."""
        return self._rollup("Pss")

    def heap(self) -> int:
        """Memory that holds no file, bytes. Unlike `pss` it does not depend on who else shares pages."""
        return self._rollup("Anonymous")

    def _rollup(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii")
        match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024

    def cpu_s(self) -> float:
        """CPU seconds of the process so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """Open descriptors of the process."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def wait(self, timeout: float = STOP_TIMEOUT_S) -> int:
        """Wait for the end of the process and return its exit code.

        :raises ServerFailed: it did not end within `timeout` seconds; it is killed then.
        """
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            text = self.stderr()
            self.kill()
            raise ServerFailed(f"still running after {timeout} s\n{text}") from None

    def stop(self, timeout: float = STOP_TIMEOUT_S) -> int:
        """Send TERM, wait for the end and return the exit code (0 after a drain)."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """End the process at once, if it still runs, and release everything that belonged to it."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            if self._reader is not None:
                self._reader.join(5)
            if self._process.stdout is not None:
                self._process.stdout.close()
        self._stderr.close()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                error.add_note(f"standard error of the server:\n{self.stderr()[-4000:]}")
            elif (running := self.process.poll()) is None:
                code = self.stop()
                if code != 0:
                    raise ServerFailed(f"exited {code} after TERM\n{self.stderr()}")
            elif running < 0:
                raise ServerFailed(f"ended by signal {-running}\n{self.stderr()}")
        finally:
            self.kill()
