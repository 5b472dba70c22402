"""The supervisor's view of workers, with this test in the place of zygote and workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf

import pytest

from fastws.config import Settings
from fastws.errors import StartError
from fastws.net.listener import bind_tcp
from fastws.server.supervisor.control import Channel
from fastws.server.supervisor.crew import Crew
from fastws.server.supervisor.listening import Doors
from fastws.server.supervisor.places import Phase, Place, Process
from fastws_ext.shared import READY, Board
from tests.support.raw_client import RawClient
from tests.support.waiting import wait_until


class Stage:
    """Everything around a crew. `played` has the workers' ends of the channels by slot."""

    def __init__(self) -> None:
        self.board = Board.create(8, 16, 16)
        self.doors = Doors(Settings(port=0))
        self.handlers: dict[Channel, Callable[[], None]] = {}
        self.events: list[tuple[str, object]] = []
        self.played: dict[int, Channel] = {}
        self.hears = True
        self.crew = Crew(self.doors, [], self.board, self, self.handlers.__setitem__, self.unwatch)

    def unwatch(self, channel: Channel) -> None:
        self.handlers.pop(channel, None)

    # A zygote.

    def fork(self, worker: int, slot: int, channel: Channel, listeners: Sequence[int], admin: Sequence[int]) -> bool:
        del worker, admin
        assert len(listeners) == 1
        if self.hears:
            self.played[slot] = Channel.adopt(os.dup(channel.fileno()), blocking=False)
        return self.hears

    # A supervisor.

    def on_ready(self, process: Process) -> None:
        self.events.append(("ready", process.slot))

    def on_end(self, process: Process, code: int) -> None:
        self.events.append((f"end {code}", process.slot))

    def on_failure(self, error: StartError) -> None:
        self.events.append(("failure", str(error)))

    # What happens.

    def spawn(self, place: Place) -> Process:
        process = self.crew.spawn(place, self, 0)  # type: ignore[arg-type]
        assert process is not None
        return process

    def ready(self, place: Place) -> Process:
        """A process that has come as far as to serve."""
        process = self.spawn(place)
        self.say(process, "started")
        assert self.heard(process) == "go"
        seat = self.board.seat(process.slot)
        seat.open(1, place.number, 100)
        seat.state = READY
        seat.beat(time.monotonic_ns(), 0, 0, 0, works=True)
        self.say(process, "ready")
        return process

    def say(self, process: Process, kind: str, **fields: object) -> None:
        self.played[process.slot].send(kind, **fields)
        self.handlers[process.channel]()

    def heard(self, process: Process) -> str:
        try:
            message = self.played[process.slot].receive()
        except BlockingIOError:
            return ""
        return message.kind if message is not None else "gone"

    def hang_up(self, process: Process) -> None:
        self.played.pop(process.slot).close()
        self.handlers[process.channel]()

    def close(self) -> None:
        for channel in self.played.values():
            channel.close()
        for process in self.crew.processes.values():
            process.channel.close()
        for place in self.crew.places.values():
            self.doors.remove(place.door)
        self.doors.close()
        os.close(self.board.fd)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def reached(stage: Stage, place: Place, count: int = 20) -> int:
    """How many of so many clients come to this place."""
    host, _, port = stage.doors.address.removeprefix("http://").partition(":")
    before = place.door.queue()
    for _ in range(count):
        RawClient(host, int(port)).close()
    return place.door.queue() - before


def test_newcomers_go_to_those_who_are_ready(stage: Stage) -> None:
    first, second = stage.crew.add_place(), stage.crew.add_place()
    assert (first.number, second.number) == (0, 1)
    stage.ready(first)
    other = stage.spawn(second)
    assert not second.door.is_open
    stage.say(other, "started")
    assert second.door.is_open
    assert reached(stage, first) == 20
    assert stage.events == [("ready", 0)]


def test_a_successor_takes_the_place(stage: Stage) -> None:
    place = stage.crew.add_place()
    old = stage.ready(place)
    new = stage.spawn(place)
    assert place.processes == [old, new]
    assert stage.heard(old) == ""
    stage.say(new, "started")
    stage.say(new, "ready")
    assert stage.heard(old) == "retire"
    assert (place.process, place.successor) == (new, None)
    assert (old.phase, new.phase) == (Phase.RETIRING, Phase.READY)
    stage.hang_up(old)
    assert stage.events[-1] == ("end 1", old.slot)
    assert place.process is new


