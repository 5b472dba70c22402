"""A whole worker in a process of its own: what it says, serves and does on signals."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.certificates import self_signed
from tests.support.raw_client import RawClient
from tests.support.server import ServerFailed, ServerProcess
from tests.support.waiting import Stopwatch, wait_until

APP = """
import asyncio, pathlib
from fastws.app import FastWS
from fastws.errors import Reject

app = FastWS(keep_headers=("X-Kept",))
notes = []

@app.on_startup
async def start():
    await asyncio.sleep(0)
    notes.append("started")

@app.on_shutdown
def stop():
    print("shut down", flush=True)

@app.on_connect
def connect(conn):
    if conn.headers.get("x-banned"):
        raise Reject(4507)
    notes.append("connect " + conn.path)

@app.on_disconnect
def bye(info, close):
    notes.append(f"disconnect {close.code} {info.node}")

@app.on_upgrade
async def upgrade(request):
    if "no" in request.query:
        raise Reject(402, "pay first")

@app.raw("/echo")
def echo(conn, message):
    conn.send(message)

@app.raw("/private", auth=True)
async def private(conn, message):
    conn.send(conn.headers["x-kept"] + message)

@app.raw("/stream")
async def stream(conn):
    async for message in conn:
        await conn.drain(conn.send(message))

@app.http("/notes")
def read_notes(request):
    return notes

@app.http("/slow")
async def slow(request):
    await asyncio.sleep(0.5)
    return "done"
