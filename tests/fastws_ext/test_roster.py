"""The roster does what a dict of numbers does, in less memory."""

import gc
import random
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws_ext.roster import Roster
from fastws_ext.wire import Wire
from tests.fastws_ext.crowd import Crowd
from tests.fastws_ext.stage import staging

CROWD = 600


@pytest.fixture(scope="module")
def wires() -> Iterator[list[Wire]]:
    with staging() as stage:
        crowd = Crowd(stage, CROWD)
        yield [member.wire for member in crowd.members]
        for member in crowd.members:
            member.wire.abort()
        crowd.settle()


some = st.builds(slice, st.integers(0, CROWD), st.integers(0, CROWD), st.integers(1, 9))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), some), max_size=12), st.integers())
def test_it_is_like_a_dict(wires: list[Wire], operations: list[tuple[bool, slice]], seed: int) -> None:
    roster, model = Roster(), dict[int, Wire]()
    for adds, which in operations:
        chosen = wires[which]
        random.Random(seed).shuffle(chosen)
        for wire in chosen:
            if adds:
                assert roster.add(wire) is (wire.number not in model)
                model[wire.number] = wire
            else:
                assert roster.discard(wire) is (model.pop(wire.number, None) is not None)
        assert len(roster) == len(model)
        assert all(roster.get(wire.number) is model.get(wire.number) for wire in wires)
        assert {wire.number for wire in roster.wires()} == set(model)


def test_an_empty_one_knows_nobody(wires: list[Wire]) -> None:
    roster = Roster()
    assert not roster
    assert roster.get(0) is None
    assert roster.get(2**64 - 1) is None
    assert wires[0] not in roster
    assert roster.wires() == []
    with pytest.raises(OverflowError):
        roster.get(2**64)
    with pytest.raises(OverflowError):
        roster.get(-1)


@pytest.mark.parametrize("wrong", [None, "1", 1])
def test_only_connections_are_taken(wrong: object) -> None:
    with pytest.raises(TypeError):
        Roster().add(wrong)  # type: ignore[arg-type]


def test_it_takes_little_memory_and_gives_it_back(wires: list[Wire]) -> None:
    roster = Roster()
    for wire in wires:
        roster.add(wire)
    (places,) = (held for held in gc.get_referents(roster) if isinstance(held, list))
    assert sys.getsizeof(places) <= 22 * CROWD
    for wire in wires:
        roster.discard(wire)
    (places,) = (held for held in gc.get_referents(roster) if isinstance(held, list))
    assert len(places) == 16


def test_it_keeps_what_is_in_it(wires: list[Wire]) -> None:
    roster, wire = Roster(), wires[0]
    before = sys.getrefcount(wire)
    roster.add(wire)
    assert sys.getrefcount(wire) == before + 1
    assert wire in gc.get_referents(next(held for held in gc.get_referents(roster) if isinstance(held, list)))
    del roster
    assert sys.getrefcount(wire) == before
