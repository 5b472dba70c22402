"""From settings to an engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from fastws.config import Settings, masked
from fastws.errors import ConfigError, StartError
from fastws.server.engines.binaries import find_binary
from fastws.server.engines.embedded import EmbeddedRedis

if TYPE_CHECKING:
    from fastws.engine.contract import Engine
    from fastws.engine.redis.backbone.contract import Backbone

_log: Final = logging.getLogger("fastws.server")

LONGEST_LEASE_S: Final = 90.0
SHORTEST_LEASE_S: Final = 3.0
"""A process that stands still for a moment, as a busy machine makes it, is not to be taken for dead."""
LEASE_WITHOUT_PINGS_S: Final = 75.0
_PINGS_IN_A_LEASE: Final = 3


def lease_s(settings: Settings) -> float:
    """Seconds after which a process that is not heard of is taken for dead."""
    if not settings.ping_interval:
        return LEASE_WITHOUT_PINGS_S
    return min(max(_PINGS_IN_A_LEASE * settings.ping_interval, SHORTEST_LEASE_S), LONGEST_LEASE_S)


def chosen(settings: Settings) -> Settings:
    """The same settings, with `embedded` where nobody named a Redis and one is needed.

    Raises `StartError` if none can be started then, and `ConfigError` where replicas are asked for of one without any.
    """
    _check_replicas(settings)
    wants = "--redis embedded"
    if settings.redis == "none":
        wants = f"--workers {settings.workers}" if settings.workers > 1 else "--data-dir"
        if settings.workers == 1 and settings.data_dir is None:
            return settings
    elif settings.redis != "embedded":
        return settings
    try:
        find_binary()
    except StartError as error:
        raise StartError(f"{wants} needs a Redis: {error}") from error
    return replace(settings, redis="embedded")


def _check_replicas(settings: Settings) -> None:
    """Raise `ConfigError` where every publication would be refused."""
    if settings.min_replicas and settings.redis in ("none", "embedded"):
        raise ConfigError("--min-replicas needs a Redis that has replicas: give its URL with --redis, or leave it at 0")


@contextmanager
def provided(settings: Settings) -> Iterator[Settings]:
    """Run an embedded Redis for the time of the block, where the settings ask for one: those of the block name its URL.

    Raises `StartError` if it cannot run.
    """
    if settings.redis != "embedded":
        yield settings
        return
    with EmbeddedRedis(find_binary().path, settings.data_dir) as redis:
        yield replace(settings, redis=redis.url)


def check_redis(settings: Settings) -> None:
    """Raise `ConfigError` if the URL of Redis is none, and `StartError` if there is no Redis where one is started."""
    settings = chosen(settings)
    if settings.redis not in ("none", "embedded"):
        from fastws.engine.redis.backbone.making import parse_target  # noqa: PLC0415

        parse_target(settings.redis)


def engine_line(settings: Settings) -> str:
    """What carries messages, and where it is, without secrets."""
    if settings.redis == "none":
        return "memory"
    if settings.redis != "embedded":
        return f"redis ({masked(settings.redis)})"
    binary = find_binary()
    kept = f", data in {settings.data_dir}" if settings.data_dir is not None else ""
    return f"redis (embedded, {binary.path} {binary.version}{kept})"


class Made(NamedTuple):
    """What carries messages."""

    engine: Engine
    backbone: Backbone | None
    """Its connections to Redis, None if it has none."""


def make_engine(settings: Settings) -> Made:
    """Make what carries messages; nothing is connected before it is started.

    Raises `ConfigError` for a URL that cannot be, where replicas are asked for of a Redis without any, and for
    `embedded`, which has to be started by whoever owns the process.
    """
    _check_replicas(settings)
    # Imported where they are wanted: a supervisor needs no engine, and a single process none of Redis.
    if settings.redis == "none":
        from fastws.engine.memory import MemoryEngine  # noqa: PLC0415

        return Made(MemoryEngine(), None)
    if settings.redis == "embedded":
        raise ConfigError("--redis embedded belongs to fastws-server, which starts it; give the URL of a Redis here")
    from fastws.engine.redis.backbone.making import make_backbone  # noqa: PLC0415
    from fastws.engine.redis.engine import RedisEngine  # noqa: PLC0415

    backbone = make_backbone(
        settings.redis,
        prefix=settings.prefix,
        name=f"fastws-{settings.node_name}",
        min_replicas=settings.min_replicas,
        replicas_s=settings.replica_timeout,
    )
    engine = RedisEngine(backbone, prefix=settings.prefix, node_name=settings.node_name, lease_s=lease_s(settings))
    return Made(engine, backbone)


async def start_checks(backbone: Backbone) -> None:
    """Look at the Redis that was just connected to. Raises `StartError` if it cannot be used; logs what is doubtful."""
    from fastws.server.engines import facts  # noqa: PLC0415

    found = await facts.ask(backbone)
    facts.require(found)
    for doubt in facts.doubts(found):
        _log.warning("%s", doubt)
