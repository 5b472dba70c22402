"""What a Redis server sends is followed as hiredis parses it, and stopped before it takes more than it may."""

from __future__ import annotations

import random

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws_ext.replies import ReplyGuard

TOO_LARGE = "it sent an answer that is larger than one may be"
TOO_DEEP = "it sent lists within lists, deeper than they may be"
NO_RESP = "it does not speak the protocol of Redis"
ATTRIBUTE = "it sent an attribute, which nobody has asked for"

NOTHING = object()
KINDS = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":-12\r\n",
    b"$3\r\na\r\n\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"%0\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(123\r\n",
    b"=5\r\ntxt:a\r\n",
]


def fed(guard: ReplyGuard, data: bytes, rng: random.Random | None = None, most: int = 9) -> int:
    """How many bytes are let through, given in one piece or in many."""
    if rng is None:
        return guard.check(data)
    passed = 0
    while passed < len(data):
        some = data[passed : passed + rng.randrange(1, most)]
        good = guard.check(some)
        passed += good
        if good < len(some):
            break
    return passed


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """Any answer that hiredis takes."""

    def nested(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        lists = st.tuples(st.sampled_from("*~>"), st.lists(inner, max_size=4)).map(
            lambda pair: f"{pair[0]}{len(pair[1])}\r\n".encode() + b"".join(pair[1])
        )
        maps = st.lists(st.sampled_from([b"+a\r\n", b":1\r\n", b"$1\r\n\r\r\n"]), max_size=3).map(
            lambda keys: b"%%%d\r\n" % len(keys) + b"".join(key + b":5\r\n" for key in keys)
        )
        return lists | maps

    return draw(st.recursive(st.sampled_from(KINDS), nested, max_leaves=12))


@given(st.lists(replies(), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_it_ends_where_the_parser_ends(answers: list[bytes], rng: random.Random) -> None:
    """A byte more than the last one is the beginning of the next, for both."""
    guard, parser = ReplyGuard(1 << 20), hiredis.Reader(notEnoughData=NOTHING)
    for answer in answers:
        assert fed(guard, answer, rng) == len(answer)
        parser.feed(answer)
        assert parser.gets() is not NOTHING
        assert parser.gets() is NOTHING
    assert guard.problem == ""
    assert guard.check(b"x") == 0
    assert guard.problem == NO_RESP


@given(st.binary(max_size=60) | st.lists(st.sampled_from([*KINDS, b"*2\r\n", b"%1\r\n", b"\r", b"\n"])).map(b"".join))
def test_what_the_parser_takes_is_let_through(data: bytes) -> None:
    guard, parser = ReplyGuard(1 << 20), hiredis.Reader(notEnoughData=NOTHING)
    passed = guard.check(data)
    parser.feed(data)
    try:
        while parser.gets() is not NOTHING:
            pass
    except (hiredis.HiredisError, TypeError):
        return  # what the parser refuses by itself need not be refused before
    if not parser.has_data():
        assert guard.problem in {"", ATTRIBUTE, TOO_LARGE}
        assert passed == len(data) or guard.problem


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"*4294967295\r\n", TOO_LARGE),
        (b">99999999\r\n", TOO_LARGE),
        (b"~99999999\r\n", TOO_LARGE),
        (b"%7000\r\n", TOO_LARGE),
        (b"$1048577\r\n", TOO_LARGE),
        (b"=999999999999999999\r\n", TOO_LARGE),
        (b"*13000\r\n*200\r\n", TOO_LARGE),
        (b"*2\r\n$1000000\r\n" + b"x" * 1_000_002 + b"$50000\r\n", TOO_LARGE),
        (b"+" + b"x" * 65_537, TOO_LARGE),
        (b"*12000\r\n" + b"-E\r\n" * 100, TOO_LARGE),
        (b"*16\r\n" + (b"+" + b"x" * 65_536 + b"\r\n") * 16, TOO_LARGE),
        (b"*1\r\n" * 17, TOO_DEEP),
        (b"*2\r\n:1\r\n" * 17, TOO_DEEP),
        (b"|1\r\n", ATTRIBUTE),
        (b"hello\r\n", NO_RESP),
        (b"$-2\r\n", NO_RESP),
        (b"$--1\r\n", NO_RESP),
        (b"*\r\n", NO_RESP),
        (b"*1 \r\n", NO_RESP),
        (b"*?\r\n", NO_RESP),
        (b"*1\n", NO_RESP),
        (b"+a\rb\r\n", NO_RESP),
        (b"*" + b"1" * 19, NO_RESP),
        (b"!3\r\nabc\r\n", NO_RESP),
    ],
)
def test_what_may_not_be(data: bytes, problem: str) -> None:
    good = b"*2\r\n$3\r\nabc\r\n:1\r\n"
    for rng in (None, random.Random(1)):
        guard = ReplyGuard(1 << 20)
        passed = fed(guard, good + data, rng, 5000)
        assert len(good) <= passed <= len(good + data)
        assert guard.problem == problem
        assert guard.check(good) == 0, "nothing is let through any more"
        assert guard.problem == problem


def test_everything_up_to_the_limits_is_let_through() -> None:
    guard = ReplyGuard(1 << 20)
    for data in (
        b"$1048576\r\n" + b"x" * 1_048_578,
        b"*12000\r\n" + b":1\r\n" * 12_000,
        b"*1\r\n" * 16 + b":1\r\n",
        b"+" + b"x" * 65_536 + b"\r\n",
        b"-" + b"x" * 65_536 + b"\r\n",
    ):
        for _ in range(3):
            assert guard.check(data) == len(data)
            assert guard.problem == ""


def test_it_takes_bytes_alone() -> None:
    guard = ReplyGuard(1 << 20)
    for wrong in (None, "text", bytearray(b"x")):
        with pytest.raises(TypeError):
            guard.check(wrong)  # type: ignore[arg-type]
