"""Real Redis processes for tests, on Unix sockets and free ports of loopback, each in a directory of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

START_S = 10.0


def redis_binary() -> str:
    """The server, or skip."""
    path = shutil.which("valkey-server") or shutil.which("redis-server")
    if path is None:
        pytest.skip("no redis-server is installed")
    return path


def free_port() -> int:
    """A port that nobody listens on just now."""
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class RedisServer:
    """One `redis-server`, as a context. `url` is how fastws is told of it."""

    def __init__(self, *options: str, port: int = 0) -> None:
        """`options` follow on the command line: "--appendonly", "yes"."""
        self.options = options
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="fastws-redis-"))
        self.unix = self.folder / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, or start it again on its data."""
        assert self.process is None
        command = [redis_binary(), "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", str(self.unix)]
        command += ["--dir", str(self.folder), "--save", "", "--enable-debug-command", "yes", *self.options]
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + START_S
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "redis-server did not answer"
            time.sleep(0.01)

    def answers(self) -> bool:
        """Whether it takes commands."""
        try:
            return self.command(b"PING\r\n") == b"+PONG\r\n"
        except OSError:
            return False

    def command(self, line: bytes) -> bytes:
        """Send one inline command; what came first of the answer."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=2)) as sock:
            sock.sendall(line)
            return sock.recv(65536)

    def stop(self) -> None:
        """End it at once; its data stays until `remove`."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        """End it and forget its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
