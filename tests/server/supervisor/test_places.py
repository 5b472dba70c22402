"""Places of workers: who holds them, and how many have died there."""

from __future__ import annotations

from fastws.server.supervisor.control import Channel
from fastws.server.supervisor.listening import Door
from fastws.server.supervisor.places import DEATHS_WITHIN_S, MAX_DEATHS, Deaths, Phase, Place, Process


def test_deaths_are_counted_for_a_while() -> None:
    deaths = Deaths()
    assert [deaths.note(float(second)) for second in range(MAX_DEATHS)] == [1, 2, 3, 4, 5]
    assert deaths.note(DEATHS_WITHIN_S) == 5
    assert deaths.note(3 * DEATHS_WITHIN_S) == 1


def test_who_dies_again_is_replaced_a_little_later_and_never_after_two_seconds() -> None:
    place = Place(0, Door([]))
    pauses = []
    for death in range(MAX_DEATHS):
        now = 100.0 + death
        assert place.note_death(now) is (death == MAX_DEATHS - 1)
        pauses.append(place.may_start_s - now)
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] < 2


def test_who_holds_a_place() -> None:
    place = Place(3, Door([]))
    ours, theirs = Channel.pair()
    first, second = (Process(place, slot, ours, 0) for slot in range(2))
    assert place.processes == []
    place.process, place.successor = first, second
    assert place.processes == [first, second]
    place.forget(first)
    assert place.processes == [second]
    place.forget(second)
    assert place.processes == []
    assert first.phase is Phase.STARTING
    assert not place.is_leaving
    ours.close()
    theirs.close()
