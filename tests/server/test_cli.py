"""The command `fastws-server` as a process: help, exit codes, messages, first line, signals to its log."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fastws import __version__
from fastws.config import GROUPS, OPTIONS
from tests.support import on_redis
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTWS_")}
    return subprocess.run(
        [sys.executable, "-m", "fastws.server.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(ROOT)} | environ,
    )


def test_help_has_every_option_under_its_group(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path, COLUMNS="200")
    assert done.returncode == 0
    positions = [done.stdout.index(f"[{group.name}] {group.title}") for group in GROUPS]
    assert positions == sorted(positions)
    for option in OPTIONS.values():
        if not option.argument:
            assert re.search(rf"^  {option.flag}\b", done.stdout, re.MULTILINE), option.flag
            assert f"[{option.variable}" in done.stdout
    assert "Exit codes:" in done.stdout


def test_version(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"fastws {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--prot", "1"], 2, "No such option"),
        (["--port"], 2, "requires an argument"),
        (["a:b", "c:d"], 2, "unexpected extra argument"),
        (["--port", "x"], 2, "Error: --port must be a whole number"),
        (["--port=-1"], 2, "Error: --port must be at least 0"),
        (["--drain-timeout", "-5"], 2, "Error: --drain-timeout must not be negative"),
        (["chat"], 2, "Error: MODULE:APP is a module and an attribute"),
        (["--config", "none.toml"], 2, "Error: none.toml: there is no such file"),
        (["--workers", "2", "--reload"], 2, "Error: --reload serves with one process"),
        (["--jwt-jwks", "http://x"], 2, "Error: --jwt-jwks cannot be set yet"),
        (["--ssl-ca-certs", "x"], 2, "Error: --ssl-ca-certs cannot be set yet"),
        (["--ssl-certfile", "none.pem"], 2, "Error: --ssl-certfile none.pem: cannot be read: No such file"),
        (["--ssl-keyfile", "none.pem"], 2, "Error: --ssl-keyfile is set without --ssl-certfile"),
        (["--log-config", "none.json"], 2, "Error: --log-config none.json: cannot be read"),
        (["--host", "0.0.0.0"], 3, "Error: protected mode"),
        (["--host", "0.0.0.0", "--dev"], 3, "Error: protected mode"),
        (["--admin-host", "0.0.0.0"], 3, "Error: protected mode"),
        (["no_such_module:app"], 4, "Error: there is no module 'no_such_module'"),
        (["json:loads"], 4, "Error: json:loads is a function, not a FastWS"),
    ],
)
def test_what_cannot_run_says_why(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert message in done.stderr
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_environment_and_file_are_checked_too(tmp_path: Path) -> None:
    (tmp_path / "fastws.toml").write_text("[limits]\nmax_topic = 1\n", encoding="utf-8")
    done = run(cwd=tmp_path, FASTWS_PROT="1")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: unknown variable FASTWS_PROT; the nearest known is 'FASTWS_PORT'",
        "Error: fastws.toml: [limits] has no key 'max_topic'; the nearest known is 'max_topics'",
    ]


def test_a_failing_application_shows_its_traceback_and_exits_4(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    done = run("broken:app", cwd=tmp_path)
    assert done.returncode == 4
    assert "ZeroDivisionError" in done.stderr
    assert "loader.py" not in done.stderr


def test_a_port_in_use_exits_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--port", str(port), cwd=tmp_path)
    assert done.returncode == 3
    assert "Error: " in done.stderr
    assert str(port) in done.stderr


def test_a_failing_startup_hook_exits_3(tmp_path: Path) -> None:
    source = (
        "from fastws import FastWS\napp = FastWS()\n@app.on_startup\ndef start(): raise RuntimeError('no database')\n"
    )
    (tmp_path / "failing.py").write_text(source, encoding="utf-8")
    done = run("failing:app", "--port", "0", cwd=tmp_path)
    assert done.returncode == 3
    assert "no database" in done.stderr


def test_the_first_line_of_a_server_is_json_off_a_terminal() -> None:
    with ServerProcess("--log-level", "critical") as server:
        first = json.loads(server.stderr().splitlines()[0])
    assert first["level"] == "info"
    for part in (
        f"fastws {__version__} on http://127.0.0.1:0",
        "1 worker",
        f"engine {on_redis.engine_name()}",
        "event loop uvloop",
        "codec",
    ):
        assert part in first["event"]
    assert server.lines == [f"listening on http://127.0.0.1:{server.port}"]


def test_on_a_terminal_it_is_text(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "fastws.server.cli", "no_such_module:app"]
    with subprocess.Popen(
        command, stderr=terminal, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.wait(60) == 4
    os.close(terminal)
    try:
        assert re.match(rb"\d{4}-\d\d-\d\d [\d:.]+ INFO +fastws ", os.read(controller, 4096))
    finally:
        os.close(controller)


def test_anonymous_serves_every_address_and_options_reach_the_server() -> None:
    with (
        ServerProcess("--host", "0.0.0.0", "--anonymous", env={"FASTWS_PATH": "/chat"}) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(b"GET /chat HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 426 ")


def test_asking_for_more_than_the_machine_has_warns_once() -> None:
    with ServerProcess("--max-connections", "500000000") as server:
        warnings = [entry for line in server.stderr().splitlines() if (entry := json.loads(line))["level"] == "warning"]
    assert len(warnings) == 1
    assert "make tune CONNECTIONS=500000000" in warnings[0]["event"]


def test_usr1_opens_the_log_file_again(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(log)}},
        "root": {"handlers": ["file"], "level": "INFO"},
    }
    (tmp_path / "log.json").write_text(json.dumps(config), encoding="utf-8")
    with ServerProcess("--log-config", str(tmp_path / "log.json")) as server:
        log.rename(tmp_path / "server.log.1")
        server.signal(signal.SIGUSR1)
        wait_until(log.exists, 10, "the file to be there again")
