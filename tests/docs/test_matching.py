"""What a page shows and what was said: what counts as the same."""

from typing import Any

import pytest

from tests.docs.matching import Names


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({"a": 1}, {"a": 1}),
        ({"message": "…"}, {"message": "anything"}),
        ({"server": "fastws/…"}, {"server": "fastws/1.2.3"}),
        ({"ts": 1717024000000}, {"ts": 5}),
        ({"members": {"…": {"user": "7"}}}, {"members": {"x-1": {"user": "7"}}}),
        ({"members": {"…": {"user": "7"}, "…2": {"user": "8"}}}, {"members": {"b": {"user": "8"}, "a": {"user": "7"}}}),
        ({"a": 1, "…": "…"}, {"a": 1, "b": 2}),
        ([{"epoch": "e"}, {"epoch": "e"}], [{"epoch": "real"}, {"epoch": "real"}]),
    ],
)
def test_the_same(shown: Any, said: Any) -> None:
    Names().match(shown, said)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        ({"ts": 1}, {"ts": "1"}),
        ({"server": "fastws/…"}, {"server": "nginx"}),
        ([1], [1, 2]),
        ({"members": {"…": {"user": "7"}}}, {"members": {"x": {"user": "8"}}}),
        ({"members": {"…": {"user": "7"}}}, {"members": {}}),
        ([{"epoch": "e"}, {"epoch": "e"}], [{"epoch": "one"}, {"epoch": "another"}]),
    ],
)
def test_not_the_same(shown: Any, said: Any) -> None:
    with pytest.raises(AssertionError):
        Names().match(shown, said)


def test_what_was_learnt_is_said_back() -> None:
    names = Names()
    names.match({"epoch": "e1", "conn": "c"}, {"epoch": "7f", "conn": "a-1"})
    assert names.translated({"recover": {"epoch": "e1", "offset": 3}}) == {"recover": {"epoch": "7f", "offset": 3}}
    names.match({"c": 1}, {"a-1": 1})
