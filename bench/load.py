"""Runs the load engine (`bench/engine/`) and reads what it reports."""

import json
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from bench import measure
from bench.build import load_engine

SPARE_DESCRIPTORS = 100  # of an engine process, beside its connections
END_GRACE_S = 30.0
STEP_GRACE_S = 90.0  # of a step, for its members to have subscribed
BYSTANDER_RATE = 200.0  # messages a second


class LoadError(RuntimeError):
    """The load engine refused its options or did not end."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a run: what went through, and the CPU seconds that both ends took for it."""

    seconds: float
    messages: int
    bytes: int
    server_cpu_s: float
    client_cpu_s: float
    latency: Latency  # of handshakes while connecting, of replies afterwards

    def per_cpu_second(self, amount: float) -> float:
        """So much for each CPU-second of the server; 0 if the machine was so busy that the server had none."""
        return amount / self.server_cpu_s if self.server_cpu_s else 0.0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What the engine did."""

    mode: str
    connections: int
    connected: int
    processes: int
    pings: int
    connect: Span
    run: Span
    failures: dict[str, int]  # by kind; "all" is their sum
    first_failure: str
    bystander: Latency | None = None  # of a quiet client's echo meanwhile, where one was asked for

    def check(self) -> Self:
        """Return itself.

        :raises LoadError: something failed; figures with failures in them are not worth reporting.
        """
        if self.failures["all"]:
            raise LoadError(f"{self.failures['all']} failures, the first at {self.first_failure}")
        return self


def _span(raw: dict[str, Any], latency: str) -> Span:
    return Span(latency=Latency(**raw.pop(latency)), **raw)


def read_result(line: str) -> LoadResult:
    """The engine's one line of standard output."""
    raw = json.loads(line)
    connect, run = _span(raw.pop("connect"), "handshake_us"), _span(raw.pop("run"), "latency_us")
    return LoadResult(connect=connect, run=run, **raw)


def processes_for(connections: int) -> int:
    """How many engine processes it takes to hold so many connections under the limit of descriptors."""
    most = measure.descriptor_limit() - SPARE_DESCRIPTORS
    return -(-connections // most)


def bystander(port: int, path: str, seconds: float, cpus: set[int] | None = None) -> Latency | None:
    """How long a quiet client waits for its echo: 200 messages a second on one connection, on a fixed schedule.

    Run it while another load is on the server, over which it takes precedence on the client's CPU as far as the
    system allows. Latency counts from when a message was due.

    :param seconds: how long.
    :return: None where the server does not answer as an echo.
    """
    options: dict[str, float | str | bool] = {
        "path": path,
        "connections": 1,
        "rate": BYSTANDER_RATE,
        "warmup": 0,
        "seconds": seconds,
        "urgent": True,
    }
    with Load("rate", port, cpus=cpus, options=options) as load:
        result = load.finish(seconds + END_GRACE_S)
    return None if result.failures["all"] else result.run.latency


class Load:
    """The engine at work. As a context manager it is stopped on leaving, whatever happened.

    :param mode: echo, rate, idle, connect, fanout or rooms.
    :param port: of the server on 127.0.0.1; 0 where the option `unix` has the path of its socket.
    :param options: of the engine, with `_` for `-`; True sets a flag, False does not; see
        `bench/bin/load` without arguments.
    :param server_pids: the processes whose CPU time is the server's.
    :param cpus: CPUs to run on.
    :param on_progress: called (from a thread) with each progress report: phase, connected, settled, messages.
    """

    def __init__(
        self,
        mode: str,
        port: int,
        *,
        server_pids: Sequence[int] = (),
        cpus: set[int] | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        options: Mapping[str, float | str | bool] | None = None,
    ) -> None:
        command = [str(load_engine()), mode, *(["--port", str(port)] if port else []), "--progress"]
        for pid in server_pids:
            command += ["--server-pid", str(pid)]
        for name, value in (options or {}).items():
            if value is not False:
                command += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        with measure.on_cpus(cpus):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        self._on_progress = on_progress
        self._connected = threading.Event()
        self._measuring = threading.Event()
        self._complaints: list[str] = []
        self.progress: dict[str, Any] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The director; its children have the connections."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if not line.startswith("{"):
                self._complaints.append(line)
                continue
            self.progress = json.loads(line)
            if self._on_progress is not None:
                self._on_progress(self.progress)
            if self.progress["phase"] == "connected":
                self._connected.set()
            elif self.progress["phase"] == "measuring":
                self._measuring.set()
        self._connected.set()  # it has ended
        self._measuring.set()

    def wait_connected(self, timeout_s: float = 90.0) -> int:
        """Wait until every connection is open or has failed; return how many are open.

        :raises LoadError: the engine ended or stayed silent.
        """
        if not self._connected.wait(timeout_s) or not self.progress:
            raise LoadError("".join(self._complaints) or "the load engine does not get its connections")
        return int(self.progress["connected"])

    def wait_measuring(self, timeout_s: float = 120.0) -> bool:
        """Wait for the measured window; return whether it came: the engine may have ended without one."""
        return self._measuring.wait(timeout_s) and self.progress.get("phase") == "measuring"

    def finish(self, timeout_s: float | None = None) -> LoadResult:
        """Wait for the end and return the result.

        :raises LoadError: the engine failed.
        """
        assert self._process.stdout is not None
        timer = threading.Timer(timeout_s or 3600.0, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.read()
            code = self._process.wait()
        finally:
            timer.cancel()
        self._reader.join()
        if code:
            raise LoadError(f"the load engine ended with {code}\n{''.join(self._complaints)}")
        return read_result(line)

    def step(self, rate: float, warmup_s: float, seconds: float) -> LoadResult:
        """Rooms: publish at a rate for a time, and return what was heard; call it as often as wanted, then `release`.

        :param rate: publications a second, over all rooms.
        :param warmup_s: how long before the measured window.
        :param seconds: of the window, which is shorter where the server cannot keep the rate at all.
        :raises LoadError: the engine failed, or its connections did.
        """
        assert self._process.stdout is not None
        timer = threading.Timer(warmup_s + seconds + STEP_GRACE_S, self._process.kill)
        timer.start()
        try:
            self._say(f"{rate:.3f} {warmup_s:.3f} {seconds:.3f}")
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise LoadError(f"the load engine ended within a step\n{''.join(self._complaints)}")
        return read_result(line).check()

    def stall(self) -> None:
        """Rooms: those who will stop reading do it now."""
        self._say("stall")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: what it reported is still to be read
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def release(self) -> LoadResult:
        """End the idle mode with `until_stdin`, or rooms: close every connection, then return the result."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        return self.finish(END_GRACE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()  # its own workers end with it
            self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