"""


def get(server: ServerProcess, path: str) -> tuple[int, bytes]:
    with RawClient(server.host, server.port) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n\r\n".encode())
        head, _, body = client.read_until_eof().partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body


def wait_for_notes(server: ServerProcess, wanted: list[str]) -> None:
    wait_until(lambda: json.loads(get(server, "/notes")[1]) == wanted, what=f"the notes {wanted}")


def test_an_application(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with ServerProcess("--dev", "--node-name", "n1", "--pidfile", str(pidfile), source=APP) as server:
        assert server.lines == [f"listening on http://{server.host}:{server.port}"]
        assert pidfile.read_text().strip() == str(server.pid)
        with RawClient(server.host, server.port) as client:
            assert client.upgrade("/echo").status == 101
            client.send_text("hello")
            assert client.read_message() == "hello"
        with RawClient(server.host, server.port) as client:
            assert client.upgrade("/stream").status == 101
            client.send_text("hello")
            assert client.read_message() == "hello"
        wait_for_notes(server, ["started"])
        with RawClient(server.host, server.port) as client:
            client.upgrade("/private", headers=[("X-Kept", "kept")])
            client.send_text("hello")
            assert client.read_message() == "kepthello"
            client.send_close(4321)
            assert client.read_close()[0] == 4321
        wait_for_notes(server, ["started", "connect /private", "disconnect 4321 n1"])
        with RawClient(server.host, server.port) as client:
            client.upgrade("/private", headers=[("X-Banned", "1")])
            assert client.read_close() == (4507, "permission_denied")
        with RawClient(server.host, server.port) as client:
            client.send(client.request("/echo?no"))
            assert client.read_response().status == 402
        with RawClient(server.host, server.port) as client:
            assert client.upgrade("/ws").status == 101
            assert client.read_json()["event"] == "welcome"
        assert get(server, "/healthz")[0] == 200
        assert get(server, "/readyz") == (200, b'{"status":"ready","checks":{"accepting":true,"engine":true}}')
        assert get(server, "/nowhere")[0] == 404
    assert not pidfile.exists()


def test_tokens_are_refused_while_no_key_is_configured() -> None:
    with ServerProcess(source=APP) as server:
        for path, status in (("/ws", 401), ("/private", 401), ("/echo", 101)):
            with RawClient(server.host, server.port) as client:
                client.send(client.request(path, headers=[("Authorization", "Bearer abc")]))
                assert client.read_response().status == status


def test_the_demo_page_is_there_under_dev_only() -> None:
    with ServerProcess("--dev") as server:
        status, body = get(server, "/")
        assert status == 200
        assert b"<html" in body
        assert get(server, "/ws")[0] == 426


def test_a_unix_socket(tmp_path: Path) -> None:
    place = tmp_path / "s"
    with ServerProcess("--uds", str(place)) as server:
        assert server.lines == [f"listening on unix:{place}"]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(place))
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert not place.exists()


def test_a_port_in_use_exits_3() -> None:
    with ServerProcess() as server:
        with pytest.raises(ServerFailed, match=r"exited 3 (.|\n)*cannot listen on 127\.0\.0\.1:\d+"):
            ServerProcess("--port", str(server.port)).start()
        assert get(server, "/healthz")[0] == 200


def test_a_failing_start_exits_3() -> None:
    source = (
        "from fastws.app import FastWS\napp = FastWS()\n@app.on_startup\ndef start():\n    raise OSError('no disk')\n"
    )
    with pytest.raises(ServerFailed, match=r"exited 3 (.|\n)*on_startup failed in start: OSError: no disk"):
        ServerProcess(source=source).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_start_that_takes_long(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio\nfrom fastws import FastWS\napp = FastWS()\n"
        "@app.on_startup\nasync def start():\n    print('starting', flush=True)\n    await asyncio.Event().wait()\n"
    )
    ports = ("--port", "0", "--admin-port", "-1")
    command = [sys.executable, "-m", "fastws", *ports, "--app-dir", str(tmp_path), "slow:app"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        process.send_signal(number)
        assert process.stdout.read() == ""
        assert process.wait(30) == 0


def test_a_signal_ends_the_wait_for_a_silent_redis(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "fastws", "--port", "0", "--admin-port", "-1", "--redis", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(30)
            peer, _ = silent.accept()  # it is asked, and says nothing
            with peer:
                process.send_signal(signal.SIGTERM)
                output, errors = process.communicate(timeout=30)
        assert (process.returncode, output) == (0, ""), errors
        assert "cannot start" not in errors


def test_signals_do_no_harm_while_it_starts_or_stops(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio\nfrom fastws import FastWS\napp = FastWS()\n"
        "@app.on_startup\nasync def start():\n    print('starting', flush=True)\n    await asyncio.Event().wait()\n"
    )
    ports = ("--port", "0", "--admin-port", "-1")
    command = [sys.executable, "-m", "fastws", *ports, "--app-dir", str(tmp_path), "slow:app"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "starting\n"
        for number in (signal.SIGUSR1, signal.SIGTTIN, signal.SIGHUP):
            process.send_signal(number)
        while "SIGHUP is ignored while the server starts or stops" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_a_raw_endpoint_on_the_path_of_the_protocol_exits_2() -> None:
    source = "from fastws.app import FastWS\napp = FastWS()\n@app.raw('/ws')\ndef echo(conn, message): pass\n"
    with pytest.raises(ServerFailed, match=r"exited 2 (.|\n)*--path"):
        ServerProcess(source=source).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain(number: signal.Signals) -> None:
    with ServerProcess("--drain-timeout", "2", source=APP) as server:
        clients = [RawClient(server.host, server.port) for _ in range(4)]
        for client in clients:
            client.upgrade("/echo")
        busy = RawClient(server.host, server.port)
        busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        server.signal(number)
        codes = [client.read_close() for client in clients]
        assert {code for code, _ in codes} == {1012}
        assert all(re.fullmatch(r"restarting retry_ms=\d+", reason) for _, reason in codes)
        for client in clients:
            client.send_close(1012)
        assert busy.read_until_eof().endswith(b"done")
        assert server.wait(30) == 0
        wait_until(lambda: "shut down" in server.lines)
        for client in (*clients, busy):
            client.close()


def test_a_drain_refuses_newcomers_until_the_end() -> None:
    with ServerProcess("--drain-timeout", "10", "--drain-rate", "1", source=APP) as server:
        clients = [RawClient(server.host, server.port) for _ in range(3)]
        for client in clients:
            client.upgrade("/echo")
        server.signal(signal.SIGTERM)
        assert clients[0].read_close()[0] == 1012
        clients[0].send_close(1012)
        with RawClient(server.host, server.port) as late:
            late.send(late.request("/echo"))
            refused = late.read_response()
            assert refused.status == 503
            assert int(refused.headers["retry-after"]) > 0
        assert get(server, "/readyz")[0] == 503
        assert get(server, "/healthz")[0] == 200
        for client in clients[1:]:
            assert client.read_close()[0] == 1012
            client.send_close(1012)
        assert server.wait(30) == 0
        for client in clients:
            client.close()


def test_at_the_deadline_the_rest_is_reset() -> None:
    with ServerProcess("--drain-timeout", "0.5", source=APP) as server:
        client = RawClient(server.host, server.port)
        client.upgrade("/echo")
        server.signal(signal.SIGTERM)
        assert client.read_close()[0] == 1012
        assert server.wait(30) == 0
        client.close()


def test_a_second_signal_stops_at_once() -> None:
    with ServerProcess("--drain-timeout", "60", "--drain-rate", "1", source=APP) as server:
        clients = [RawClient(server.host, server.port) for _ in range(3)]
        for client in clients:
            client.upgrade("/echo")
        server.signal(signal.SIGTERM)
        assert clients[0].read_close()[0] == 1012
        watch = Stopwatch()
        server.signal(signal.SIGTERM)
        assert clients[2].read_close() == (1001, "going_away")
        assert server.wait(30) == 1
        assert watch.own_s < 5
        for client in clients:
            client.close()


STUCK_AT_THE_END = """
import asyncio
from fastws import FastWS
app = FastWS()

