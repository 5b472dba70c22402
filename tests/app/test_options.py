"""What the constructor of `FastWS` takes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastws import FastWS, UsageError


def test_namespaces_are_checked_like_those_of_the_file() -> None:
    app = FastWS(namespaces={"chat": {"subscribe": "all", "history_size": 5, "history_ttl": "10m"}, "x": {}})
    assert app.namespaces == {"chat": {"subscribe": "all", "history_size": 5, "history_ttl": 600.0}, "x": {}}
    assert FastWS().namespaces == {}


@pytest.mark.parametrize(
    "namespaces",
    [
        {"chat": {"subscribe": "everyone"}},
        {"chat": {"histroy_size": 5}},
        {"a:b": {}},
        {"chat": {"recover": True}},
        {"chat": 5},
        [("chat", {})],
        {"chat": {"schema": object()}},
        {"chat": {"schema": int, "oops": 1}},
    ],
)
def test_namespaces_that_cannot_be(namespaces: Any) -> None:
    with pytest.raises(UsageError):
        FastWS(namespaces=namespaces)


def test_a_schema_is_a_type() -> None:
    class Price(msgspec.Struct):
        value: float

    app = FastWS(namespaces={"price": {"schema": Price, "echo": False}})
    assert app.namespaces == {"price": {"schema": Price, "echo": False}}


def test_headers_to_keep() -> None:
    assert FastWS(keep_headers=["User-Agent", "x-id"]).keep_headers == ("User-Agent", "x-id")
    for wrong in ("user-agent", ("a b",), (5,), ("ä",), 5, None):
        with pytest.raises(UsageError):
            FastWS(keep_headers=wrong)  # type: ignore[arg-type]
