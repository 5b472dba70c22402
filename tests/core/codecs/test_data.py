"""What can be written as JSON."""

import datetime
import math
import tracemalloc
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.core.codecs.data import DataError, pack_data

DATE = datetime.datetime(2024, 5, 30, tzinfo=datetime.UTC)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


@given(json_values)
def test_json_comes_back(value: Any) -> None:
    assert orjson.loads(pack_data(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        bytearray(b"x"),
        2**64,
        -(2**63) - 1,
        {1: 2},
        {(1,): 2},
        "\ud800",
        {"a": [object()]},
        math.nan,
        [None, math.inf],
        {"a": {"b": -math.inf}, "c": None},
        (None, math.nan),
        {1, 2},
    ],
)
def test_what_has_no_form_in_json(value: object) -> None:
    with pytest.raises(DataError):
        pack_data(value)


def test_nesting_has_a_limit() -> None:
    deep: Any = 0
    for _ in range(1000):
        deep = [deep]
    with pytest.raises(DataError):
        pack_data(deep)


def test_the_word_null_is_no_fault() -> None:
    assert pack_data(["null", None, 1.5]) == b'["null",null,1.5]'


def test_dates_are_text_where_the_application_gives_them_and_wrong_where_a_client_does() -> None:
    assert pack_data(DATE) == b'"2024-05-30T00:00:00+00:00"'
    with pytest.raises(DataError):
        pack_data({"a": DATE}, of_client=True)


class Price(msgspec.Struct, rename="camel", omit_defaults=True):
    last_value: float
    at: datetime.datetime | None = None


@dataclass
class Point:
    x: float


class Model:
    """Stands for a model of pydantic."""

    def model_dump(self, mode: str) -> dict[str, object]:
        return {"mode": mode, "nested": Point(1.0)}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Price(1.5), {"lastValue": 1.5}),
        ([Price(1, DATE)], [{"lastValue": 1, "at": "2024-05-30T00:00:00Z"}]),
        ({"a": Point(0.5), "b": None}, {"a": {"x": 0.5}, "b": None}),
        ((Model(), None), [{"mode": "json", "nested": {"x": 1.0}}, None]),
    ],
)
def test_objects_of_declared_types_are_written_as_their_libraries_do(value: Any, written: Any) -> None:
    assert orjson.loads(pack_data(value)) == written
    if not isinstance(value, dict):
        with pytest.raises(DataError):
            pack_data(value, of_client=True)


@pytest.mark.parametrize("value", [Price(math.nan), [Point(math.inf)], {"a": {"b": Price(-math.inf)}}, {"a": object()}])
def test_they_are_no_way_around_the_rules(value: Any) -> None:
    with pytest.raises(DataError):
        pack_data(value)


@pytest.mark.parametrize("size", [1, 100, 5000, 70_000])
@pytest.mark.parametrize("of_client", [True, False])
def test_what_is_kept_takes_what_it_needs(size: int, of_client: bool) -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        packed = pack_data({"a": "x" * size}, of_client=of_client)
        assert tracemalloc.get_traced_memory()[0] - before < len(packed) + 200
    finally:
        tracemalloc.stop()