def test_a_successor_that_never_comes_changes_nothing(stage: Stage) -> None:
    place = stage.crew.add_place()
    old = stage.ready(place)
    new = stage.spawn(place)
    stage.hang_up(new)
    assert stage.events[-1] == ("end 1", new.slot)
    assert place.processes == [old]
    assert stage.heard(old) == ""
    assert old.phase is Phase.READY


def test_a_zygote_that_does_not_hear(stage: Stage) -> None:
    place = stage.crew.add_place()
    stage.hears = False
    assert stage.crew.spawn(place, stage, 0) is None  # type: ignore[arg-type]
    assert place.processes == []
    assert stage.crew.processes == {}


def test_when_there_are_no_slots_left(stage: Stage) -> None:
    places = [stage.crew.add_place() for _ in range(9)]
    for place in places[:8]:
        stage.spawn(place)
    assert stage.crew.spawn(places[8], stage, 0) is None  # type: ignore[arg-type]
    assert stage.crew.has_room(4)
    assert not stage.crew.has_room(5)


def test_the_end_of_all_waits_for_the_last(stage: Stage) -> None:
    first, second = (stage.ready(stage.crew.add_place()) for _ in range(2))
    stage.crew.stop()
    assert [stage.heard(process) for process in (first, second)] == ["stop", "stop"]
    stage.say(first, "drained")
    assert not stage.crew.let_go()
    assert stage.heard(first) == ""
    stage.say(second, "drained")
    assert not stage.crew.let_go()
    assert [stage.heard(process) for process in (first, second)] == ["exit", "exit"]
    stage.hang_up(first)
    stage.hang_up(second)
    assert stage.crew.let_go()


def test_a_place_that_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.server.supervisor.crew.REMOVAL_S", 0.05)
    first, second = (stage.crew.add_place() for _ in range(2))
    stage.ready(first)
    leaving = stage.ready(second)
    stage.crew.give_up_place(second)
    assert reached(stage, first) == 20
    time.sleep(0.06)
    stage.crew.see_to_leaving()
    assert stage.heard(leaving) == "retire"
    stage.say(leaving, "retired")
    assert not second.door.is_open
    assert reached(stage, first) == 20
    stage.hang_up(leaving)
    stage.crew.see_to_leaving()
    assert list(stage.crew.places) == [0]


def test_who_waits_at_a_place_that_is_given_up_is_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.server.supervisor.crew.REMOVAL_S", 0)
    first, second = (stage.crew.add_place() for _ in range(2))
    leaving = stage.ready(second)
    assert reached(stage, second, 3) == 3
    stage.ready(first)
    stage.crew.give_up_place(second)
    stage.crew.see_to_leaving()
    assert stage.heard(leaving) == ""
    for _ in range(3):
        second.door.sockets[0].accept()[0].close()
    stage.crew.see_to_leaving()
    assert stage.heard(leaving) == "retire"


def test_who_hangs_is_killed_and_collected(stage: Stage) -> None:
    place = stage.crew.add_place()
    child = subprocess.Popen(["sleep", "60"])
    process = stage.ready(place)
    stage.say(process, "hello", pid=child.pid)
    stage.crew.kill_who_hangs(30)
    stage.crew.collect()
    assert child.poll() is None
    assert stage.board.figures(process.slot).state == READY
    time.sleep(0.05)
    stage.crew.kill_who_hangs(0.01)

    def collected() -> bool:
        stage.crew.collect()
        return place.process is None

    wait_until(collected)
    assert stage.events[-1] == (f"end {-signal.SIGABRT}", process.slot)
    assert stage.board.all() == []
    child.returncode = -signal.SIGABRT


