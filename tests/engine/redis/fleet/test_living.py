"""Who lives, as far as one process can see."""

from __future__ import annotations

import pytest

from fastws.engine.redis.fleet.living import Living, name_of, number_of

ME, OTHER, THIRD = "n1.1.aa", "n2.2.bb", "n.3.3.cc"


class Sight:
    """What one process sees; a lease of 10 s, looked at every 2."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.living = Living(lambda: self.now_s)
        self.living.begin(ME, 10.0)
        self.beats = {ME: 1, OTHER: 1, THIRD: 1}
        self.claims: dict[str, str] = {}
        self.look()

    def look(self) -> None:
        self.beats[ME] += 1
        self.living.saw(3, self.beats, self.claims, 4.0)

    def go_on(self, seconds: int, *beating: str) -> None:
        for _ in range(seconds // 2):
            self.now_s += 2
            for node in beating:
                self.beats[node] += 1
            self.look()


def test_ids() -> None:
    assert [number_of(node) for node in (ME, THIRD, "x", "", "a.b", "a.x.b", f"a.{'9' * 30}.b")] == [
        1,
        3,
        0,
        0,
        0,
        0,
        0,
    ]
    assert [name_of(node) for node in (ME, THIRD, "x", "")] == ["n1", "n.3", "x", ""]


def test_who_beats_lives() -> None:
    sight = Sight()
    sight.go_on(40, OTHER, THIRD)
    assert sight.living.others() == [OTHER, THIRD]
    assert (sight.living.dead, sight.living.to_bury()) == ([], [])


def test_who_does_not_beat_for_a_while_is_quiet() -> None:
    sight = Sight()
    sight.go_on(2, THIRD)
    assert not sight.living.is_quiet(OTHER)
    sight.go_on(2, THIRD)
    assert [sight.living.is_quiet(node) for node in (OTHER, THIRD, ME, "n.9.new")] == [True, False, False, False]
    assert sight.living.is_living(OTHER)
    sight.living.look_away()
    assert not sight.living.is_quiet(OTHER)


def test_who_does_not_beat_for_a_lease_is_dead() -> None:
    sight = Sight()
    sight.go_on(8, THIRD)
    assert sight.living.is_living(OTHER)
    sight.go_on(2, THIRD)
    assert not sight.living.is_living(OTHER)
    assert sight.living.others() == [THIRD]
    assert sight.living.dead == [OTHER]
    assert sight.living.to_bury() == [(OTHER, "1")]
    sight.go_on(2, OTHER, THIRD)
    assert sight.living.is_living(OTHER)


def test_a_beat_that_goes_back_is_a_sign_of_life() -> None:
    sight = Sight()
    sight.go_on(8)
    sight.beats[OTHER] -= 1
    sight.go_on(8)
    assert sight.living.is_living(OTHER)


@pytest.mark.parametrize("is_told", [True, False])
def test_who_looked_away_gives_everybody_the_time_of_a_lease(is_told: bool) -> None:
    sight = Sight()
    sight.go_on(8)
    sight.now_s += 30  # this process was stopped, and maybe all of them
    if is_told:
        sight.living.look_away()
        assert sight.living.is_living(OTHER)
    sight.look()
    assert sight.living.others() == [OTHER, THIRD]
    sight.go_on(8)
    assert sight.living.others() == [OTHER, THIRD]
    sight.go_on(2)
    assert sight.living.others() == []


def test_who_is_newer_than_what_was_seen_is_believed() -> None:
    sight = Sight()
    assert sight.living.is_living("n4.4.dd")
    assert not sight.living.is_living("n0.2.xx")
    assert not sight.living.is_living("strange")
    assert sight.living.is_living(ME)
    sight.living.begin("n1.9.ee", 10.0)
    assert not sight.living.is_living("n4.4.dd"), "unless it was seen by now"


def test_who_is_buried_is_dead_until_that_is_over() -> None:
    sight = Sight()
    del sight.beats[OTHER]
    sight.claims[OTHER] = f"{THIRD} 0"
    sight.go_on(2, THIRD)
    assert sight.living.dead == [OTHER]
    assert sight.living.is_claimed(OTHER)
    assert sight.living.to_bury() == []
    sight.claims[OTHER] = f"{THIRD} 1"
    sight.go_on(10, THIRD)
    assert sight.living.to_bury() == []
    sight.go_on(2, THIRD)
    assert sight.living.to_bury() == [(OTHER, f"{THIRD} 1")]
    sight.claims.clear()
    sight.go_on(2, THIRD)
    assert sight.living.dead == []
