"""The servers under measurement: fastws itself, and the peers of `bench/peers/`, one folder each."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Self

from bench import measure, roster
from bench.build import BENCH

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
ROOT = BENCH.parent


class ServerError(RuntimeError):
    """A server that is to be measured does not start; the message ends with its standard error."""


@cache
def ending_with_parent() -> list[str]:
    """What to put before a command, so that its process is killed when the thread that starts it ends, for any reason.

    Empty where `setpriv` of util-linux is not there or cannot do it.
    """
    prefix = ["setpriv", "--pdeathsig", "KILL", "--"]
    able = shutil.which("setpriv") and subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if able and able.returncode == 0 else []


class Server:
    """A server process on 127.0.0.1, started on entering and stopped on leaving a `with` block; by the main thread, for
    it does not outlive the one that starts it.

    It has to print `listening on http://HOST:PORT` once it is ready (or `https://...`, or `unix:PATH`: its port is 0);
    every other line of its output is ignored.

    :param name: short name, as the tables show it.
    :param command: program and arguments.
    :param path: of its echo endpoint.
    :param echo: whether it echoes there; a server that does not can still be connected to.
    :param cpus: the CPUs it may run on (None: any).
    :param folder: working directory.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        path: str = "/echo",
        echo: bool = True,
        cpus: set[int] | None = None,
        folder: Path = ROOT,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.path = path
        self.echo = echo
        self.cpus = cpus
        self.folder = folder
        self.port = 0
        self.pid = 0
        self._listens = False
        self._ready = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

    @property
    def pids(self) -> list[int]:
        """The process and its workers."""
        return measure.process_tree(self.pid)

    def __enter__(self) -> Self:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FASTWS_")}
        environment["PYTHONPATH"] = str(ROOT)
        self._errors = tempfile.TemporaryFile("w+")
        with measure.on_cpus(self.cpus):
            self._process = subprocess.Popen(
                [*ending_with_parent(), *self.command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        self.pid = self._process.pid
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()
        self._ready.wait(START_TIMEOUT_S)
        if not self._listens:
            self._end()
            raise ServerError(f"{self.name}: {shlex.join(self.command)} does not listen\n{self._error_text()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        if self._errors is not None:
            self._errors.close()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            if match := re.match(r"listening on (?:https?://.+:(\d+)|unix:)", line):
                self.port = int(match[1] or 0)
                self._listens = True
                self._ready.set()
        self._ready.set()  # the end of the output: it will never be ready
        output.close()

    def _end(self) -> None:
        assert self._process is not None
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                continue
            return

    def _error_text(self) -> str:
        assert self._errors is not None
        self._errors.seek(0)
        text = self._errors.read()
        self._errors.close()
        return text[-2000:]


def fastws(app: str = "bench.apps.echo:app", *options: str, cpus: set[int] | None = None) -> Server:
    """The server of this project with an application of the benchmarks: default options, no admin port."""
    fixed = ["--port", "0", "--admin-port", "-1", "--log-level", "warning", "--app-dir", str(ROOT)]
    return Server("fastws", [sys.executable, "-m", "fastws", *fixed, *options, app], cpus=cpus)


def peer(name: str, *arguments: str, cpus: set[int] | None = None) -> Server:
    """A peer, built if it has to be, started with more arguments if there are some.

    :raises KeyError: there is no such peer.
    :raises bench.roster.PeerError: its `peer.toml` is wrong.
    :raises bench.build.BuildError: it does not build.
    """
    described = roster.read(name)
    return Server(
        described.title,
        [*described.command(), *arguments],
        path=described.path,
        echo=described.echo,
        cpus=cpus,
        folder=described.folder,
    )
