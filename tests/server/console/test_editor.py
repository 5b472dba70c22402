"""The line editor: keys in, lines and drawings out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.server.console.editor import PROMPT, LineEditor

LEFT, RIGHT, UP, DOWN, HOME, END, DELETE = (
    b"\x1b[D",
    b"\x1b[C",
    b"\x1b[A",
    b"\x1b[B",
    b"\x1b[H",
    b"\x1b[F",
    b"\x1b[3~",
)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (b"hello\r", "hello"),
        (b"hello\n", "hello"),
        (b"\r", ""),
        ("grüß 你好 👍\r".encode(), "grüß 你好 👍"),
        (b"helo" + LEFT + b"l\r", "hello"),
        (b"hellp\x7fo\r", "hello"),
        (b"\x7f\x7fx\r", "x"),
        (b"world" + HOME + b"hello \r", "hello world"),
        (b"b\x01a\x05c\r", "abc"),
        (b"xab" + HOME + DELETE + b"\r", "ab"),
        (b"xab\x01\x04\r", "ab"),
        (b"abc" + LEFT + LEFT + b"\x0b\r", "a"),
        (b"abc" + LEFT + b"\x15\r", "c"),
        (b"one two  \x17three\r", "one three"),
        (b"one\x17\r", ""),
        (b"a\tb\r", "a b"),
        (b"a\x1b[1;5Cb\x1bOPc\x1bxd\x00\r", "abcd"),
        (b"ab" + RIGHT + RIGHT + b"c" + LEFT * 9 + b"-\r", "-abc"),
        (b"a\xffb\r", "a\ufffdb"),
    ],
)
def test_keys(keys: bytes, line: str) -> None:
    assert LineEditor().feed(keys) == [line]
    one_by_one = LineEditor()
    assert [done for key in keys for done in one_by_one.feed(bytes([key]))] == [line]


def test_several_lines_at_once() -> None:
    assert LineEditor().feed(b"one\ntwo\nth") == ["one", "two"]


def test_ctrl_d_ends_only_an_empty_line() -> None:
    editor = LineEditor()
    assert editor.feed(b"\x04") == [None]
    assert editor.feed(b"a\x04") == []


def test_history_goes_up_and_down_and_keeps_what_was_typed() -> None:
    editor = LineEditor()
    editor.feed(b"one\rtwo\rtwo\r")
    assert editor.history == ["one", "two"]
    editor.feed(b"dra")
    for key, expected in [(UP, "two"), (UP, "one"), (UP, "one"), (DOWN, "two"), (DOWN, "dra"), (DOWN, "dra")]:
        editor.feed(key)
        assert editor.text == expected
    assert editor.feed(UP + b"!\r") == ["two!"]


def test_the_drawing_replaces_the_row_and_places_the_cursor() -> None:
    editor = LineEditor()
    assert editor.render(80) == f"\r\x1b[K{PROMPT}"
    editor.feed(b"abc" + LEFT + LEFT)
    assert editor.render(80) == f"\r\x1b[K{PROMPT}abc\x1b[2D"
    editor.feed(END + "你好".encode() + LEFT)
    assert editor.render(80) == f"\r\x1b[K{PROMPT}abc你好\x1b[2D"


def test_a_long_line_shows_where_the_cursor_is() -> None:
    editor = LineEditor()
    editor.feed(b"0123456789")
    assert editor.render(10).endswith(f"{PROMPT}3456789")
    editor.feed(HOME)
    assert editor.render(10).endswith(f"{PROMPT}0123456\x1b[7D")


@given(st.lists(st.one_of(st.binary(max_size=4), st.sampled_from([LEFT, RIGHT, UP, DOWN, HOME, END, DELETE, b"\r"]))))
def test_no_keys_break_it(keys: list[bytes]) -> None:
    editor = LineEditor()
    for key in keys:
        editor.feed(key)
        assert 0 <= editor.cursor <= len(editor.text)
        drawn = editor.render(20)
        assert not re.search(r"[\x00-\x08\x0a-\x0c\x0e-\x1a\x7f]", drawn)
