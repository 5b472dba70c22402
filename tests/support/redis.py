"""Real Redis processes for tests, on Unix sockets and ports of loopback, each in a directory of its own.

What a test asks a server goes over the Unix socket, so it works the same with TLS; it blocks: a test whose own loop has
to go on meanwhile calls it in a thread.
"""

from __future__ import annotations

import ctypes
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import hiredis
import pytest

from tests.support.certificates import Certificate
from tests.support.waiting import wait_until

START_S = 30.0
PROGRAMS: Final = ("redis-server", "valkey-server")

# Below what Linux gives to outgoing connections (32768 and more), so that none of them takes the port of a server that
# is just restarted; with 10,000 more for the bus of a cluster as well.
_PORTS: Final = range(10_000, 22_000)
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def redis_binary(program: str = "") -> str:
    """The path of a server, or skip: of the one named, else of the first that is installed."""
    found = [path for name in ([program] if program else PROGRAMS) if (path := shutil.which(name)) is not None]
    if not found:
        pytest.skip(f"no {program or 'redis-server'} is installed")
    return found[0]


def free_port() -> int:
    """A port that nobody listens on just now, and for a cluster's bus neither on the one 10,000 higher."""
    while True:
        port = random.choice(_PORTS)
        with suppress(OSError):
            for number in (port, port + 10_000):
                with closing(socket.socket()) as sock:
                    sock.bind(("127.0.0.1", number))
            return port


def ask(address: str | tuple[str, int], *words: object, password: str = "", timeout: float = 5.0) -> object:
    """One command to a server, by the path of its socket or its address; the answer.

    :raises hiredis.ReplyError: the server refused.
    :raises OSError: it does not answer.
    """
    with closing(socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)) as sock:
        sock.settimeout(timeout)
        sock.connect(address)
        reader = hiredis.Reader()
        if password:
            _exchange(sock, reader, ("AUTH", password))
        return _exchange(sock, reader, words)


def _exchange(sock: socket.socket, reader: hiredis.Reader, words: Sequence[object]) -> object:
    command: tuple[Any, ...] = tuple(word if isinstance(word, bytes) else str(word) for word in words)
    sock.sendall(hiredis.pack_command(command))
    while (answer := reader.gets()) is False:
        data = sock.recv(65536)
        if not data:
            raise ConnectionResetError("the server hung up")
        reader.feed(data)
    if isinstance(answer, hiredis.ReplyError):
        raise answer
    return answer


def fields_of(text: object) -> dict[str, str]:
    """What `INFO` and `CLUSTER INFO` answer."""
    assert isinstance(text, bytes)
    pairs = (line.partition(":") for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in pairs if colon}


