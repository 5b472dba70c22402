"""What the parts of topics have in common."""

from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.common import Common
from fastws.engine.redis.names import Names
from fastws.engine.redis.resp.address import parse_address
from fastws.engine.redis.topics import Topics


def made() -> Topics:
    backbone = Standalone(parse_address("redis://127.0.0.1:1"), prefix="p")
    return Topics(Common(backbone, Names("p"), "n1"))


def test_no_epoch_is_called_like_another() -> None:
    epochs = {topics._new_epoch() for topics in (made(), made()) for _ in range(1000)}
    assert len(epochs) == 2000
    assert all(epoch.isalnum() and len(epoch) < 30 for epoch in epochs)
