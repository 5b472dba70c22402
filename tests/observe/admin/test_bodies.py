"""What callers may send."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from fastws.observe.admin import bodies

TYPES = [
    kind
    for _, kind in inspect.getmembers(bodies, inspect.isclass)
    if issubclass(kind, bodies.Body) and kind is not bodies.Body
]


@pytest.mark.parametrize("kind", TYPES)
def test_each_is_described_and_takes_a_tenant(kind: type[bodies.Body]) -> None:
    assert kind.__doc__
    with pytest.raises(msgspec.ValidationError, match=r"\$\.tenant"):
        msgspec.json.decode(b'{"tenant": 1}', type=kind)


@pytest.mark.parametrize("tenant", ["a\0b", "a\n", "\x7f", "x" * 256])
def test_a_tenant_has_no_control_characters(tenant: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.tenant"):
        msgspec.convert({"tenant": tenant}, bodies.Nodes)
    assert msgspec.convert({"tenant": "köln acme"}, bodies.Nodes).tenant == "köln acme"


def test_what_is_not_known_is_ignored_and_null_is_nothing() -> None:
    body = msgspec.json.decode(b'{"topic": "a", "data": null, "key": null, "later": 1}', type=bodies.Publish)
    assert (body.topic, body.data, body.key, body.tenant) == ("a", None, None, "")
    with pytest.raises(msgspec.ValidationError, match="required field `data`"):
        msgspec.json.decode(b'{"topic": "a"}', type=bodies.Publish)