def test_who_hangs_leaves_a_trace(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fastws.server.supervisor.crew.LAST_WORD_S", 60.0)
    source = (
        "import faulthandler, time\nfaulthandler.enable({})\n"
        "def stuck():\n    print(flush=True)\n    time.sleep(60)\nstuck()\n"
    )
    place = stage.crew.add_place()
    trace_fd = os.memfd_create("trace")
    command = [sys.executable, "-c", source.format(trace_fd)]
    with subprocess.Popen(command, pass_fds=[trace_fd], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        process = stage.ready(place)
        stage.played[process.slot].send("hello", [trace_fd], pid=child.pid)
        os.close(trace_fd)
        stage.handlers[process.channel]()
        stage.crew.kill_who_hangs(0)
        wait_until(lambda: stage.crew.collect() or place.process is None)
        child.returncode = -signal.SIGABRT
    (record,) = [record for record in caplog.records if "was here when it ended" in record.message]
    assert "in stuck" in str(record.stack_info)


def test_who_does_not_die_of_that_is_killed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.server.supervisor.crew.LAST_WORD_S", 0.05)
    place = stage.crew.add_place()
    ignoring = "trap '' ABRT; echo; exec sleep 60"
    with subprocess.Popen(["sh", "-c", ignoring], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        process = stage.ready(place)
        stage.say(process, "hello", pid=child.pid)
        stage.crew.kill_who_hangs(0)
        wait_until(lambda: stage.crew.collect() or place.process is None)
        assert stage.events[-1] == (f"end {-signal.SIGKILL}", process.slot)
        child.returncode = -signal.SIGKILL


def test_who_takes_long_is_named_with_what_it_waits_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = stage.crew.add_place()
    old = stage.ready(place)
    new = stage.spawn(place)
    stage.say(new, "hello", pid=1 << 30, drain_timeout_s=30.0)
    stage.say(new, "waits", what="on_startup in load_model")
    stage.crew.see_to_slow()
    assert not caplog.records
    new.since_s -= 61
    for _ in range(2):
        stage.crew.see_to_slow()
    assert [record.message for record in caplog.records] == [
        f"worker 0 (process {1 << 30}) has not come as far as to serve for 61 s: it waits for on_startup in load_model"
    ]
    old.drain_timeout_s = 30.0
    stage.crew.retire(old)
    old.since_s -= 89
    stage.crew.see_to_slow()
    assert len(caplog.records) == 1
    old.since_s -= 2
    stage.crew.see_to_slow()
    assert "has not ended for 61 s: it waits for its handlers or on_shutdown" in caplog.records[-1].message
    old.since_s -= 540
    assert old.kill_at_s == inf
    stage.crew.see_to_slow()
    assert old.kill_at_s < inf


def test_the_end_of_all_waits_for_nobody_without_a_bound(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    place = stage.crew.add_place()
    process = stage.ready(place)
    stage.say(process, "hello", pid=1 << 30, drain_timeout_s=30.0)
    stage.crew.stop()
    process.since_s -= 89
    stage.crew.see_to_slow()
    assert not caplog.records
    process.since_s -= 2
    stage.crew.see_to_slow()
    assert "has not ended for 61 s" in caplog.text
    process.since_s -= 540
    stage.crew.see_to_slow()
    assert process.kill_at_s < inf


def test_who_is_given_up_may_end_by_itself_before_it_is_killed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.server.supervisor.crew.LAST_CHANCE_S", 0.05)
    place = stage.crew.add_place()
    stage.ready(place)
    with subprocess.Popen(["sleep", "60"]) as child:
        process = stage.spawn(place)
        stage.say(process, "hello", pid=child.pid)
        stage.crew.give_up(process)
        assert stage.heard(process) == "retire"
        wait_until(lambda: stage.crew.collect() or place.successor is None)
        assert stage.events[-1] == (f"end {-signal.SIGABRT}", process.slot)
        child.returncode = -signal.SIGABRT


def test_who_hangs_before_it_was_ready_is_killed_once_it_is_to_end(stage: Stage) -> None:
    place = stage.crew.add_place()
    with subprocess.Popen(["sleep", "20"]) as child:
        process = stage.spawn(place)
        stage.say(process, "hello", pid=child.pid)
        seat = stage.board.seat(process.slot)
        seat.open(child.pid, place.number, 100)
        seat.beat(time.monotonic_ns() - 31 * 10**9, 0, 0, 0, works=True)
        stage.crew.kill_who_hangs(30)
        assert child.poll() is None  # an application may take its time to start
        stage.crew.stop()
        stage.crew.kill_who_hangs(30)
        assert child.wait(10) == -signal.SIGABRT


def test_a_port_that_somebody_took_before_anybody_listened(stage: Stage) -> None:
    process = stage.spawn(stage.crew.add_place())
    (other,) = bind_tcp(*process.place.door.sockets[0].getsockname())
    with other:
        other.listen()
        stage.say(process, "started")
    ((kind, text),) = stage.events
    assert kind == "failure"
    assert "in use" in str(text)
