"""Nodes: real `fastws-server` processes that can be killed and come back at the same address."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

from tests.support.redis import free_port
from tests.support.server import ServerFailed, ServerProcess
from tests.support.waiting import wait_until

SECRET: Final = "a secret of the faults, and long enough for HS256"
READY_S: Final = 15.0


class ServedNode:
    """One node. It has the same port in every life.

    :param redis: URL, or `none`.
    :param ping_interval_s: a third of its lease.
    :param options: further options of `fastws-server`.
    :param env: further variables of its environment.
    """

    def __init__(
        self,
        name: str,
        redis: str,
        folder: Path,
        *,
        prefix: str,
        ping_interval_s: float,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.port = free_port()
        self.is_frozen = False
        self.thawed_s = 0.0
        self.deaths: list[int] = []
        self.complaints: list[str] = []
        """What it wrote to standard error in the lives that have ended."""
        self.events = folder / "events"
        self._redis = redis
        self._env = {"FASTWS_JWT_SECRET": SECRET, "FAULTS_EVENTS": str(self.events), **(env or {})}
        self._has_lived = False
        self._options = ["--node-name", name, "--ping-interval", str(ping_interval_s)]
        self._options += ["--redis", redis, "--log-format", "text", *options]
        if redis != "none":
            self._options += ["--prefix", prefix]
        self._under: Sequence[str] = ()
        self._server: ServerProcess | None = None

    def wear(self, environment: Mapping[str, str]) -> None:
        """Variables of its environment, from its next life on."""
        self._env.update(environment)

    def run_under(self, *command: str) -> None:
        """A command that runs it, from its next life on."""
        self._under = command

    @property
    def address(self) -> tuple[str, int]:
        """Where its clients find it, whether it is there or not."""
        return ("127.0.0.1", self.port)

    @property
    def server(self) -> ServerProcess:
        """The process of this life."""
        assert self._server is not None, f"{self.name} is not running"
        return self._server

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._server is not None and self._server.process.poll() is None

    async def start(self) -> None:
        """Begin a life; it takes clients when this returns. In its first one it finds a port that is really free."""
        while True:
            options = ["--port", str(self.port), *self._options]
            self._server = ServerProcess(*options, app="tests.faults.app:app", env=self._env, under=self._under)
            try:
                await asyncio.to_thread(self._server.start)
            except ServerFailed as failure:
                if self._has_lived or "Address already in use" not in str(failure):
                    raise
                self.port = free_port()
            else:
                self._has_lived = True
                return

    def begin_drain(self) -> None:
        """TERM; `wait_for_end` waits for what comes of it."""
        self.server.signal(signal.SIGTERM)

    async def wait_for_end(self, timeout_s: float = 60.0) -> int:
        """Its exit code."""
        code = await asyncio.to_thread(self.server.wait, timeout_s)
        self._bury()
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it without a word."""
        self.server.signal(number)
        self.server.process.wait(10)
        self._bury()

    def freeze(self) -> None:
        """It stands still, and its kernel goes on for it."""
        self.is_frozen = True
        self.server.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on, as if no time had passed."""
        self.server.signal(signal.SIGCONT)
        self.is_frozen = False
        self.thawed_s = monotonic()

    def _bury(self) -> None:
        self.deaths.append(self.server.process.returncode)
        self.complaints.append(self.server.stderr())
        self.server.kill()
        self._server = None

    def remove(self) -> None:
        """End whatever is left of it."""
        if self._server is not None:
            self.complaints.append(self._server.stderr())
            self._server.kill()
            self._server = None

    def descriptors(self) -> int:
        """Open ones."""
        return self.server.descriptors()

    def resident_bytes(self) -> int:
        """Memory of its own."""
        return self.server.pss()

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Status and checks of `/readyz`."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=3) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def disconnect(self, user: str) -> None:
        """Have a user thrown out, wherever it is; the node has an admin address."""
        url, body = f"{self.server.admin_url}/api/disconnect", json.dumps({"user": user}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200

    def wait_until_ready(self) -> None:
        """Until `/readyz` says so."""
        wait_until(lambda: self.readiness()[0] == 200, READY_S, f"{self.name} is ready")

    def log(self) -> str:
        """All that it ever wrote to standard error."""
        return "".join([*self.complaints, self._server.stderr() if self._server is not None else ""])


def entrances(path: Path) -> tuple[Counter[str], Counter[str]]:
    """Who came and who went by the application's own file: connections with how often it was told of each."""
    came: Counter[str] = Counter()
    went: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        sign, _, rest = line.partition(" ")
        (came if sign == "+" else went)[rest.split(" ", 1)[0]] += 1
    return came, went


def signal_name(code: int) -> str:
    """How a process ended."""
    return signal.Signals(-code).name if code < 0 else f"exit {os.waitstatus_to_exitcode(code << 8)}"