@app.on_shutdown
async def stop():
    print("stopping", flush=True)
    await asyncio.Event().wait()
"""


def test_a_second_signal_ends_an_application_that_does_not() -> None:
    with ServerProcess(source=STUCK_AT_THE_END) as server:
        server.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in server.lines)
        server.signal(signal.SIGTERM)
        assert server.wait(30) == 1
        assert "on_shutdown was cut short in stop" in server.stderr()


def test_without_connections_it_ends_at_once() -> None:
    with ServerProcess("--drain-timeout", "60") as server, RawClient(server.host, server.port):
        watch = Stopwatch()
        assert server.stop() == 0
        assert watch.own_s < 5


def test_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        with ServerProcess(env=env) as server:
            assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
            server.signal(signal.SIGTERM)
            wait_until(lambda: manager.recv(100) == b"STOPPING=1")
            assert server.wait(30) == 0


def test_log_files_are_opened_again(tmp_path: Path) -> None:
    log, config = tmp_path / "log", tmp_path / "log.json"
    handler = {"class": "logging.FileHandler", "filename": str(log)}
    config.write_text(
        json.dumps({"version": 1, "handlers": {"file": handler}, "root": {"level": "INFO", "handlers": ["file"]}})
    )
    with ServerProcess("--log-config", str(config)) as server:
        log.rename(tmp_path / "old")
        server.signal(signal.SIGUSR1)
        wait_until(log.exists)
        for number in (signal.SIGTTIN, signal.SIGTTOU):
            server.signal(number)
        wait_until(lambda: log.read_text().count("is ignored") == 2)


def test_certificates_are_read_again(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def connect() -> tuple[RawClient, bytes | None]:
        client = RawClient(server.host, server.port, tls=context)
        assert client.upgrade("/echo").status == 101
        assert isinstance(client.socket, ssl.SSLSocket)
        return client, client.socket.getpeercert(binary_form=True)

    with ServerProcess(*certificate.options, source=APP) as server:
        older, first = connect()
        self_signed(tmp_path)
        server.signal(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: certificates" in server.stderr())
        newer, second = connect()
        assert second != first
        for client in (older, newer):
            client.send_text("still here")
            assert client.read_message() == "still here"
            client.close()
        Path(certificate.certfile).write_text("nothing of the kind")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "everything stays as it is" in server.stderr())
        last, third = connect()
        last.close()
        assert third == second


def test_what_can_change_in_one_process(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text('[shutdown]\ndrain_timeout = 600\n[logging]\nlog_level = "warning"\n')
    with ServerProcess("--config", str(config), source=APP) as server, RawClient(server.host, server.port) as client:
        client.upgrade("/echo")
        config.write_text("[shutdown]\ndrain_tiemout = 5\n")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: the configuration is wrong, and everything stays as it is" in server.stderr())
        config.write_text("[shutdown]\ndrain_timeout = 0.5\n[limits]\nmax_topics = 5\n")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: certificates, logging and drain are" in server.stderr())
        assert "SIGHUP: --max-topics cannot change until the server is started again" in server.stderr()
        server.signal(signal.SIGTERM)
        # It does not answer the close: after 0.5 s it is reset, and not after ten minutes.
        assert server.wait(30) == 0


def test_the_access_log() -> None:
    with ServerProcess("--access-log", source=APP) as server:
        with RawClient(server.host, server.port) as client:
            client.upgrade("/echo?token=secret")
            client.send_close(4000)
            client.read_close()
        get(server, "/none")
        wait_until(lambda: server.stderr().count("fastws.access") == 3)
        lines = [json.loads(line) for line in server.stderr().splitlines() if "fastws.access" in line]
        assert sorted(line["event"] for line in lines) == ["GET /echo 101", "GET /none 404", "closed /echo 4000"]
        assert "secret" not in server.stderr()


def test_unlimited_is_zero() -> None:
    options = ("--max-message-size", "0", "--max-outbox", "0", "--max-fragments", "0", "--ping-interval", "0")
    with ServerProcess(*options, source=APP) as server, RawClient(server.host, server.port) as client:
        client.upgrade("/echo")
        client.send_frame(2, b"x" * 300_000)
        assert client.read_message() == b"x" * 300_000
