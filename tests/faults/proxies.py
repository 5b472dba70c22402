"""Links that misbehave: Toxiproxy between a node and Redis, and a network namespace in which packets are dropped.

Toxiproxy is a program in Go, compiled into `.cache/go` when it is wanted first. The namespace needs root and iptables.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from tests.support.redis import RedisServer, free_port, redis_binary
from tests.support.waiting import wait_until

TOXIPROXY: Final = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0"
CACHE: Final = Path(__file__).resolve().parents[2] / ".cache" / "go" / "toxiproxy-2.12.0"
BUILD_S: Final = 300
_NUMBERS: Final = itertools.count()


def toxiproxy_binary() -> Path:
    """The compiled server, or skip."""
    path = CACHE / "server"
    if not path.exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip("no Go to compile Toxiproxy with is installed")
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
            env = {**os.environ, "GOBIN": folder, "GOFLAGS": "-mod=mod"}
            done = subprocess.run(
                [go, "install", TOXIPROXY], env=env, capture_output=True, text=True, timeout=BUILD_S, check=False
            )
            if done.returncode:
                pytest.skip(f"Toxiproxy cannot be compiled here: {done.stderr.strip()[-200:]}")
            Path(folder, "server").replace(path)
    return path


class Toxiproxy:
    """One proxy for each of some nodes in front of one server, as a context.

    :param upstream: host and port of the server.
    :param names: of the proxies.
    """

    def __init__(self, upstream: tuple[str, int], names: list[str]) -> None:
        self.upstream = upstream
        self.ports = {name: free_port() for name in names}
        self._control = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        """How the node of this name is told of Redis."""
        return f"redis://127.0.0.1:{self.ports[name]}/0"

    def __enter__(self) -> Self:
        command = [str(toxiproxy_binary()), "-host", "127.0.0.1", "-port", str(self._control)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(self._answers, 10.0, "Toxiproxy answers")
            for name, port in self.ports.items():
                host, target = self.upstream
                self._call("POST", "/proxies", name=name, listen=f"127.0.0.1:{port}", upstream=f"{host}:{target}")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            self._call("GET", "/version")
        except OSError:
            return False
        return True

    def _call(self, method: str, path: str, **body: Any) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._control}{path}",
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            answer.read()

    def cut(self, name: str) -> None:
        """Close its connections and refuse new ones."""
        self._call("POST", f"/proxies/{name}", enabled=False)

    def mend(self, name: str) -> None:
        """Take them again, and poison nothing any more."""
        with suppress(urllib.error.HTTPError):
            self._call("DELETE", f"/proxies/{name}/toxics/up")
        with suppress(urllib.error.HTTPError):
            self._call("DELETE", f"/proxies/{name}/toxics/down")
        self._call("POST", f"/proxies/{name}", enabled=True)

    def poison(self, name: str, kind: str, stream: str, **attributes: int) -> None:
        """From now on: "timeout", "latency", "slicer", "slow_close", "reset_peer", "bandwidth", as Toxiproxy has them.

        :param stream: `upstream` is what the node says, `downstream` what it hears.
        """
        short = {"upstream": "up", "downstream": "down"}[stream]
        self._call("POST", f"/proxies/{name}/toxics", name=short, type=kind, stream=stream, attributes=attributes)


class Island:
    """A Redis in a network namespace of its own, with one wire to it for each of some nodes, as a context.

    A wire is cut by dropping packets of one direction, or of both, which nobody is told of.
    """

    def __init__(self, names: list[str]) -> None:
        assert len(names) <= 2, "eight addresses are enough for two wires"
        for program in ("ip", "iptables"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
        self.names = names
        self.port = free_port()
        number = next(_NUMBERS)  # what was there before may not be gone yet
        self.namespace = f"fastws{os.getpid()}-{number}"
        self._near_names = {name: f"fw{os.getpid() % 100000}x{number}n{index}" for index, name in enumerate(names)}
        # No two processes of these days, and no two islands of one process, have the same addresses.
        self._net = f"10.{200 + os.getpid() % 40}.{os.getpid() // 40 % 250}"
        self._first = 8 * (number % 30)
        self.server = _ServerElsewhere(self.namespace, self.port)

    def _near(self, name: str) -> str:
        return f"{self._net}.{self._first + 4 * self.names.index(name) + 1}"

    def _far(self, name: str) -> str:
        return f"{self._net}.{self._first + 4 * self.names.index(name) + 2}"

    def url(self, name: str) -> str:
        """How the node of this name is told of Redis."""
        return f"redis://{self._far(name)}:{self.port}/0"

    def __enter__(self) -> Self:
        made = subprocess.run(["ip", "netns", "add", self.namespace], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
        try:
            self._inside("ip", "link", "set", "lo", "up")
            for index, (name, near) in enumerate(self._near_names.items()):
                far = f"far{index}"
                _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.namespace)
                _run("ip", "addr", "add", f"{self._near(name)}/30", "dev", near)
                _run("ip", "link", "set", near, "up")
                self._inside("ip", "addr", "add", f"{self._far(name)}/30", "dev", far)
                self._inside("ip", "link", "set", far, "up")
            self.server.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.server.remove()
        for near in self._near_names.values():
            subprocess.run(["ip", "link", "del", near], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)

    def _inside(self, *command: str) -> None:
        _run("ip", "netns", "exec", self.namespace, *command)

    def cut(self, name: str, *, says: bool = True, hears: bool = True) -> None:
        """What the node says, or hears, is dropped from now on."""
        if says:
            self._inside("iptables", "-A", "INPUT", "-s", self._near(name), "-j", "DROP")
        if hears:
            self._inside("iptables", "-A", "OUTPUT", "-d", self._near(name), "-j", "DROP")

    def mend(self) -> None:
        """Nothing is dropped."""
        self._inside("iptables", "-F")


class _ServerElsewhere(RedisServer):
    """In another network namespace; its Unix socket can be reached from everywhere."""

    def __init__(self, namespace: str, port: int) -> None:
        super().__init__("--protected-mode", "no", port=port)
        self._namespace = namespace

    def _command(self) -> list[str]:
        _, *options = super()._command()
        at = options.index("--bind")
        options[at + 1] = "0.0.0.0"  # of the namespace
        return ["ip", "netns", "exec", self._namespace, redis_binary(), *options]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
