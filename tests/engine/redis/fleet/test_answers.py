"""What Redis may answer, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.engine.redis.fleet.answers import items, number, pairs, text
from fastws.errors import EngineError


def test_answers_as_they_should_be() -> None:
    assert items(None) == ()
    assert items([1, b"x"]) == [1, b"x"]
    expected = [(b"a", b"1"), (b"b", b"2")]
    for answer in ([b"a", b"1", b"b", b"2"], [[b"a", b"1"], [b"b", b"2"]], {b"a": b"1", b"b": b"2"}):
        assert list(pairs(answer)) == expected
    assert list(pairs([])) == []
    assert [number(7), number(b"-12")] == [7, -12]
    assert text("\ud800".encode("utf-8", "surrogatepass")) == "\ud800"


@pytest.mark.parametrize(
    ("reads", "answer"),
    [
        (items, 1), (items, b"x"), (pairs, b"x"), (pairs, [1, 2]), (pairs, [[b"a"]]), (pairs, {b"a": 1}),
        (number, b""), (number, b"x"), (number, None), (number, b"1" * 21), (text, 1), (text, b"\xff"), (text, None),
    ],
)  # fmt: skip
def test_answers_as_they_should_not_be(reads: Any, answer: Any) -> None:
    with pytest.raises(EngineError, match="strange"):
        reads(answer)
