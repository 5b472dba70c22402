"""The interface of backbones: nobody can leave a part of it out."""

import pytest

from fastws.engine.redis.backbone.contract import Backbone


def test_a_backbone_has_every_part() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Backbone()  # type: ignore[abstract]
    asked = {"start", "stop", "is_up", "call", "run", "say", "subscribe", "unsubscribe"}
    assert Backbone.__abstractmethods__ >= asked
