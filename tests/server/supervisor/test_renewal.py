"""HUP: new code and a new configuration, while clients come and go."""

from __future__ import annotations

import signal
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from fastws.server.process.notify import Notifier
from fastws.server.supervisor.renewal import Renewal
from tests.server.supervisor.test_crew import Stage
from tests.server.supervisor.workers import (
    APP,
    Storm,
    ask,
    connected,
    events,
    is_alive,
    kill_and_wait,
    servers,
    told,
    worker_processes,
    workers_of,
    zygotes_of,
)
from tests.support.certificates import self_signed
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until


def application(folder: Path, version: str, more: str = "") -> None:
    (folder / "renewed.py").write_text(APP.replace('"one"', f'"{version}"') + more, encoding="utf-8")


def renewable(folder: Path, *options: str, workers: int = 2) -> ServerProcess:
    application(folder, "one")
    return servers("--app-dir", str(folder), *options, workers=workers, app="renewed:app")


def count(server: ServerProcess, text: str) -> int:
    return sum(text in str(event["event"]) for event in events(server))


def test_new_code_runs_and_nobody_is_reset(tmp_path: Path) -> None:
    def leave(client: RawClient) -> int:
        client.socket.settimeout(30)
        code, _ = client.read_close()
        client.send_close(1012)
        return code

    with renewable(tmp_path, workers=3) as server, Storm(server) as storm, connected(server, 60) as clients:
        before = workers_of(server)
        application(tmp_path, "two")
        server.signal(signal.SIGHUP)
        with ThreadPoolExecutor(len(clients)) as pool:
            assert set(pool.map(leave, [client for client, _ in clients])) == {1012}
        wait_until(lambda: told(server, "all workers have been replaced"), 30)
        after = workers_of(server)
        assert sorted(after) == sorted(before)
        assert not set(after.values()) & set(before.values())
        storm.wait_for(100)
        wait_until(lambda: len(zygotes_of(server)) == 1)
        assert all(ask(server).endswith(" two") for _ in range(10))
    assert storm.troubles == {}


def test_a_configuration_that_changes(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("[limits]\nmax_message_size = 1000\n")
    with renewable(tmp_path, "--config", str(config)) as server:
        config.write_text('[limits]\nmax_message_size = 2000\n[server]\nbacklog = 7\n[engine]\nprefix = "other"\n')
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "all workers have been replaced"), 30)
        assert told(server, "SIGHUP: --backlog, --prefix cannot change until the server is started again")
        assert ask(server, "x" * 1500) == "x" * 1500
        with RawClient(server.host, server.port) as client:
            client.upgrade("/echo")
            client.send_text("x" * 2001)
            assert client.read_close()[0] == 1009


def test_what_cannot_run_changes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("")
    with renewable(tmp_path, "--config", str(config)) as server:
        before = workers_of(server)
        config.write_text("[server]\nprot = 1\n")
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "SIGHUP: the configuration is wrong"))
        config.write_text("")
        application(tmp_path, "two", "\nraise OSError('broken on purpose')\n")
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "the application could not be loaded: 2 workers stay as they are"))
        assert "broken on purpose" in server.stderr()
        application(tmp_path, "two", "\n@app.on_startup\ndef fail():\n    raise OSError('no disk')\n")
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "a new worker exited with 3 before it was ready: 2 workers stay as they are"))
        assert workers_of(server) == before
        assert all(ask(server).endswith(" one") for _ in range(6))
        application(tmp_path, "three")
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "all workers have been replaced"), 30)
        assert all(ask(server).endswith(" three") for _ in range(6))


def test_who_asks_twice_gets_it_once_more_afterwards(tmp_path: Path) -> None:
    with renewable(tmp_path) as server:
        for _ in range(3):
            server.signal(signal.SIGHUP)
            wait_until(lambda: count(server, "SIGHUP: replacing 2 workers") >= 1)
        wait_until(lambda: count(server, "all workers have been replaced") == 2, 30)
        assert count(server, "SIGHUP: replacing 2 workers") == 2


def test_the_end_of_a_server_that_is_being_renewed(tmp_path: Path) -> None:
    with renewable(tmp_path) as server:
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "SIGHUP: replacing 2 workers"))
        assert server.stop() == 0


class Nursery:
    """Zygotes that a test plays: one that has imported everything, and is asked for workers."""

    def __init__(self, zygote: Stage | None) -> None:
        self.given: dict[str, object] = {}
        self.generation = self.next_generation = 0
        self.next_imports_for_s = 0.0
        self.current = None
        self.successor = zygote
        self.made = 0
        self.next_has_failed = False

    def changes(self, settings: object) -> list[str]:
        del settings
        return []

    def make_next(self) -> None:
        self.made += 1
        self.next_generation += 1

    def drop_next(self) -> None:
        self.successor = None


def test_a_successor_that_cannot_be_forked_is_not_asked_for_again_at_once() -> None:
    with closing(Stage()) as stage:
        place = stage.crew.add_place()
        old = stage.ready(place)
        renewal = Renewal(stage.crew, Nursery(stage), Notifier({}))  # type: ignore[arg-type]
        renewal.ask()
        renewal.go_on()
        assert place.successor is not None
        stage.hang_up(place.successor)
        assert stage.events[-1][0] == "end 1"
        place.may_start_s = time.monotonic() + 60
        renewal.go_on()
        assert place.processes == [old]
        place.may_start_s = 0
        renewal.go_on()
        assert place.successor is not None


