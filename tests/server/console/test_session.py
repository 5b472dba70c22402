"""`fastws connect` as people and scripts use it: a real process, a real server, pipes and a real terminal."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.server import ServerConnection, serve

from fastws.server.console.session import LineSplitter, Screen, describe_close
from fastws.types import CloseInfo

ROOT = Path(__file__).parents[3]
STAMP = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} ", re.MULTILINE)


def answer(conn: ServerConnection) -> None:
    """Echo; a few words make it do something else."""
    for message in conn:
        match message:
            case "kick":
                conn.close(4503, "kicked")
            case "binary":
                conn.send(bytes(range(4)))
            case "slow":
                threading.Timer(0.2, conn.send, ["answered late"]).start()
            case "evil":
                conn.send("a\x1b[2Jb\nforged")
            case "drop":
                conn.socket.shutdown(socket.SHUT_RDWR)
            case _:
                conn.send(message)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        server.shutdown()
        thread.join()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fastws.server.toolbox", "connect", *arguments]


def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTWS_")}
    return clean | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def run(text: str, *arguments: str) -> tuple[int, list[str], str]:
    """Run it with an input and return exit code, lines without their times, and standard error."""
    done = subprocess.run(
        command(*arguments), input=text.encode(), capture_output=True, timeout=60, check=False, env=environment()
    )
    lines = done.stdout.decode().splitlines()
    assert all(STAMP.match(line) for line in lines), lines
    return done.returncode, [STAMP.sub("", line) for line in lines], done.stderr.decode()


def test_lines_go_out_and_answers_are_awaited(url: str) -> None:
    code, lines, _ = run("hello\nslow\n\n//slash\nlast without newline", url)
    assert code == 0
    assert lines[0] == f"* connected to {url}"
    assert [line for line in lines if line.startswith("> ")] == [
        "> hello",
        "> slow",
        "> /slash",
        "> last without newline",
        "> (ping) end of input",
        "> (close) 1000",
    ]
    for line in ("< hello", "< answered late", "< /slash", "< last without newline"):
        assert line in lines
    assert lines[-1] == "* closed: 1000 - an ordinary end"


def test_wait_is_how_long_it_listens(url: str) -> None:
    started = time.monotonic()
    code, lines, _ = run("hello\n", url, "--wait", "1.5")
    assert time.monotonic() - started >= 1.5
    assert (code, "< hello" in lines, "> (ping) end of input" in lines) == (0, True, False)


def test_commands(url: str) -> None:
    code, lines, _ = run("/ping abc\n/what\n/help\n/close 99999\n/close 1006\n/close 4321 that is all\nnot sent\n", url)
    assert code == 0
    assert "> (ping) abc" in lines
    assert "* /what is not known; /help shows what is" in lines
    assert any(line.startswith("* /close [CODE") for line in lines)
    assert sum(line.startswith("* a close code is 1000 to 4999") for line in lines) == 2
    assert "> (close) 4321 that is all" in lines
    assert lines[-1].startswith("* closed: 4321 that is all - a code of the application; connect again")
    assert "> not sent" not in lines


def test_closes_by_the_server_are_explained_and_exit_1(url: str) -> None:
    code, lines, _ = run("kick\n", url)
    assert code == 1
    assert lines[-1] == "* closed: 4503 kicked - the connection was closed by an operator or a back end"
    code, lines, _ = run("drop\n", url)
    assert code == 1
    assert lines[-1] == "* closed: 1006 - the connection was lost without a close frame"


def test_what_a_server_sends_cannot_command_the_terminal(url: str) -> None:
    _, lines, _ = run("binary\nevil\n", url)
    assert "< (binary, 4 bytes) 00 01 02 03" in lines
    assert r"< a\x1b[2Jb\nforged" in lines


def test_refusals_and_usage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    code, lines, errors = run("", f"ws://127.0.0.1:{port}/")
    assert (code, lines) == (1, [])
    assert errors == f"Error: cannot connect to 127.0.0.1:{port}: Connection refused\n"
    assert run("", "ftp://x")[0] == 2
    assert run("", "ws://x", "--header", "nonsense")[0] == 2
    assert run("", "ws://x", "--wait", "-1")[0] == 2


@contextmanager
def on_a_terminal(url: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start it on a pseudo terminal and give the other end of that."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        command(url), stdin=terminal, stdout=terminal, stderr=terminal, env=environment(), start_new_session=True
    ) as process:
        os.close(terminal)
        try:
            yield controller, process
        finally:
            process.kill()
            os.close(controller)


def read_until(controller: int, text: str, timeout_s: float = 20) -> str:
    """Read what the terminal shows until a text has appeared."""
    shown = b""
    deadline = time.monotonic() + timeout_s
    while text.encode() not in shown:
        ready, _, _ = select.select([controller], [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"{text!r} did not appear in {shown!r}"
        shown += os.read(controller, 4096)
    return shown.decode()


def test_a_terminal_session(url: str) -> None:
    with on_a_terminal(url) as (controller, process):
        read_until(controller, "/help")
        os.write(controller, b"helo\x1b[Dl\r")
        read_until(controller, "< hello")
        os.write(controller, b"\x1b[A!\r")
        read_until(controller, "< hello!")
        os.write(controller, b"/ping\r")
        read_until(controller, "(pong)")
        os.write(controller, b"\x04")
        read_until(controller, "closed: 1000")
        assert process.wait(20) == 0


def test_an_interrupt_closes_in_order(url: str) -> None:
    with on_a_terminal(url) as (controller, process):
        read_until(controller, "/help")
        process.send_signal(signal.SIGINT)
        read_until(controller, "closed: 1000")
        assert process.wait(20) == 0


def test_a_close_by_the_server_ends_a_terminal_session(url: str) -> None:
    with on_a_terminal(url) as (controller, process):
        read_until(controller, "/help")
        os.write(controller, b"kick\r")
        read_until(controller, "closed: 4503 kicked")
        assert process.wait(20) == 1


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 5))
def test_lines_are_cut_alike_however_the_bytes_come(text: str, size: int) -> None:
    data = text.encode()
    lines: list[str | None] = []
    splitter = LineSplitter(lines.append)
    for start in range(0, len(data), size):
        splitter.take(data[start : start + size])
    splitter.take(b"")
    expected = text.split("\n") if text else []
    if expected and not expected[-1]:
        expected.pop()
    assert lines == [*(line.removesuffix("\r") for line in expected), None]


def test_close_descriptions() -> None:
    assert describe_close(CloseInfo(1012, "restarting retry_ms=5")).startswith("closed: 1012 restarting retry_ms=5 - ")


def test_a_screen_without_an_editor_prints_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(sys.stdout)
    screen.line("<", "one\ntwo")
    screen.line("*", "one\ntwo")
    assert STAMP.sub("", capsys.readouterr().out).splitlines() == [r"< one\ntwo", "* one", "* two"]
