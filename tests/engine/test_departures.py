"""When users left is known of those who left the last, at a cost that does not grow with their number."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from fastws.engine.departures import Departures

MOST = 16

users = st.sampled_from([f"u{number}" for number in range(40)])


@given(st.lists(st.tuples(st.sampled_from(["leaves", "returns"]), users), max_size=120))
def test_the_last_ones_are_known(events: list[tuple[str, str]]) -> None:
    departures, model = Departures(MOST), dict[str, int]()
    for now_ms, (event, user) in enumerate(events, 1):
        model.pop(user, None)
        if event == "leaves":
            departures.note(user, now_ms)
            model[user] = now_ms
        else:
            departures.forget(user)
    assert len(departures) <= MOST
    known = {user: departures.when_ms(user, 0) for user in model}
    assert all(known[user] in (None, left_ms) for user, left_ms in model.items())
    assert all(departures.when_ms(f"u{number}", 0) is None for number in range(40) if f"u{number}" not in model)


def test_many_who_leave_push_out_only_the_oldest() -> None:
    departures = Departures(MOST)
    for number in range(100):
        departures.note(f"u{number}", number)
    assert MOST * 7 // 8 <= len(departures) <= MOST
    assert [departures.when_ms(f"u{number}", -1) for number in range(100 - MOST * 7 // 8, 100)] == list(
        range(100 - MOST * 7 // 8, 100)
    )


def test_what_is_too_long_ago_is_not_told_and_its_memory_is_given_back() -> None:
    departures = Departures(MOST)
    for number in range(10):
        departures.note(f"u{number}", 1000 + number)
    assert departures.when_ms("u3", 1002) == 1003
    assert departures.when_ms("u3", 1003) is None
    departures.forget_until(1003)
    assert departures.when_ms("u9", 0) == 1009
    assert len(departures) == 6
    departures.forget_until(2000)
    assert len(departures) == 0
    departures.forget_until(3000)
    departures.note("u1", 4000)
    assert departures.when_ms("u1", 0) == 4000


def test_who_leaves_again_is_known_by_the_last_time() -> None:
    departures = Departures(MOST)
    for now_ms in range(1, 50):
        departures.note("u", now_ms)
        departures.note(f"other{now_ms}", now_ms)
    assert departures.when_ms("u", 0) == 49


def test_where_all_have_come_back_there_is_no_memory_left() -> None:
    departures = Departures(8000)
    for number in range(900):
        departures.note(f"u{number}", number)
    for number in range(900):
        departures.forget(f"u{number}")
    assert [sys.getsizeof(generation) for generation in departures._generations] == [sys.getsizeof({})]
