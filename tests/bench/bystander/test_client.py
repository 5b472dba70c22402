"""The echo client: it asks, notes, and says why it was not served."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import servers
from bench.build import BENCH
from bench.bystander.client import EchoClient, client_frame
from tests.support.frames import parse_frame


@contextmanager
def client(server: servers.Server, port: int | None = None) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.bystander.client", str(port or server.port), str(server.pid)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=BENCH.parent, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_line_asks_and_the_end_ends(server: servers.Server) -> None:
    with client(server) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        process.stdin.write("\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["count"] > 0
        process.stdin.close()
        assert process.wait(10.0) == 0


def test_nobody_listens(server: servers.Server) -> None:
    with client(server, port=1) as process:
        assert process.stderr is not None
        assert "the echo client: " in process.stderr.read()
        assert process.wait(10.0) == 1


def test_an_answer_that_is_no_upgrade() -> None:
    command = [sys.executable, "-m", "bench.bystander.link"]
    with subprocess.Popen(command, cwd=BENCH.parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().removeprefix("listening on "))
        with pytest.raises(ConnectionError, match="not upgraded: b'GET /echo"):
            EchoClient(port)
        assert process.wait(10.0) == 0


def test_another_message_is_no_echo(server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    echo = EchoClient(server.port)
    echo.round_trip()
    monkeypatch.setattr(echo, "_received", b"\x82\x05wrong")
    with pytest.raises(ConnectionError, match="wrong"):
        echo.round_trip()
    echo.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1000])
def test_frames_are_masked(size: int) -> None:
    frame, end = parse_frame(client_frame(1, b"x" * size, fin=False)) or pytest.fail("incomplete")
    assert (frame.opcode, frame.payload, frame.fin, frame.masked) == (1, b"x" * size, False, True)
    assert end == len(client_frame(1, b"x" * size))
