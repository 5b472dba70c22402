"""Data on its way to a topic."""

from __future__ import annotations

import pytest

from fastws.core.topics import Namespace
from fastws.engine.contract import Retention
from fastws.errors import TopicError
from fastws.gateway.topics import pack, retention_of


def test_what_is_kept() -> None:
    assert retention_of(Namespace()) is None
    assert retention_of(Namespace(history_size=5)) == Retention(5, 0.0)
    assert retention_of(Namespace(history_size=5, history_ttl=60.0)) == Retention(5, 60.0)
    assert retention_of(Namespace(history_ttl=60.0)) is None


def test_packing() -> None:
    assert pack({"a": 1}, Namespace(), of_client=True) == pack({"a": 1}, None, of_client=False) == b'{"a":1}'
    for data, namespace in ((b"x", None), (b"x", Namespace()), ("x", Namespace(schema=int))):
        with pytest.raises(TopicError) as raised:
            pack(data, namespace, of_client=False)
        assert raised.value.code == 107
