"""The bystanders of a running server, from the outside: started, asked for their delays, ended."""

import http.client
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Self

from bench import measure
from bench.build import BENCH
from bench.bystander.probes import Figures
from bench.servers import Server

MOST_P99_MS = 20.0
MOST_MS = 100.0
HTTP_TIMEOUT_S = 30.0
END_TIMEOUT_S = 10.0


class BystanderError(RuntimeError):
    """A bystander was not served at all: refused, closed, or answered wrongly."""


@dataclass(frozen=True, slots=True)
class Delayed:
    """The delays of the three bystanders over one stretch of time."""

    echo: Figures
    timer: Figures
    link: Figures

    @property
    def by_name(self) -> dict[str, Figures]:
        """All three."""
        return {"echo": self.echo, "timer": self.timer, "link": self.link}

    @property
    def worst_p99(self) -> float:
        """Milliseconds, of the three."""
        return max(figures.p99 for figures in self.by_name.values())

    @property
    def worst(self) -> float:
        """Milliseconds, of the three."""
        return max(figures.max for figures in self.by_name.values())

    @property
    def holds(self) -> bool:
        """The bar: each p99 at most 20 ms, and nothing over 100 ms."""
        return self.worst_p99 <= MOST_P99_MS and self.worst <= MOST_MS


class Bystanders:
    """Starts the bystanders of a server of `bench.bystander.app`; ends them on leaving a `with` block.

    :param server: running, one worker.
    :param cpus: where the processes of the echo client and of the link's other end run.
    """

    def __init__(self, server: Server, cpus: set[int] | None = None) -> None:
        self._server = server
        self._cpus = cpus
        self._link: subprocess.Popen[str] | None = None
        self._echo: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._link = self._start("link")
            port = int(_line(self._link).removeprefix("listening on "))
            ask(self._server.port, "POST", "/bystander", {"port": port, "pid": self._link.pid})
            self._echo = self._start("client", str(self._server.port), str(self._server.pid))
            _line(self._echo)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def take(self) -> Delayed:
        """The delays since the last call.

        :raises BystanderError: one of them is not served any more.
        """
        assert self._echo is not None
        assert self._echo.stdin is not None
        try:
            self._echo.stdin.write("\n")
            self._echo.stdin.flush()
        except BrokenPipeError:
            pass  # what it printed at its end says why
        echo = json.loads(_line(self._echo))
        inside = ask(self._server.port, "GET", "/bystander/delays")
        return Delayed(*(Figures.read(raw) for raw in (echo, inside["timer"], inside["link"])))

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", f"bench.bystander.{module}", *arguments]
        with measure.on_cpus(self._cpus):
            return subprocess.Popen(
                command,
                cwd=BENCH.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def _end(self) -> None:
        for process in (self._echo, self._link):
            if process is not None:
                process.kill()
                process.communicate(timeout=END_TIMEOUT_S)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        raise BystanderError(process.stderr.read().strip() or "a bystander's process ended")
    return line


def ask(port: int, method: str, path: str, body: object = None) -> Any:
    """What the application answers, from JSON.

    :raises BystanderError: it does not answer 200 within 30 s.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT_S)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise BystanderError(f"{method} {path}: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise BystanderError(f"{method} {path}: {response.status} {content[:200]!r}")
    return json.loads(content)
