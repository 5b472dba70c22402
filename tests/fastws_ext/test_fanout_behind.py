"""Audiences behind others: who is in both hears what was published to the first before anything of the second."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws_ext.fanout import Audience
from tests.fastws_ext.crowd import Crowd, frames_of
from tests.fastws_ext.stage import UNHURRIED_NS, staging

CROWD = 1500


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with staging() as stage:
        crowd = Crowd(stage, CROWD)
        yield crowd
        for member in crowd.members:
            member.wire.abort()
        crowd.settle()


@settings(max_examples=30)
@given(
    st.lists(st.one_of(st.sampled_from(("first", "second")), st.integers(1, 3)), max_size=12),
    st.sampled_from((0, 3, 63, 64, 700, CROWD)),
    st.sampled_from((3, 64, CROWD)),
    st.sampled_from((0, UNHURRIED_NS)),
)
def test_one_thing_is_heard_before_the_other(
    crowd: Crowd, script: list[str | int], inner: int, outer: int, pass_ns: int
) -> None:
    crowd.refresh()
    crowd.stage.loop_data.pass_ns = pass_ns
    first, second = Audience(crowd.stage.loop_data), Audience(crowd.stage.loop_data)
    second.behind = first
    for member in crowd.members[:inner]:
        first.add(member.wire)
    for member in crowd.members[:outer]:
        second.add(member.wire)
    for number, step in enumerate(script):
        if isinstance(step, int):
            for _ in range(step):
                crowd.stage.turn()
        else:
            {"first": first, "second": second}[step].publish(frames_of(number))
    crowd.settle()
    for index, member in enumerate(crowd.members):
        if member.wire.codec == 2:
            continue
        heard = member.heard()
        for_it = {"first": index < inner, "second": index < outer}
        assert sorted(heard) == [n for n, step in enumerate(script) if isinstance(step, str) and for_it[step]]
        # What was published to the first one is never heard after what was published to the second one later.
        for place, number in enumerate(heard):
            if script[number] == "first":
                assert not [n for n in heard[:place] if n > number]
    crowd.stage.loop_data.pass_ns = UNHURRIED_NS


def test_what_waits_is_bounded_in_both(crowd: Crowd) -> None:
    crowd.refresh()
    crowd.stage.loop_data.pass_ns = 0
    first, second = Audience(crowd.stage.loop_data), Audience(crowd.stage.loop_data)
    second.behind = first
    for member in crowd.members[:100]:
        first.add(member.wire)
        second.add(member.wire)
    for number in range(600):
        first.publish(frames_of(2 * number))
        second.publish(frames_of(2 * number + 1))
    crowd.settle()
    crowd.stage.loop_data.pass_ns = UNHURRIED_NS
    for member in crowd.members[:100]:
        if member.wire.codec < 2:
            heard = member.heard()
            assert [n for n in heard if n % 2] == list(range(1, 1200, 2))
            assert [n for n in heard if not n % 2] == list(range(0, 1200, 2))
            assert all(heard.index(n) < heard.index(n + 1) for n in range(0, 1200, 200))


def test_part_of_the_members(crowd: Crowd) -> None:
    crowd.refresh()
    audience = Audience(crowd.stage.loop_data)
    for member in crowd.members[:5]:
        audience.add(member.wire)
    assert [len(audience.wires(limit)) for limit in (None, 0, 3, 5, 9, -1)] == [5, 0, 3, 5, 5, 0]
    assert set(audience.wires(3)) < set(audience.wires())


def test_nothing_else_can_be_in_front(crowd: Crowd) -> None:
    audience = Audience(crowd.stage.loop_data)
    assert audience.behind is None
    with pytest.raises(TypeError):
        audience.behind = crowd  # type: ignore[assignment]
