"""Tests in processes of their own: one whose limits may be lowered, and a server whose system calls are watched."""

import asyncio
import functools
import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from tests.fastws_ext.harness import run, serving
from tests.support.frames import TEXT

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60
COMMAND = (sys.executable, "-m", "tests.fastws_ext.own_process")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PUBLICATIONS = 10  # that the traced server makes of one message "publish"

AsyncTest = Callable[[], Coroutine[Any, Any, None]]


def in_own_process(test: AsyncTest) -> Callable[[], None]:
    """Make a test of a coroutine function, which runs on uvloop in a process of its own."""

    @functools.wraps(test)
    def run_test() -> None:
        done = subprocess.run(
            [*COMMAND, test.__module__, test.__name__],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run_test.scenario = test  # type: ignore[attr-defined]
    return run_test


class TracedServer:
    """A server under strace. `address` is where it listens; `calls` is there when the block is left."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.address = ("127.0.0.1", int(process.stdout.readline()))
        self.calls: list[str] = []  # lines as strace writes them: recvfrom(7, ...) = 10

    def count(self, name: str) -> int:
        """How often the system call was made."""
        return sum(call.startswith(f"{name}(") for call in self.calls)


@functools.cache
def strace_works() -> bool:
    """Whether strace is installed and this process may use it."""
    try:
        return (
            subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, check=False).returncode
            == 0
        )
    except FileNotFoundError:
        return False


@contextmanager
def traced(*expressions: str) -> Iterator[TracedServer]:
    """An echo server under strace; :param expressions: what strace gets as -e, such as trace=sendto."""
    if not strace_works():
        pytest.skip("strace is not installed, or not allowed here")
    with tempfile.TemporaryDirectory(prefix="fastws-test-") as directory:
        trace = Path(directory, "trace")
        options = [word for expression in expressions for word in ("-e", expression)]
        process = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", str(trace), *options, *COMMAND, "serve"],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                server = TracedServer(process)
                yield server
            finally:
                assert process.stdin is not None
                process.stdin.close()  # which ends it
                process.wait(TIMEOUT_S)
        assert process.returncode == 0
        server.calls += re.sub(r"^\d+ +", "", trace.read_text(), flags=re.MULTILINE).splitlines()


async def serve() -> None:
    """Echo messages, but send `PUBLICATIONS` to everybody else for "publish", until standard input ends."""

    def on_message(conn: Any, message: str | bytes) -> None:
        if message == "publish":
            for number in range(PUBLICATIONS):
                audience.publish((encode_frame(TEXT, str(number)),), exclude=conn)
        else:
            conn.send(message)

    def on_open(conn: Any) -> None:
        audience.add(conn)

    async with serving("reactor", on_message=on_message, on_open=on_open) as server:
        audience: Audience = Audience(server.loop_data)
        server.loop_data.pass_ns = 10**9  # being traced is slow, and must not make two passes of one
        print(server.address[1], flush=True)
        ended = asyncio.Event()
        server.loop.add_reader(sys.stdin.fileno(), ended.set)
        await ended.wait()
        server.loop.remove_reader(sys.stdin.fileno())


def main() -> None:
    """Run one scenario, or serve; called in the process of its own."""
    if sys.argv[1] == "serve":
        with asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop) as runner:
            runner.run(serve())
    else:
        module, name = sys.argv[1:]
        run("reactor", getattr(importlib.import_module(module), name).scenario)


if __name__ == "__main__":
    main()