class RedisServer:
    """One `redis-server`, as a context. `url` is how fastws is told of it."""

    def __init__(
        self,
        *options: str,
        port: int = 0,
        program: str = "",
        password: str = "",
        users: Mapping[str, str] | None = None,
        tls: Certificate | None = None,
        persistent: bool = False,
    ) -> None:
        """`options` follow on the command line: "--maxmemory", "4mb".

        :param password: of the user `default`.
        :param users: others, with their rules: {"ann": "on >secret ~* &* +@all"}.
        :param tls: `port` speaks TLS; the address without it is the Unix socket's alone.
        :param persistent: what was answered is there after `stop` and `start`.
        """
        self.binary = redis_binary(program)
        self.options = options
        self.password = password
        self.users = dict(users or {})
        self.tls = tls
        self.persistent = persistent
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="fastws-redis-"))
        self.unix = self.folder / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self._is_port_given = bool(port)
        self._options_for_now: Sequence[str] = ()

    @property
    def url(self) -> str:
        """`redis://` or `rediss://` with the password of `default`."""
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis{'s' if self.tls else ''}://{secret}127.0.0.1:{self.port}/0"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return ("127.0.0.1", self.port)

    @property
    def is_running(self) -> bool:
        """Whether its process is there, paused or not."""
        return self.process is not None and self.process.poll() is None

    def start(self, *options: str) -> None:
        """Start it, or start it again, on what it kept, with `options` for this time."""
        self.launch(*options)
        self.wait_for_start()

    def launch(self, *options: str) -> None:
        """Start it without waiting; `wait_for_start` does."""
        assert self.process is None
        self._options_for_now = options
        is_main = threading.current_thread() is threading.main_thread()  # the parent is a thread for Linux
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command(), *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_end_with_parent if is_main else None,  # noqa: PLW1509 - one system call, no lock
            )

    def wait_for_start(self) -> None:
        """Until it answers."""
        end = time.monotonic() + START_S
        while not self.answers():
            assert self.process is not None
            if self.process.poll() is not None:
                log = (self.folder / "log").read_text()
                assert "Address already in use" in log, log
                assert not self._is_port_given, log
                (self.folder / "log").unlink()
                self.process = None
                self.port = free_port()
                self.launch(*self._options_for_now)
            assert time.monotonic() < end, f"{self.binary} did not answer"
            time.sleep(0.01)
        self._is_port_given = True  # others have been told of it by now

    def _command(self) -> list[str]:
        """What is run."""
        plain, ciphered = (0, self.port) if self.tls else (self.port, 0)
        command = [self.binary, "--bind", "127.0.0.1", "--port", str(plain), "--unixsocket", str(self.unix)]
        command += ["--dir", str(self.folder), "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"]
        # Fsync each second lets a server answer before it has written, while the last fsync takes its time.
        command += ["--save", "", "--appendonly", "yes" if self.persistent else "no", "--appendfsync", "always"]
        if self.tls:
            command += ["--tls-port", str(ciphered), "--tls-auth-clients", "no"]
            command += ["--tls-cert-file", self.tls.certfile, "--tls-key-file", self.tls.keyfile]
            command += ["--tls-ca-cert-file", self.tls.certfile]
        if self.password:
            command += ["--requirepass", self.password, "--masterauth", self.password]
        for name, rules in self.users.items():
            command += ["--user", name, *rules.split()]
        return [*command, *self.options]

    def answers(self) -> bool:
        """Whether it takes commands."""
        try:
            return self.ask("PING", timeout=1.0) == b"PONG"
        except (OSError, hiredis.ReplyError):
            return False

    def ask(self, *words: object, timeout: float = 5.0) -> object:
        """One command; the answer. See `ask` of this module."""
        return ask(str(self.unix), *words, password=self.password, timeout=timeout)

    def command(self, line: bytes) -> bytes:
        """Send one inline command; what came first of the answer."""
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.settimeout(2)
            sock.connect(str(self.unix))
            if self.password:
                _exchange(sock, hiredis.Reader(), ("AUTH", self.password))
            sock.sendall(line)
            return sock.recv(65536)

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO: "replication", "clients"."""
        return fields_of(self.ask("INFO", section))

    def config(self, name: str, value: object) -> None:
        """Change an option while it runs."""
        assert self.ask("CONFIG", "SET", name, value) == b"OK"

    def kill_clients(self, kind: str = "normal") -> int:
        """Cut connections: "normal", "pubsub" (those subscribed to something), "replica"; how many there were."""
        count = self.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        assert isinstance(count, int)
        return count

    def pause(self) -> None:
        """It stands still with all its connections (SIGSTOP) until `resume`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on, as if no time had passed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def shut_down(self) -> None:
        """End it as an operator would (SIGTERM)."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(START_S)
        self.process = None

    def heal(self) -> None:
        """Go on if it was paused, start again if it was ended."""
        if self.is_running:
            self.resume()
            wait_until(self.answers, START_S, "the server answers")
        else:
            self.process = None
            self.start()

    def stop(self) -> None:
        """End it at once; its data stays until `remove`, if it is persistent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        """End it and forget its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def _end_with_parent() -> None:
    """Runs in the child: it is killed when whoever started it ends, however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Fleet:
    """Several servers that belong together, as a context that ends and removes them all."""

    servers: Sequence[RedisServer]

    def _bring_up(self) -> None:
        """Start them and make them one."""
        raise NotImplementedError

    def remove(self) -> None:
        """End all and forget their data."""
        for server in self.servers:
            server.remove()

    def wait_until(self, condition: Callable[[], object], what: str, timeout: float = START_S) -> None:
        """Wait for something that servers say, who may just not answer."""

        def holds() -> object:
            try:
                return condition()
            except (OSError, hiredis.ReplyError):
                return False

        wait_until(holds, timeout, what)

    def __enter__(self) -> Self:
        try:
            self._bring_up()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
