"""From a URL to the connections that it describes."""

from __future__ import annotations

from fastws.engine.redis.backbone.contract import Backbone
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.engine.redis.resp.address import parse_address


def make_backbone(url: str, *, prefix: str, name: str = "fastws") -> Backbone:
    """Make the backbone of a URL; nothing is connected before it is started.

    :param prefix: of all keys.
    :param name: how servers list our connections, without spaces.
    :raises ConfigError: the URL is not one of a Redis, or a file that TLS needs cannot be used.
    """
    return Standalone(parse_address(url), prefix=prefix, name=name)
