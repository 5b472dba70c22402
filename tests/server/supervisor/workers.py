"""A server of several processes, and clients that come and go all the time."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.raw_client import RawClient
from tests.support.redis import redis_binary
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

APP = """
import os, signal, time
from fastws import FastWS

VERSION = "one"
app = FastWS()

@app.raw("/echo")
def echo(conn, message):
    if message == "who":
        conn.send(f"{os.getpid()} {VERSION}")
    elif message == "hang":
        time.sleep(600)
    elif message.startswith("die "):
        os.kill(os.getpid(), int(message[4:]))
    elif message == "log":
        import logging
        logging.getLogger("tested").warning("here it is")
    else:
        conn.send(message)
"""


def servers(*options: str, workers: int = 2, **named: object) -> ServerProcess:
    """A server with so many workers, and a Redis of its own between them; skips where none is installed."""
    redis_binary()
    return ServerProcess("--workers", str(workers), "--drain-timeout", "2", "--ping-interval", "0", *options, **named)  # type: ignore[arg-type]


def children(pid: int) -> dict[int, str]:
    """The children of a process, with their names."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = path.read_text(encoding="utf-8").partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            if int(parent) == pid and state != "Z":
                found[int(path.parent.name)] = name
    return found


def workers_of(server: ServerProcess) -> dict[int, int]:
    """Number of the worker -> process id; of two with one number the younger."""
    found = {}
    for pid, name in sorted(children(server.pid).items()):
        kind, _, number = name.partition("-")
        if kind == "fastws" and number.isdecimal():
            found[int(number)] = pid
    return found


def worker_processes(server: ServerProcess) -> set[int]:
    """All of them, those that start or drain included."""
    return {pid for pid, name in children(server.pid).items() if name.startswith("fastws-") and name[7:].isdecimal()}


def zygotes_of(server: ServerProcess) -> list[int]:
    return [pid for pid, name in children(server.pid).items() if name == "fastws-zygote"]


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return False


def ask(server: ServerProcess, message: str = "who") -> str:
    """One connection's question, and the answer."""
    with RawClient(server.host, server.port) as client:
        assert client.upgrade("/echo").status == 101
        client.send_text(message)
        answer = client.read_message()
        client.send_close()
        assert isinstance(answer, str)
        return answer


@contextmanager
def connected(server: ServerProcess, count: int) -> Iterator[list[tuple[RawClient, int]]]:
    """So many clients that are connected, each with the process that it talks to."""
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(RawClient(server.host, server.port))
            assert client.upgrade("/echo").status == 101
            client.send_text("who")
            answer = client.read_message()
            assert isinstance(answer, str)
            clients.append((client, int(answer.split()[0])))
        yield clients


def events(server: ServerProcess) -> list[dict[str, object]]:
    """What was logged so far."""
    return [json.loads(line) for line in server.stderr().splitlines() if line.startswith("{")]


def told(server: ServerProcess, text: str) -> bool:
    return any(text in str(event["event"]) for event in events(server))


def private_bytes(pid: int) -> int:
    """Memory that a process has for itself alone."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1]) * 1024
    return total


def sockets_of(pid: int) -> set[str]:
    """The sockets that a process has open, by their inodes."""
    found = (str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir())
    return {name for name in found if name.startswith("socket:")}


def kill_and_wait(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)
    wait_until(lambda: not is_alive(pid), what="the end of a process")


class Storm:
    """Clients that connect, ask who serves them and leave, over and over, until the end of the block.

    `outcomes`: how often what happened; `ok`, `moved` (closed with 1012 in between), or what went wrong.
    """

    def __init__(self, server: ServerProcess, threads: int = 4) -> None:
        self.outcomes: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self._server = server
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    @property
    def troubles(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome not in ("ok", "moved")}

    def wait_for(self, count: int) -> None:
        """Until so many more have been served."""
        before = self.outcomes["ok"]
        wait_until(lambda: self.outcomes["ok"] >= before + count, 30, "clients that are served")

    def _run(self) -> None:
        while not self._stopped.is_set():
            outcome, answer = self._come_and_go()
            with self._lock:
                self.outcomes[outcome] += 1
                if answer:
                    self.answers[answer] += 1

    def _come_and_go(self) -> tuple[str, str]:
        stage = "connecting"
        try:
            with RawClient(self._server.host, self._server.port) as client:
                stage = "upgrading"
                status = client.upgrade("/echo").status
                if status != 101:
                    return str(status), ""
                stage = "talking"
                client.send_text("who")
                frame = client.read_frame()
                if frame.opcode == 8:
                    code = int.from_bytes(frame.payload[:2], "big")
                    return "moved" if code == 1012 else f"closed {code}", ""
                client.send_close()
                client.read_until_eof()
                return "ok", frame.payload.decode()
        except (OSError, AssertionError, EOFError) as error:
            return f"{stage}: {type(error).__name__} {error}", ""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(20)
