"""From settings to an engine."""

from __future__ import annotations

from typing import Final

from fastws.config import Settings
from fastws.engine.contract import Engine
from fastws.engine.memory import MemoryEngine
from fastws.errors import ConfigError

LONGEST_LEASE_S: Final = 90.0
LEASE_WITHOUT_PINGS_S: Final = 75.0
_PINGS_IN_A_LEASE: Final = 3


def lease_s(settings: Settings) -> float:
    """Seconds after which a process that is not heard of is taken for dead."""
    if not settings.ping_interval:
        return LEASE_WITHOUT_PINGS_S
    return min(_PINGS_IN_A_LEASE * settings.ping_interval, LONGEST_LEASE_S)


def make_engine(settings: Settings) -> Engine:
    """Make what carries messages; nothing is connected before it is started.

    Raises `ConfigError` for a URL that cannot be, and for `embedded`, which has to be started by whoever owns the
    process.
    """
    if settings.redis == "none":
        return MemoryEngine()
    if settings.redis == "embedded":
        raise ConfigError("--redis embedded belongs to fastws-server, which starts it; give the URL of a Redis here")
    # Imported where it is wanted: a single process needs none of it.
    from fastws.engine.redis.backbone.making import make_backbone  # noqa: PLC0415
    from fastws.engine.redis.engine import RedisEngine  # noqa: PLC0415

    return RedisEngine(
        make_backbone(settings.redis),
        prefix=settings.prefix,
        node_name=settings.node_name,
        lease_s=lease_s(settings),
    )
