"""Data on its way to a topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from fastws.core.topics import Namespace
from fastws.errors import TopicError
from fastws.gateway.data import pack


def test_packing() -> None:
    assert pack({"a": 1}, Namespace(), of_client=True) == pack({"a": 1}, None, of_client=False) == b'{"a":1}'
    for data, namespace in ((b"x", None), (b"x", Namespace()), ("x", Namespace(schema=int))):
        with pytest.raises(TopicError) as raised:
            pack(data, namespace, of_client=False)
        assert raised.value.code == 107


class Price(msgspec.Struct):
    value: int


class Other(msgspec.Struct):
    value: Any


@dataclass
class Declared:
    value: Any


@pytest.mark.parametrize("schema", [Price, list[Price] | Price])
@pytest.mark.parametrize("kind", [Price, Other, Declared, lambda value: {"value": value}])
def test_what_is_sent_has_to_fit_whatever_it_was_made_with(schema: Any, kind: Any) -> None:
    namespace = Namespace(schema=schema)
    assert pack(kind(5), namespace, of_client=False) == b'{"value":5}'
    with pytest.raises(TopicError) as raised:
        pack(kind("secret"), namespace, of_client=False)
    assert raised.value.code == 107
    assert "value" in raised.value.message
    assert "secret" not in raised.value.message
