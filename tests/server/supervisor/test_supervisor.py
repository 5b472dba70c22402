"""A server of several processes: what it says, and what happens when processes die, hang, come and go."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.server.supervisor.workers import (
    APP,
    Storm,
    ask,
    children,
    connected,
    events,
    is_alive,
    kill_and_wait,
    private_bytes,
    servers,
    sockets_of,
    told,
    workers_of,
    zygotes_of,
)
from tests.support.raw_client import RawClient
from tests.support.redis import RedisServer
from tests.support.server import ServerFailed
from tests.support.waiting import Stopwatch, wait_until

MB = 1024 * 1024


def get(address: str, path: str) -> bytes:
    host, _, port = address.removeprefix("http://").rpartition(":")
    with RawClient(host, int(port)) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return client.read_until_eof()


def replaced(before: dict[int, int], now: dict[int, int], number: int) -> bool:
    return now.keys() == before.keys() and now[number] != before[number]


def test_what_it_is_made_of(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with servers("--admin-port", "0", "--pidfile", str(pidfile), source=APP) as server:
        assert server.lines == [f"listening on http://{server.host}:{server.port}", f"admin on {server.admin_url}"]
        assert pidfile.read_text() == f"{server.pid}\n"
        workers = workers_of(server)
        assert sorted(workers) == [0, 1]
        assert len(zygotes_of(server)) == 1
        assert b'"accepting":true' in get(server.admin_url, "/readyz")
        with connected(server, 40) as clients:
            assert {pid for _, pid in clients} == set(workers.values())
            clients[0][0].send_text("log")
            wait_until(lambda: told(server, "here it is"))
            numbers = [event["worker"] for event in events(server) if event["event"] == "here it is"]
            assert [workers[number] for number in numbers if isinstance(number, int)] == [clients[0][1]]
            server.signal(signal.SIGTERM)
            for client, _ in clients:
                assert client.read_close()[0] == 1012
                client.send_close(1012)
        assert server.wait(30) == 0
    assert not pidfile.exists()
    assert not any(is_alive(pid) for pid in workers.values())


def test_memory_and_descriptors_of_idle_workers() -> None:
    folder = Path(__file__).parents[3] / "examples" / "chat"
    with servers("--admin-port", "0", "--app-dir", str(folder), app="chat:app") as server:
        time.sleep(0.5)  # what is written by and by is written
        figures = {number: private_bytes(pid) / MB for number, pid in workers_of(server).items()}
        print(f"private memory: supervisor {private_bytes(server.pid) / MB:.1f} MB, zygote", end=" ")
        print(f"{private_bytes(zygotes_of(server)[0]) / MB:.1f} MB, workers", end=" ")
        print(", ".join(f"{size:.1f}" for size in figures.values()), "MB")
        assert max(figures.values()) < 8.5  # 7.5 with Python 3.11
        first, second = (sockets_of(pid) for pid in workers_of(server).values())
        mapped = Path(f"/proc/{server.pid}/maps").read_text()
        assert "/aiohttp/" not in mapped
        assert "/uvloop/" not in mapped
        # What they have in common is the admin address: no one has another's listener, or a line to the supervisor.
        assert len(first & second) == 1
        assert not (first | second) & sockets_of(zygotes_of(server)[0])
        assert len(first & sockets_of(server.pid)) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_who_waits_for_a_worker_that_dies_is_served_by_the_next(number: signal.Signals) -> None:
    with servers(source=APP) as server, Storm(server) as storm:
        before = workers_of(server)
        victim = before[1]
        storm.wait_for(50)
        os.kill(victim, signal.SIGSTOP)
        # It does not accept any longer, and nobody has noticed yet.
        waiting = [RawClient(server.host, server.port) for _ in range(20)]
        for client in waiting:
            client.send(client.request("/echo"))
        os.kill(victim, number)
        os.kill(victim, signal.SIGCONT)
        wait_until(lambda: not is_alive(victim))
        died = Stopwatch()
        for client in waiting:
            assert client.read_response().status == 101
            client.close()
        wait_until(lambda: replaced(before, workers_of(server), 1))
        assert died.own_s < 2
        wait_until(lambda: told(server, f"worker 1 (process {victim}) was killed by {number.name}"))
        storm.wait_for(50)
    # Those whom it had accepted are gone with it; all of them were talking to it, and there were no more than threads.
    assert sum(storm.troubles.values()) <= 4, storm.troubles


def test_a_worker_that_hangs_is_replaced() -> None:
    with servers(source=APP, env={"FASTWS_TEST_HANG_S": "3"}) as server:
        with connected(server, 1) as clients:
            client, victim = clients[0]
            client.send_text("hang")
            wait_until(lambda: not is_alive(victim), 30)
        wait_until(lambda: told(server, "has not answered"))
        last_word = f"(process {victim}) was here when it ended"
        wait_until(lambda: told(server, last_word))
        (trace,) = [event["error"] for event in events(server) if last_word in str(event["event"])]
        assert "in echo" in str(trace)
        wait_until(lambda: victim not in workers_of(server).values() and len(workers_of(server)) == 2)
        for _ in range(10):
            assert ask(server).endswith(" one")


def test_five_deaths_stop_the_server() -> None:
    source = APP + "\n@app.on_startup\ndef start():\n    print('up', flush=True)\n"
    with servers(source=source) as server:
        for deaths in range(5):
            wait_until(lambda deaths=deaths: server.lines.count("up") == 2 + deaths)
            kill_and_wait(workers_of(server)[1])
        assert server.wait(30) == 1
        assert told(server, "for the 5th time within 30 s: the server stops")


def test_a_worker_that_dies_while_redis_is_away_is_replaced_when_it_is_back() -> None:
    with RedisServer() as redis, servers("--redis", redis.url, source=APP) as server:
        before = workers_of(server)
        redis.stop()
        kill_and_wait(before[1])
        wait_until(lambda: told(server, "worker 1 cannot start while Redis is away"), 30)
        assert ask(server) == f"{before[0]} one"
        redis.start()
        wait_until(lambda: told(server, "Redis is back"), 30)
        wait_until(lambda: len({ask(server) for _ in range(10)}) == 2, 30)
        assert workers_of(server)[0] == before[0]


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        (
            "from fastws import FastWS\napp = FastWS()\n@app.on_startup\ndef start(): raise OSError('no disk')\n",
            3,
            "no disk",
        ),
        ("import nothing_of_the_kind\n", 4, "nothing_of_the_kind"),
    ],
)
def test_a_start_that_fails_says_so_once(source: str, code: int, message: str) -> None:
    with pytest.raises(ServerFailed) as failed:
        servers(source=source).start()
    text = str(failed.value)
    assert text.startswith(f"exited {code} ")
    assert len(re.findall(f"^Error: .*{message}", text, re.MULTILINE)) == 1


@pytest.mark.parametrize("where", ["import", "on_startup"])
def test_a_signal_ends_a_start_that_takes_long(where: str, tmp_path: Path) -> None:
    source = {
        "import": "import time\nprint('beginning', flush=True)\ntime.sleep(600)\n",
        "on_startup": "import asyncio\nfrom fastws import FastWS\napp = FastWS()\n@app.on_startup\n"
        "async def start():\n    print('beginning', flush=True)\n    await asyncio.Event().wait()\n",
    }[where]
    (tmp_path / "slow.py").write_text(source)
    options = ("--workers", "2", "--port", "0", "--admin-port", "-1", "--app-dir", str(tmp_path))
    command = [sys.executable, "-m", "fastws", *options, "slow:app"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "beginning\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
        assert process.wait(30) == 0


def test_a_signal_ends_the_wait_for_a_silent_redis() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "fastws", "--workers", "2", "--port", "0", "--admin-port", "-1"]
        with subprocess.Popen([*command, "--redis", url], stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(30)
            peer, _ = silent.accept()  # the first worker asks, and is told nothing
            with peer:
                process.send_signal(signal.SIGTERM)
                _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "cannot start" not in errors


def test_a_port_in_use_exits_3() -> None:
    with servers(source=APP) as server:
        with pytest.raises(ServerFailed, match=r"exited 3 (.|\n)*cannot listen on 127\.0\.0\.1:\d+"):
            servers("--port", str(server.port)).start()
        assert ask(server)


def test_a_second_signal_stops_at_once() -> None:
    with servers("--drain-timeout", "60", "--drain-rate", "1", source=APP) as server, connected(server, 30) as clients:
        server.signal(signal.SIGTERM)
        wait_until(lambda: told(server, "SIGTERM: draining"))
        server.signal(signal.SIGTERM)
        assert server.wait(30) == 1
        codes = [client.read_close()[0] for client, _ in clients]
        assert set(codes) <= {1001, 1012}
        assert 1001 in codes


def test_newcomers_are_refused_until_all_have_drained() -> None:
    with servers("--drain-timeout", "60", "--drain-rate", "1", source=APP) as server, connected(server, 1) as clients:
        server.signal(signal.SIGTERM)
        assert clients[0][0].read_close()[0] == 1012
        for _ in range(10):
            with RawClient(server.host, server.port) as late:
                late.send(late.request("/echo"))
                assert late.read_response().status == 503
        clients[0][0].send_close(1012)
        assert server.wait(30) == 0


def test_signals_to_the_workers_themselves_are_the_supervisors_business() -> None:
    with servers(source=APP) as server:
        before = workers_of(server)
        for pid in [*before.values(), *zygotes_of(server)]:
            for number in (
                signal.SIGTERM,
                signal.SIGINT,
                signal.SIGHUP,
                signal.SIGUSR1,
                signal.SIGTTIN,
                signal.SIGTTOU,
            ):
                os.kill(pid, number)
        for _ in range(10):
            assert ask(server)
        assert workers_of(server) == before


def test_a_zygote_that_dies_is_replaced() -> None:
    with servers(source=APP) as server:
        before = workers_of(server)
        (zygote,) = zygotes_of(server)
        kill_and_wait(zygote)
        wait_until(lambda: len(zygotes_of(server)) == 1 and zygotes_of(server) != [zygote])
        assert workers_of(server) == before
        kill_and_wait(before[0])
        wait_until(lambda: replaced(before, workers_of(server), 0))
        for _ in range(10):
            assert ask(server)


def test_nobody_outlives_the_supervisor() -> None:
    with servers(source=APP) as server:
        family = children(server.pid)
        assert len(family) == 4  # with the zygote and Redis
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in family))
        # It was killed on purpose.
        server.process.returncode = 0


def test_one_worker_more_and_one_fewer() -> None:
    with servers(source=APP) as server, Storm(server) as storm:
        server.signal(signal.SIGTTIN)
        wait_until(lambda: sorted(workers_of(server)) == [0, 1, 2])
        third = workers_of(server)[2]
        wait_until(lambda: any(answer.startswith(f"{third} ") for answer in storm.answers))
        with connected(server, 30) as clients:
            theirs = [client for client, pid in clients if pid == third]
            assert theirs
            server.signal(signal.SIGTTOU)
            for client in theirs:
                assert client.read_close()[0] == 1012
                client.send_close(1012)
            wait_until(lambda: not is_alive(third))
            for client, pid in clients:
                if pid != third:
                    client.send_text("still here")
                    assert client.read_message() == "still here"
        storm.wait_for(100)
        assert sorted(workers_of(server)) == [0, 1]
        server.signal(signal.SIGTTOU)
        wait_until(lambda: sorted(workers_of(server)) == [0])
        storm.wait_for(50)
        server.signal(signal.SIGTTOU)
        wait_until(lambda: told(server, "SIGTTOU is ignored: there is one worker"))
    assert storm.troubles == {}


def test_no_worker_more_where_nothing_would_connect_them() -> None:
    with servers("--admin-port", "0", source=APP, workers=1) as server:
        server.signal(signal.SIGTTIN)
        wait_until(lambda: told(server, "SIGTTIN is ignored: without Redis"))
        assert sorted(workers_of(server)) == [0]


def test_limits_hold_for_all_workers_together() -> None:
    options = ("--max-connections", "12", "--max-connections-per-ip", "5")
    with servers(*options, source=APP) as server:
        clients = []
        statuses = []
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            for _ in range(6):
                client = RawClient(server.host, server.port, source=address)
                clients.append(client)
                client.send(client.request("/echo"))
                statuses.append(client.read_response().status)
        assert statuses == [101] * 5 + [429] + [101] * 5 + [429] + [101] * 2 + [503] * 4
        pids = set()
        for client, status in zip(clients, statuses, strict=True):
            if status == 101:
                client.send_text("who")
                answer = client.read_message()
                assert isinstance(answer, str)
                pids.add(int(answer.split()[0]))
        assert len(pids) == 2
        victim = pids.pop()
        kill_and_wait(victim)
        wait_until(lambda: victim not in workers_of(server).values() and len(workers_of(server)) == 2)
        assert ask(server)  # what the dead one had counted was given back
        for client in clients:
            client.close()


def test_a_unix_socket(tmp_path: Path) -> None:
    place = tmp_path / "socket"
    with servers("--uds", str(place), source=APP) as server:
        assert server.lines == [f"listening on unix:{place}"]
        before = workers_of(server)

        def status() -> bytes:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(30)
                sock.connect(str(place))
                sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                return sock.recv(4096)[:13]

        assert status() == b"HTTP/1.1 200 "
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "all workers have been replaced"), 30)
        assert not set(before.values()) & set(workers_of(server).values())
        assert {status() for _ in range(10)} == {b"HTTP/1.1 200 "}
    assert not place.exists()


def test_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}

        def next_news() -> bytes:
            return wait_until(lambda: (news := manager.recv(100)) != b"WATCHDOG=1" and news, 30)

        with servers(env=env, source=APP) as server:
            assert next_news() == b"READY=1"
            assert manager.recv(100) == b"WATCHDOG=1"
            server.signal(signal.SIGHUP)
            assert next_news().startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert next_news() == b"READY=1"
            server.signal(signal.SIGTERM)
            assert next_news() == b"STOPPING=1"
            assert server.wait(30) == 0


def test_log_files_are_opened_again_by_all(tmp_path: Path) -> None:
    log, config = tmp_path / "log", tmp_path / "log.toml"
    config.write_text(
        f'version = 1\n[formatters.own]\nformat = "%(process)d %(message)s"\n[handlers.file]\nformatter = "own"\n'
        f'class = "logging.FileHandler"\nfilename = "{log}"\n[root]\nlevel = "INFO"\nhandlers = ["file"]\n'
    )
    with servers("--log-config", str(config), source=APP) as server, connected(server, 20) as clients:
        log.rename(tmp_path / "old")
        server.signal(signal.SIGUSR1)
        wait_until(log.exists)
        pids = {pid for _, pid in clients}

        def all_write() -> bool:
            for client, _ in clients:
                client.send_text("log")
            return {int(line.split()[0]) for line in log.read_text().splitlines()} >= pids

        wait_until(all_write)
        victim = workers_of(server)[0]
        kill_and_wait(victim)
        wait_until(lambda: workers_of(server).get(0, victim) != victim)
        (tmp_path / "old").write_text("")

        def new_one_writes() -> bool:
            with connected(server, 4) as more:
                for client, _ in more:
                    client.send_text("log")
            return f"{workers_of(server)[0]} here it is" in log.read_text()

        wait_until(new_one_writes)
        assert (tmp_path / "old").read_text() == ""


def test_threads_that_importing_starts_are_named() -> None:
    thread = "threading.Thread(target=time.sleep, args=(600,), name='early bird', daemon=True)"
    source = f"{APP}\nimport threading\n{thread}.start()\n"
    with servers(source=source) as server:
        assert ask(server)
        (line,) = [str(event["event"]) for event in events(server) if "has started threads" in str(event["event"])]
        assert "importing tested_app:app has started threads" in line
        assert "early bird" in line


def test_what_workers_leave_behind_is_collected(tmp_path: Path) -> None:
    stays = tmp_path / "stays"
    stays.touch()
    orphan = f"(while [ -e {stays} ]; do sleep 0.05; done) & exec sleep 0.1"
    source = APP + "\nimport subprocess\n@app.raw('/orphan')\ndef orphan(conn, message):\n"
    source += f"    subprocess.Popen(['sh', '-c', {orphan!r}])\n    conn.send('ok')\n"
    with servers(source=source) as server:
        with RawClient(server.host, server.port) as client:
            client.upgrade("/orphan")
            client.send_text("go")
            assert client.read_message() == "ok"

        def left() -> list[str]:
            listed = subprocess.run(
                ["ps", "--ppid", str(server.pid), "-o", "stat=,comm="], capture_output=True, text=True, check=False
            )
            return [line for line in listed.stdout.splitlines() if line.startswith("Z") or line.endswith(" sh")]

        wait_until(left)
        stays.unlink()
        wait_until(lambda: not left())
