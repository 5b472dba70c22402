"""Methods for `rpc`: which type the data has to have."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fastws import UsageError
from fastws.app.methods import rpc_method

if TYPE_CHECKING:
    from decimal import Decimal


class Order(msgspec.Struct):
    count: int


class Strange: ...


def untyped(conn, data):  # type: ignore[no-untyped-def]
    return data


def anything(conn: Any, data: Any) -> Any:
    return data


def an_object(conn: Strange, data: object) -> object:
    return data


def typed(conn: Any, data: Order) -> int:
    return data.count


def keyword(conn: Any, *rest: int) -> None: ...


class Methods:
    def bound(self, conn: Any, data: Order) -> None: ...

    async def __call__(self, conn: Any, data: Order) -> None: ...


@pytest.mark.parametrize(
    ("handler", "data_type"),
    [
        (untyped, None),
        (anything, None),
        (an_object, None),
        (lambda conn, data: 1, None),
        (keyword, None),
        (print, None),
        (typed, Order),
        (Methods().bound, Order),
        (Methods(), Order),
        (functools.partial(typed), Order),
        (functools.partial(Methods().bound), Order),
    ],
)
def test_the_annotation_of_data(handler: Any, data_type: Any) -> None:
    method = rpc_method("m", handler)
    assert (method.name, method.handler, method.data_type) == ("m", handler, data_type)


def test_types_of_an_enclosing_function_are_known_where_they_are_used() -> None:
    class Local(msgspec.Struct):
        value: int

    def handler(conn: Any, data: Local) -> Local:
        return Local(data.value)

    assert rpc_method("m", handler).data_type is Local


def test_types_that_cannot_be_checked() -> None:
    def strange(conn: Any, data: Strange) -> None: ...

    def later(conn: Any, data: Decimal) -> None: ...

    for handler, says in ((strange, "Strange"), (later, "Decimal")):
        with pytest.raises(UsageError, match=says) as raised:
            rpc_method("m", handler)
        assert "Any" in raised.value.hint
