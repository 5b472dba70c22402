"""Data that has to fit a type."""

from typing import Any, TypedDict

import msgspec
import pytest

from fastws.core.schemas import misfit, schema_problem


class Price(msgspec.Struct):
    symbol: str
    value: float


class Said(TypedDict):
    text: str


class Model:
    """Stands for a model of pydantic: what it calls, and what it raises."""

    @classmethod
    def model_validate(cls, data: Any) -> Any:
        if data != {"a": 1}:
            raise ValueError("secret detail")


@pytest.mark.parametrize("schema", [Price, Said, dict[str, int], int | None, Model, list[Price]])
def test_types_that_can_be_checked(schema: Any) -> None:
    assert schema_problem(schema) is None


@pytest.mark.parametrize("schema", [object(), 5, dict[str, set[Price] | list[Price]]])
def test_types_that_cannot(schema: Any) -> None:
    assert schema_problem(schema)


def test_data_that_fits() -> None:
    assert misfit({"symbol": "X", "value": 1, "more": None}, Price) is None
    assert misfit({"text": "x"}, Said) is None
    assert misfit({"a": 1}, Model) is None


def test_data_that_does_not() -> None:
    assert "value" in (misfit({"symbol": "X"}, Price) or "")
    assert misfit(5, Said)
    problem = misfit({"a": 2}, Model)
    assert problem
    assert "secret" not in problem
