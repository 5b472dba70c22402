"""The model finds faults that are planted: one in each promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from fastws.core.publication import Position
from fastws.engine import memory
from fastws.engine.contract import Recovery
from fastws.hub.hub import Hub
from fastws.hub.news import News
from fastws.hub.topic import Topic
from fastws.hub.watch import Meeting, Watch
from tests.model.machine import Conversation
from tests.model.test_stage import AtOnce, Losing, Slowly

Plant = Callable[[pytest.MonkeyPatch], None]


def replace(patch: pytest.MonkeyPatch, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    patch.setattr(owner, name, make(getattr(owner, name)))


def gaps_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    def make(_: Any) -> Any:
        return lambda self, topic, arrival: self._pass_on(topic, arrival)

    replace(patch, Watch, "take", make)


def what_came_meanwhile_is_not_in_the_reply(patch: pytest.MonkeyPatch) -> None:
    def make(meet: Any) -> Any:
        def faulty(self: Watch, topic: Topic, recovery: Recovery) -> Meeting | None:
            meeting: Meeting | None = meet(self, topic, recovery)
            return meeting._replace(more=()) if meeting is not None else None

        return faulty

    replace(patch, Watch, "meet", make)


def what_came_meanwhile_is_heard_twice(patch: pytest.MonkeyPatch) -> None:
    def make(meet: Any) -> Any:
        def faulty(self: Watch, topic: Topic, recovery: Recovery) -> Meeting | None:
            meeting: Meeting | None = meet(self, topic, recovery)
            return meeting._replace(skip=0) if meeting is not None else None

        return faulty

    replace(patch, Watch, "meet", make)


def trimmed_is_recovered(patch: pytest.MonkeyPatch) -> None:
    def make(recover: Any) -> Any:
        def faulty(self: Any, topic: str, retention: Any, since: Position | None) -> Recovery:
            recovery: Recovery = recover(self, topic, retention, since)
            return recovery._replace(recovered=since is not None and since.epoch == recovery.position.epoch)

        return faulty

    replace(patch, memory.MemoryEngine, "recover", make)


def recovery_is_too_careful(patch: pytest.MonkeyPatch) -> None:
    def make(recover: Any) -> Any:
        def faulty(self: Any, topic: str, retention: Any, since: Position | None) -> Recovery:
            recovery: Recovery = recover(self, topic, retention, since)
            if len(recovery.publications) > 2:
                return recovery._replace(recovered=False, publications=())
            return recovery

        return faulty

    replace(patch, memory.MemoryEngine, "recover", make)


def lost_is_not_told(patch: pytest.MonkeyPatch) -> None:
    replace(patch, Hub, "lose", lambda _: lambda self, topic: None)


def the_audience_hears_after_unsub(patch: pytest.MonkeyPatch) -> None:
    replace(patch, Hub, "unsubscribe", lambda _: lambda self, conn, topic: None)


def outages_are_not_made_up_for(patch: pytest.MonkeyPatch) -> None:
    replace(patch, Watch, "catch_up", lambda _: lambda self, topics: None)
    replace(patch, Watch, "_fetch", lambda _: lambda self, topic, arrival: self._pass_on(topic, arrival))


def joins_are_forgotten_though_listed(patch: pytest.MonkeyPatch) -> None:
    replace(patch, News, "listed", lambda _: lambda self: None)


def leaves_are_not_told(patch: pytest.MonkeyPatch) -> None:
    def make(note: Any) -> Any:
        return lambda self, change: note(self, change) if change.joined else None

    replace(patch, News, "note", make)


@pytest.mark.parametrize(
    ("machine", "plant"),
    [
        (Losing, gaps_are_not_noticed),
        (Slowly, what_came_meanwhile_is_not_in_the_reply),
        (Slowly, what_came_meanwhile_is_heard_twice),
        (AtOnce, trimmed_is_recovered),
        (AtOnce, recovery_is_too_careful),
        (Losing, lost_is_not_told),
        (AtOnce, the_audience_hears_after_unsub),
        (Losing, outages_are_not_made_up_for),
        (AtOnce, joins_are_forgotten_though_listed),
        (AtOnce, leaves_are_not_told),
    ],
    ids=lambda value: value.__name__,
)
def test_a_planted_fault_is_found(machine: type[Conversation], plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    tries = settings(
        max_examples=500,
        stateful_step_count=40,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    with pytest.raises(BaseException):  # noqa: B017, PT011 - whatever the clients say about it
        run_state_machine_as_test(machine, settings=tries)
