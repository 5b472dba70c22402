"""Data that has to fit a type."""

from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from fastws.core.codecs.schemas import MisfitError, fit, schema_problem


class Price(msgspec.Struct):
    symbol: str
    value: float


class Said(TypedDict):
    text: str


class Strange:
    """A class of its own."""


class Model:
    """Stands for a model of pydantic: what it calls, and what it raises."""

    @classmethod
    def model_validate(cls, data: Any) -> Any:
        if data != {"a": 1}:
            raise ValueError("secret detail")
        return "model"


@pytest.mark.parametrize("schema", [Price, Said, dict[str, int], int | None, Model, list[Price]])
def test_types_that_can_be_checked(schema: Any) -> None:
    assert schema_problem(schema) is None


@pytest.mark.parametrize("schema", [object(), 5, Strange, dict[str, set[Price] | list[Price]]])
def test_types_that_cannot(schema: Any) -> None:
    assert schema_problem(schema)


def test_data_that_fits() -> None:
    assert fit({"symbol": "X", "value": 1, "more": None}, Price) == Price("X", 1.0)
    assert fit(Price("X", 1.0), Price) == Price("X", 1.0)
    assert fit({"text": "x"}, Said) == {"text": "x"}
    assert fit({"a": 1}, Model) == "model"


def test_data_that_does_not() -> None:
    with pytest.raises(MisfitError, match="value"):
        fit({"symbol": "X"}, Price)
    with pytest.raises(MisfitError):
        fit(5, Said)
    with pytest.raises(MisfitError) as raised:
        fit({"a": 2}, Model)
    assert "secret" not in str(raised.value)


class Order(pydantic.BaseModel):
    item: str
    count: int = 1


def test_pydantic() -> None:
    for schema in (Order, list[Order], dict[str, Order] | None):
        assert schema_problem(schema) is None
    assert fit({"item": "tea"}, Order) == Order(item="tea")
    assert fit(Order(item="tea"), Order) == Order(item="tea")
    assert fit([{"item": "tea", "count": 2}], list[Order]) == [Order(item="tea", count=2)]
    assert fit(None, dict[str, Order] | None) is None
    with pytest.raises(MisfitError, match=r"valid integer.* - at count$") as raised:
        fit({"item": "tea", "count": "secret"}, Order)
    assert "secret" not in str(raised.value)
    with pytest.raises(MisfitError, match=r"at 0\.item"):
        fit([{}], list[Order])
    with pytest.raises(MisfitError, match="dictionary"):
        fit(5, Order)
