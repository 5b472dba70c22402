"""Counting users by their connections."""

from fastws.hub.roll import Roll


def test_users_with_a_name_are_counted_once() -> None:
    roll = Roll()
    for user in ("ann", "ben", "ann", "", ""):
        roll.count(user)
    assert roll.users == {"ann": 2, "ben": 1}
    for user in ("ann", "", "ben"):
        roll.discount(user)
    assert roll.users == {"ann": 1}
    assert roll.news is None
