"""Patterns of topics: what they match, which of several counts, what cannot be one."""

from __future__ import annotations

import re
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.core.patterns import PatternTable, compile_pattern
from fastws.errors import UsageError


def matched(pattern: str, topic: str) -> dict[str, str] | None:
    """The parameters of one pattern in a topic."""
    table: PatternTable[str] = PatternTable()
    table.add(compile_pattern(pattern), pattern)
    found = table.match(topic)
    assert (found is None) == (table.match_all(topic) == [])
    return None if found is None else found[1]


@pytest.mark.parametrize(
    ("pattern", "topic", "parameters"),
    [
        ("price", "price", {}),
        ("price", "prices", None),
        ("price", "price:eur", None),
        ("chat:{room}", "chat:7", {"room": "7"}),
        ("chat:{room}", "chat:a b.ä\u2028", {"room": "a b.ä\u2028"}),
        ("chat:{room}", "chat:", None),
        ("chat:{room}", "chat", None),
        ("chat:{room}", "chat:a:b", None),
        ("chat:{room}", "Chat:a", None),
        ("{x}", "a", {"x": "a"}),
        ("{x}", "a:b", None),
        ("{kind}:{id}:log", "order:5:log", {"kind": "order", "id": "5"}),
        ("{kind}:{id}:log", "order::log", None),
        ("dm:{a}-{b}", "dm:1-2", {"a": "1", "b": "2"}),
        ("dm:{a}-{b}", "dm:1-2-3", {"a": "1", "b": "2-3"}),
        ("dm:{a}-{b}", "dm:--2", {"a": "-", "b": "2"}),
        ("dm:{a}-{b}", "dm:-2", None),
        ("dm:{a}-{b}", "dm:1-", None),
        ("u{id}.{x}.z", "u1.2.z", {"id": "1", "x": "2"}),
        ("u{id}.{x}.z", "u1.z.z", {"id": "1", "x": "z"}),
        ("u{id}.{x}.z", "u.2.z", None),
        ("u{id}.{x}.z", "u1.2.z.z", {"id": "1", "x": "2.z"}),
        ("a.b", "aXb", None),
        ("a.{x}", "a.1", {"x": "1"}),
        ("a.{x}", "aX1", None),
        ("a*b", "a*b", {}),
        (":{x}:", ":1:", {"x": "1"}),
    ],
)
def test_what_matches(pattern: str, topic: str, parameters: dict[str, str] | None) -> None:
    assert matched(pattern, topic) == parameters


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (None, "no pattern"),
        (print, "no pattern"),
        ("", "empty"),
        ("chat:{}", "no name"),
        ("chat:{a b}", "no name"),
        ("chat:{class}", "no name"),
        ("chat:{5}", "no name"),
        ("chat:{room", "braces"),
        ("chat:room}", "braces"),
        ("chat:{{room}}", "braces"),
        ("chat:{a}{b}", "where one parameter ends"),
        ("{a}:{a}", "twice"),
        ("chat:*", "asterisk"),
        ("a\n{x}", "control"),
        ("x" * 256, "1 to 255 bytes"),
        ("x" * 255 + "{a}", "1 to 255 bytes"),
        ("\ud800", "UTF-8"),
    ],
)
def test_what_cannot_be_a_pattern(pattern: Any, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        compile_pattern(pattern)
    assert says in raised.value.message


def test_the_most_literal_characters_win_then_the_first() -> None:
    table: PatternTable[int] = PatternTable()
    patterns = [
        "{any}",
        "chat:{room}",
        "chat:{first}",
        "chat:a{rest}",
        "chat:{rest}aa",
        "chat:ab",
        "{ns}:ab",
        "chat:ab",
    ]
    for number, pattern in enumerate(patterns):
        table.add(compile_pattern(pattern), number)
    assert len(table) == 8
    assert table.match("chat:x") == (1, {"room": "x"})
    assert table.match("chat:ax") == (3, {"rest": "x"})
    assert table.match("chat:axaa") == (4, {"rest": "ax"})
    assert table.match("chat:ab") == (5, {})
    assert table.match("other:ab") == (6, {"ns": "other"})
    assert table.match("other") == (0, {"any": "other"})
    assert table.match("a:b:c") is None
    assert [value for value, _ in table.match_all("chat:ab")] == [1, 2, 3, 5, 6, 7]
    assert [pattern.text for pattern in table.patterns()] == patterns


def test_an_empty_table_matches_nothing() -> None:
    table: PatternTable[int] = PatternTable()
    assert (len(table), table.match("a"), table.match_all("a"), table.patterns()) == (0, None, [], [])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("chat:{room}", "chat:{name}", True),
        ("chat:{a}-{b}", "chat:{x}-{y}", True),
        ("chat:{a}-{b}", "chat:{x}_{y}", False),
        ("chat:{room}", "chat:x", False),
        ("chat:{room}", "chat:{room}:x", False),
        ("chat:{room}:x", "chat:{room}", False),
        ("price", "price", True),
    ],
)
def test_patterns_that_match_the_same(one: str, other: str, same: bool) -> None:
    table: PatternTable[str] = PatternTable()
    table.add(compile_pattern(one), one)
    assert (table.same(compile_pattern(other)) == one) is same
    assert (compile_pattern(one).shape == compile_pattern(other).shape) is same


def test_thousands_of_patterns_are_not_looked_through() -> None:
    table: PatternTable[int] = PatternTable()
    for number in range(5000):
        table.add(compile_pattern(f"area{number}:{{room}}:log"), number)
    root = table._root
    assert len(root.literals) == 5000
    assert table.match("area4999:5:log") == (4999, {"room": "5"})


@pytest.mark.parametrize("pattern", ["{a}a{b}a{c}a{d}a{e}b", "x{a}aa{b}aa{c}aa{d}!"])
def test_hostile_topics_take_no_longer(pattern: str) -> None:
    """A backtracking matcher would take minutes."""
    compiled = compile_pattern(pattern)
    table: PatternTable[int] = PatternTable()
    table.add(compiled, 1)
    began_s = thread_time()
    for _ in range(100):
        assert table.match("x" + "a" * 254) is None
    assert thread_time() - began_s < 1.0


NAMES = st.lists(st.sampled_from(["a", "b", "-", ":", "ab", "{p}", "{q}", "{r}"]), min_size=1, max_size=8)


@given(NAMES, st.text("ab-:", min_size=1, max_size=12))
def test_it_matches_what_a_backtracking_expression_does(pieces: list[str], topic: str) -> None:
    text = "".join(pieces)
    try:
        compiled = compile_pattern(text)
    except UsageError:
        return
    expression = "".join(f"(?P<{piece[1]}>[^:]+)" if piece.startswith("{") else re.escape(piece) for piece in pieces)
    expected = re.fullmatch(expression, topic)
    found = matched(text, topic)
    assert (found is None) == (expected is None)
    if found is not None:
        assert tuple(found) == compiled.names
        rebuilt = text
        for name, value in found.items():
            assert value
            assert ":" not in value
            rebuilt = rebuilt.replace(f"{{{name}}}", value, 1)
        assert rebuilt == topic
