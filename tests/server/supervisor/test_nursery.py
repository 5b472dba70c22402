"""Zygotes: real ones, made, replaced, asked for a worker, and what is done when they fail."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastws.config import load
from fastws.server.supervisor.control import Channel
from fastws.server.supervisor.nursery import Nursery
from fastws_ext.shared import Board
from tests.server.supervisor.workers import is_alive, kill_and_wait
from tests.support.waiting import wait_until

GIVEN = {"port": "0", "admin_port": "-1"}


class Home:
    """What a supervisor does for a nursery."""

    def __init__(self, given: dict[str, str]) -> None:
        self.failures: list[int] = []
        self.selector = selectors.DefaultSelector()
        self.board = Board.create(4, 16, 16)
        self.nursery = Nursery(given, load(given, {}), "none", self.board.fd, self, self.watch, self.unwatch)

    def watch(self, channel: Channel, handler: Callable[[], None]) -> None:
        self.selector.register(channel, selectors.EVENT_READ, handler)

    def unwatch(self, channel: Channel) -> None:
        if channel in self.selector.get_map():
            self.selector.unregister(channel)

    def on_zygote_failure(self, code: int) -> None:
        self.failures.append(code)

    def go_round(self) -> bool:
        for key, _ in self.selector.select(0.01):
            key.data()
        self.nursery.collect()
        return True

    def until(self, condition: Callable[[], object], what: str) -> None:
        wait_until(lambda: self.go_round() and condition(), 20, what)


@pytest.fixture
def home() -> Iterator[Home]:
    home = Home(GIVEN)
    yield home
    home.nursery.kill()


def test_one_that_has_imported_everything_and_the_next(home: Home) -> None:
    nursery = home.nursery
    nursery.make_first()
    assert nursery.current is None
    home.until(lambda: nursery.current, "a zygote")
    first = nursery.current
    assert first is not None
    nursery.make_next()
    home.until(lambda: nursery.successor, "another one")
    second = nursery.successor
    assert second is not None
    assert (nursery.current, nursery.generation) == (first, 0)
    assert nursery.pids() == {first.pid, second.pid}
    nursery.promote()
    assert (nursery.current, nursery.successor, nursery.generation) == (second, None, 1)
    home.until(lambda: not is_alive(first.pid), "the end of the first")
    kill_and_wait(second.pid)
    home.until(lambda: nursery.current not in (None, second), "one in its place")
    assert home.failures == []
    nursery.close()
    home.until(nursery.is_empty, "the end of all")


def test_what_is_said_to_one_that_imports_is_heard_afterwards(tmp_path: Path) -> None:
    log, config, may_go_on = tmp_path / "log", tmp_path / "log.toml", tmp_path / "go"
    config.write_text(
        f'version = 1\n[handlers.file]\nclass = "logging.FileHandler"\nfilename = "{log}"\n'
        '[root]\nhandlers = ["file"]\n'
    )
    (tmp_path / "takes_long.py").write_text(
        "import os, time\nfrom fastws import FastWS\napp = FastWS()\n"
        f"while not os.path.exists({str(may_go_on)!r}):\n    time.sleep(0.01)\n"
    )
    home = Home({**GIVEN, "log_config": str(config), "app_dir": str(tmp_path), "app": "takes_long:app"})
    try:
        home.nursery.make_first()
        home.until(log.exists, "the log of one that imports")
        log.rename(tmp_path / "old")
        home.nursery.tell_all("reopen")
        may_go_on.touch()
        home.until(lambda: home.nursery.current, "a zygote")
        home.until(log.exists, "the log opened again")
    finally:
        home.nursery.kill()


def test_one_that_cannot_import_the_application(home: Home, tmp_path: Path) -> None:
    del home
    home = Home({**GIVEN, "app": "broken:app", "app_dir": str(tmp_path)})
    (tmp_path / "broken.py").write_text("1 / 0\n")
    home.nursery.make_first()
    home.until(lambda: home.failures == [4], "a failure")
    assert home.nursery.current is None


def test_one_that_can_no_longer_import_what_it_once_could(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody is just copying new code there, say: those who serve go on."""
    monkeypatch.setattr("fastws.server.supervisor.nursery._PAUSE_S", 0.1)
    del home
    home = Home({**GIVEN, "app": "changing:app", "app_dir": str(tmp_path)})
    nursery = home.nursery
    (tmp_path / "changing.py").write_text("from fastws import FastWS\napp = FastWS()\n")
    nursery.make_first()
    home.until(lambda: nursery.current, "a zygote")
    assert nursery.current is not None
    (tmp_path / "changing.py").write_text("1 / 0\n")
    kill_and_wait(nursery.current.pid)
    home.until(lambda: nursery.current is None, "the end of it")
    failed = nursery.pids()
    home.until(lambda: nursery.pids() - failed, "another attempt")
    (tmp_path / "changing.py").write_text("from fastws import FastWS\napp = FastWS()\n")
    home.until(lambda: nursery.current, "one that could")
    assert home.failures == []
    nursery.kill()


def test_the_next_one_that_fails_costs_nothing(home: Home) -> None:
    nursery = home.nursery
    nursery.make_first()
    home.until(lambda: nursery.current, "a zygote")
    nursery.make_next()
    assert not nursery.next_has_failed
    nursery.drop_next()  # killed while it imports
    assert nursery.next_has_failed
    assert nursery.current is not None
    assert home.failures == []


def test_what_cannot_change(home: Home) -> None:
    assert home.nursery.changes(load({**GIVEN, "max_topics": "5"}, {})) == []
    assert home.nursery.changes(load({**GIVEN, "port": "1", "prefix": "other"}, {})) == ["--port", "--prefix"]