def test_a_new_worker_that_never_serves_ends_the_restart(caplog: pytest.LogCaptureFixture) -> None:
    with closing(Stage()) as stage:
        place = stage.crew.add_place()
        old = stage.ready(place)
        nursery = Nursery(stage)
        renewal = Renewal(stage.crew, nursery, Notifier({}))  # type: ignore[arg-type]
        renewal.ask()
        renewal.go_on()
        new = place.successor
        assert new is not None
        stage.say(new, "waits", what="on_startup in load_model")
        new.since_s -= 599
        renewal.go_on()
        assert nursery.successor is not None
        new.since_s -= 2
        renewal.go_on()
        assert nursery.successor is None
        assert "within 600 s, it waited for on_startup in load_model: 1 workers stay as they are" in caplog.text
        assert stage.heard(new) == "retire"
        assert (place.process, place.successor) == (old, new)
        renewal.ask()
        assert nursery.made == 1  # once this one has ended
        stage.hang_up(new)
        assert place.processes == [old]
        renewal.go_on()
        assert nursery.made == 2


def test_an_import_that_never_ends_ends_the_restart(caplog: pytest.LogCaptureFixture) -> None:
    with closing(Stage()) as stage:
        stage.ready(stage.crew.add_place())
        nursery = Nursery(None)
        renewal = Renewal(stage.crew, nursery, Notifier({}))  # type: ignore[arg-type]
        renewal.ask()
        renewal.go_on()
        nursery.next_imports_for_s = 601.0
        renewal.go_on()
        assert "the application was not loaded within 600 s: 1 workers stay as they are" in caplog.text


WAITS = """
import asyncio, pathlib
@app.on_startup
async def wait():
    here = pathlib.Path(__file__).parent
    if {condition}:
        (here / "waits").touch()
        while not (here / "go").exists():
            await asyncio.sleep(0.01)
        raise OSError("no disk")
"""


def test_an_old_worker_that_dies_while_its_successor_fails_is_replaced_by_one_like_it(tmp_path: Path) -> None:
    with renewable(tmp_path) as server:
        before = workers_of(server)
        application(tmp_path, "two", WAITS.format(condition=True))
        server.signal(signal.SIGHUP)
        wait_until((tmp_path / "waits").exists)
        successor = next(iter(set(workers_of(server).items()) - set(before.items())))
        kill_and_wait(before[successor[0]])
        wait_until(lambda: all(ask(server).endswith(" one") for _ in range(6)))
        wait_until(lambda: len(worker_processes(server)) == 3)
        (tmp_path / "go").touch()
        wait_until(lambda: told(server, "a new worker exited with 3 before it was ready: 2 workers stay as they are"))
        wait_until(lambda: not is_alive(successor[1]))
        assert all(ask(server).endswith(" one") for _ in range(6))
        wait_until(lambda: len(zygotes_of(server)) == 1)
        application(tmp_path, "three")
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "all workers have been replaced"), 30)
        assert all(ask(server).endswith(" three") for _ in range(6))


def test_a_new_worker_that_dies_while_others_are_to_follow_ends_the_restart(tmp_path: Path) -> None:
    with renewable(tmp_path) as server:
        before = workers_of(server)
        condition = "(here / 'first').exists() or (here / 'first').touch()"
        application(tmp_path, "two", WAITS.format(condition=condition))
        server.signal(signal.SIGHUP)
        wait_until((tmp_path / "waits").exists)
        wait_until(lambda: len(set(before.values()) & worker_processes(server)) == 1)
        (second,) = [number for number, pid in before.items() if is_alive(pid)]
        kill_and_wait(workers_of(server)[1 - second])
        text = "a new worker was killed by SIGKILL when it was ready: 2 workers stay as they are"
        wait_until(lambda: told(server, text))
        wait_until(lambda: all(ask(server).endswith(" one") for _ in range(6)))
        wait_until(lambda: len(worker_processes(server)) == 2)
        assert before[second] in worker_processes(server)
        application(tmp_path, "three")
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "all workers have been replaced"), 30)
        assert all(ask(server).endswith(" three") for _ in range(6))


def test_who_was_replaced_by_a_restart_that_failed_is_replaced_by_the_next(tmp_path: Path) -> None:
    with renewable(tmp_path) as server:
        condition = "(here / 'first').exists() or (here / 'first').touch()"
        application(tmp_path, "two", WAITS.format(condition=condition))
        (tmp_path / "go").touch()
        server.signal(signal.SIGHUP)
        text = "1 workers stay as they are; 1 that have been replaced go on with what is new, until they end"
        wait_until(lambda: told(server, text), 30)
        wait_until(lambda: {ask(server)[-3:] for _ in range(10)} == {"one", "two"})
        application(tmp_path, "three")
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "all workers have been replaced"), 30)
        assert all(ask(server).endswith(" three") for _ in range(6))


def test_certificates_are_read_again(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)

    def shown() -> bytes | None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with RawClient(server.host, server.port, tls=context) as client:
            client.upgrade("/echo")
            assert isinstance(client.socket, ssl.SSLSocket)
            return client.socket.getpeercert(binary_form=True)

    with renewable(tmp_path, *certificate.options) as server:
        first = shown()
        assert first == shown()
        self_signed(tmp_path)
        assert first == shown()
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "all workers have been replaced"), 30)
        assert all(shown() != first for _ in range(6))
        Path(certificate.certfile).write_text("nothing of the kind")
        server.signal(signal.SIGHUP)
        wait_until(lambda: told(server, "the configuration is wrong"))
        assert shown()
