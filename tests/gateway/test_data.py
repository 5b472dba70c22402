"""Data on its way to a topic."""

from __future__ import annotations

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
