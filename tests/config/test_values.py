"""Kinds of values: what each takes, what it refuses, and how it is written back."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.config.values import (
    LONGEST_S,
    Choice,
    Duration,
    Flag,
    Integer,
    Items,
    Text,
    WrongValueError,
    did_you_mean,
    nearest,
    read_duration,
    to_toml,
)


def test_durations_within_bounds() -> None:
    kind = Duration(minimum=0.5, maximum=2.0)
    assert [kind.read(raw) for raw in ("500ms", 1, "2s")] == [0.5, 1.0, 2.0]
    for raw in ("499ms", 0, "2.1"):
        with pytest.raises(WrongValueError, match=r"must be from 0\.5 to 2 seconds"):
            kind.read(raw)
    assert kind.described.endswith(", 0.5 to 2")
    assert Duration().described == "seconds, or `500ms` `10m` `1h`"


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("25", 25.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("10m", 600.0),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        ("1d", 86400.0),
        (25, 25.0),
        (2.5, 2.5),
    ],
)
def test_durations(raw: object, seconds: float) -> None:
    assert read_duration(raw) == seconds


@pytest.mark.parametrize(
    "raw",
    ["", "x", "10 m", "1e3", "10min", "h", "٣", "-1", "-1m", "400d", "inf", "nan", -1, float("inf"), True, None, []],
)
def test_no_durations(raw: object) -> None:
    with pytest.raises(ValueError, match="must"):
        read_duration(raw)


@given(st.floats(0, LONGEST_S / 3600, allow_subnormal=False).map(lambda number: round(number, 3)))
def test_units_multiply(number: float) -> None:
    text = f"{number:.3f}"
    assert read_duration(text) == pytest.approx(number)
    assert read_duration(f"{text}ms") == pytest.approx(number / 1000)
    assert read_duration(f"{text}m") == pytest.approx(number * 60)
    assert read_duration(f"{text}h") == pytest.approx(number * 3600)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = Duration().read(text)
    except ValueError:
        return
    assert 0 <= seconds <= LONGEST_S


@pytest.mark.parametrize(("raw", "number"), [("7", 7), (7, 7), ("-1", -1), ("auto", 42)])
def test_integers(raw: object, number: int) -> None:
    assert Integer(minimum=-1, words={"auto": lambda: 42}).read(raw) == number


@pytest.mark.parametrize(
    "raw", ["", "7.0", "+7", " 7", "7_000", "٣", "-2", 7.0, True, "2147483648", "9" * 5000, "Auto"]
)
def test_no_integers(raw: object) -> None:
    with pytest.raises(ValueError, match="must"):
        Integer(minimum=-1, words={"auto": lambda: 42}).read(raw)


@pytest.mark.parametrize(
    ("raw", "value"), [("true", True), ("FALSE", False), ("1", True), ("0", False), (True, True), (1, True), (0, False)]
)
def test_flags(raw: object, value: bool) -> None:
    assert Flag().read(raw) is value


@pytest.mark.parametrize("raw", ["", "yes", "on", "2", 2, 1.0, None, []])
def test_no_flags(raw: object) -> None:
    with pytest.raises(ValueError, match="true, false, 1 or 0"):
        Flag().read(raw)


def test_choices_are_exact() -> None:
    choice = Choice(("text", "json"))
    assert choice.read("json") == "json"
    assert choice.metavar == "text|json"
    for raw in ("JSON", "", "xml", 1):
        with pytest.raises(ValueError, match="one of text, json"):
            choice.read(raw)


def test_lists() -> None:
    items = Items("X", lambda text: "no" if text == "bad" else None)
    assert items.read("a, b,,c ") == ("a", "b", "c")
    assert items.read(["a", "b"]) == ("a", "b")
    assert items.read("") == ()
    for raw in ("a,bad", ["bad"], ["a", 1], 3, True, {"a": 1}):
        with pytest.raises(ValueError, match=r"no|list of texts"):
            items.read(raw)


def test_texts_are_texts() -> None:
    assert Text().read("x") == "x"
    with pytest.raises(ValueError, match="in quotes"):
        Text().read(3)


@given(
    st.one_of(
        st.booleans(),
        st.integers(-(2**31), 2**31),
        st.floats(0, LONGEST_S),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=3),
    )
)
def test_written_toml_reads_back(value: object) -> None:
    assert tomllib.loads(f"x = {to_toml(value)}") == {"x": value}


def test_the_nearest_name() -> None:
    assert nearest("ping_intervall", ["ping_timeout", "ping_interval", "port"]) == "ping_interval"
    assert did_you_mean("prot", ["port", "path"]) == "; the nearest known is 'port'"
