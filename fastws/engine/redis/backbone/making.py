# ruff: noqa: ARG001
"""From a URL to the connections that it describes."""

from __future__ import annotations

from fastws.engine.redis.backbone.contract import Backbone
from fastws.errors import ConfigError


def make_backbone(url: str) -> Backbone:
    """Make the backbone of a URL; nothing is connected before it is started. Raises `ConfigError`."""
    raise ConfigError("not there yet")
