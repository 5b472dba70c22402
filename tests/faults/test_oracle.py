"""An oracle that cannot fail is worth nothing: logs in which something is lost, repeated, mixed up or made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.faults.oracle import Ear, Figures, Oracle, Sending

ALWAYS = [(0.0, 1000.0)]
KEPT, PLAIN = "kept:1", "plain:1"


class Log:
    """A publisher and two subscribers, who hear what they are told to hear."""

    def __init__(self, topic: str = KEPT) -> None:
        self.oracle = Oracle()
        self.topic = topic
        self.now_s = 1.0
        self.ears = [self.oracle.ear(name, topic) for name in ("ann", "ben")]
        for ear in self.ears:
            self.subscribe(ear, None)

    def result(self, position: tuple[str, int], **fields: Any) -> dict[str, Any]:
        place = {"epoch": position[0], "offset": position[1]} if self.topic == KEPT else {}
        return {"topic": self.topic, "recovered": False, "publications": [], **place, **fields}

    def subscribe(self, ear: Ear, since: tuple[str, int] | None, at: tuple[str, int] = ("a", 0), **fields: Any) -> None:
        self.now_s += 0.01
        ear.began(self.result(at, **fields), since, self.now_s)

    def say(self, number: int, offset: int | None = None, *, epoch: str = "a", ears: Sequence[int] = (0, 1)) -> Sending:
        """Message `number` is published, acknowledged, and heard by some."""
        self.now_s += 0.01
        sending = self.oracle.begin(f"m{number}", self.topic, "p", number, self.now_s)
        for index in ears:
            self.hear(index, number, offset)
        self.oracle.acked(
            sending, {"epoch": epoch, "offset": offset or number} if self.topic == KEPT else {}, self.now_s
        )
        return sending

    def hear(self, index: int, number: int, offset: int | None = None) -> None:
        self.ears[index].hear(publication(number, offset), self.now_s)

    def judge(self, *, may_lose: bool = False) -> tuple[Figures, set[str]]:
        figures = self.oracle.judge(ALWAYS, may_lose=may_lose)
        return figures, {kind for kind, _ in self.oracle.violations}


def publication(number: int, offset: int | None = None) -> dict[str, Any]:
    return {"data": f"m{number}", "offset": offset or number, "ts": 0}


def test_nothing_is_wrong_where_everything_is_heard() -> None:
    log = Log()
    for number in (1, 2, 3):
        log.say(number)
    figures, wrong = log.judge()
    assert not wrong
    assert (figures.sent, figures.acked, figures.delivered) == (3, 3, 6)
    assert (figures.lost, figures.duplicated, figures.told) == (0, 0, 0)


def test_a_gap() -> None:
    log = Log()
    log.say(1)
    log.say(2, ears=[0])
    log.say(3)
    assert log.judge()[1] == {"gap"}


def test_the_last_message_is_missing() -> None:
    log = Log()
    log.say(1)
    log.say(2, ears=[0])
    figures, wrong = log.judge()
    assert wrong == {"lost"}
    assert figures.lost == 1


@pytest.mark.parametrize("topic", [KEPT, PLAIN])
def test_a_message_comes_twice(topic: str) -> None:
    log = Log(topic)
    log.say(1)
    log.hear(1, 1)
    figures, wrong = log.judge()
    assert wrong == {"duplicate"}
    assert figures.duplicated == 1


def test_a_message_comes_again_at_another_place() -> None:
    log = Log()
    log.say(1)
    log.hear(0, 1, 2)
    log.hear(1, 1, 2)
    figures, wrong = log.judge()
    assert wrong == {"duplicate"}
    assert figures.duplicated == 2


def test_two_subscribers_hear_another_order() -> None:
    log = Log()
    log.oracle.begin("m1", KEPT, "p", 1, log.now_s)
    log.oracle.begin("m2", KEPT, "p", 2, log.now_s)
    log.hear(0, 1, 1)
    log.hear(0, 2, 2)
    log.hear(1, 2, 1)
    log.hear(1, 1, 2)
    assert log.judge()[1] == {"disagreement"}


def test_the_publisher_was_told_another_place() -> None:
    log = Log()
    sending = log.oracle.begin("m1", KEPT, "p", 1, log.now_s)
    log.hear(0, 1, 1)
    log.hear(1, 1, 1)
    log.oracle.acked(sending, {"epoch": "a", "offset": 2}, log.now_s)
    log.oracle.begin("m2", KEPT, "p", 2, log.now_s)
    log.hear(0, 2, 2)
    assert "disagreement" in log.judge()[1]


def test_the_order_of_a_publisher_without_history() -> None:
    log = Log(PLAIN)
    log.say(1, ears=[0])
    log.say(2)
    log.hear(1, 1)
    assert log.judge()[1] == {"order"}


def test_a_message_that_nobody_said() -> None:
    log = Log()
    log.hear(0, 7, 1)
    assert log.judge()[1] == {"ghost"}


def test_what_is_heard_without_a_subscription() -> None:
    log = Log(PLAIN)
    log.ears[0].ended(log.now_s)
    log.oracle.begin("m1", PLAIN, "p", 1, log.now_s)
    log.hear(0, 1)
    assert log.judge()[1] == {"unasked"}


def test_recovery_brings_what_was_missed() -> None:
    log = Log()
    log.say(1)
    log.ears[1].ended(log.now_s)
    log.say(2, ears=[0])
    log.subscribe(log.ears[1], ("a", 1), ("a", 2), recovered=True, publications=[publication(2)])
    log.say(3)
    assert log.judge()[1] == set()


@pytest.mark.parametrize("numbers", [[], [3], [2], [2, 2, 3], [3, 2]])
def test_recovery_brings_something_else(numbers: list[int]) -> None:
    log = Log()
    log.say(1)
    log.ears[1].ended(log.now_s)
    log.say(2, ears=[0])
    log.say(3, ears=[0])
    said = [publication(number) for number in numbers]
    log.subscribe(log.ears[1], ("a", 1), ("a", 3), recovered=True, publications=said)
    assert log.judge()[1]


def test_who_was_told_of_a_gap_has_lost_nothing() -> None:
    log = Log()
    log.say(1)
    log.ears[1].ended(log.now_s)
    log.say(2, ears=[0])
    log.subscribe(log.ears[1], ("a", 1), ("a", 2))
    log.say(3)
    figures, wrong = log.judge()
    assert not wrong
    assert (figures.told, figures.lost) == (1, 0)


def test_an_epoch_that_ends_with_what_only_some_have_heard() -> None:
    """Ann has heard what Redis has lost, and is told; Ben has not, is told that nothing is missing, and lost it."""
    log = Log()
    log.say(1)
    log.say(2, ears=[0])
    for ear in log.ears:
        ear.ended(log.now_s)
    log.subscribe(log.ears[0], ("a", 2), ("b", 1))
    log.subscribe(log.ears[1], ("a", 1), ("b", 1), recovered=True)
    log.say(3, 2, epoch="b")
    figures, wrong = log.judge(may_lose=True)
    assert not wrong
    assert (figures.lost, figures.told) == (1, 1)
    assert log.judge()[1] == {"lost"}


def test_what_is_acknowledged_while_redis_is_away() -> None:
    log = Log()
    log.oracle.away.append((log.now_s, log.now_s + 5, ""))
    log.say(1)
    assert log.judge()[1] == {"lie"}


def test_what_one_node_acknowledges_that_was_cut_off() -> None:
    log = Log()
    log.oracle.away.append((log.now_s, log.now_s + 5, "n1"))
    for number, node in ((1, "n2"), (2, "n1")):
        sending = log.oracle.begin(f"m{number}", KEPT, "p", number, log.now_s)
        sending.last_node = node
        for index in (0, 1):
            log.hear(index, number)
        log.oracle.acked(sending, {"epoch": "a", "offset": number}, log.now_s)
        assert {kind for kind, _ in log.oracle.violations} == (set() if node == "n2" else {"lie"})


def test_an_answer_that_says_for_whom_it_is_done() -> None:
    log = Log(PLAIN)
    log.oracle.away.append((log.now_s, log.now_s + 5, ""))
    sending = log.oracle.begin("m1", PLAIN, "p", 1, log.now_s)
    log.oracle.acked(sending, {"degraded": True}, log.now_s)
    figures, wrong = log.judge()
    assert not wrong
    assert figures.degraded == 1


def test_an_acknowledgement_without_a_place() -> None:
    log = Log()
    log.oracle.acked(log.oracle.begin("m1", KEPT, "p", 1, log.now_s), {"duplicate": False}, log.now_s)
    assert log.judge()[1] == {"lie"}


def test_a_refusal_of_another_kind() -> None:
    log = Log()
    log.oracle.refused(log.oracle.begin("m1", KEPT, "p", 1, log.now_s), 100, log.now_s)
    assert log.judge()[1] == {"answer"}


def test_without_history_nothing_is_missing_in_calm_times() -> None:
    log = Log(PLAIN)
    log.say(1, ears=[0])
    log.now_s += 5
    log.say(2)
    assert log.judge()[1] == {"lost"}
    quiet = Log(PLAIN)
    quiet.say(1, ears=[0])
    quiet.now_s += 5
    figures = quiet.oracle.judge([(3.0, 10.0)])
    assert not quiet.oracle.violations
    assert figures.missed == 1
