"""What the Redis that the settings name says of itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from fastws.config import Settings
from fastws.engine.redis.backbone.making import make_backbone
from fastws.errors import EngineError, StartError
from fastws.server.engines.facts import RedisFacts, ask, require


class _Nobody:
    """Is told of nothing."""

    def on_message(self, channel: bytes, payload: bytes) -> None: ...

    def on_away(self, partitions: Sequence[int], reason: str) -> None: ...

    def on_back(self, partitions: Sequence[int]) -> None: ...


def examine(settings: Settings) -> RedisFacts | None:
    """Connect and ask; None without a Redis, or with one that only the server starts.

    Raises `StartError` if it cannot be reached, or is too old.
    """
    if settings.redis in ("none", "embedded"):
        return None
    # What goes wrong is the answer, not a line of a log besides.
    logging.getLogger("fastws").addHandler(logging.NullHandler())
    return asyncio.run(_ask(settings))


async def _ask(settings: Settings) -> RedisFacts:
    backbone = make_backbone(settings.redis, prefix=settings.prefix, name="fastws-doctor")
    try:
        await backbone.start(_Nobody())
        facts = await ask(backbone, limits=True)
    except EngineError as error:
        raise StartError(str(error)) from error
    finally:
        await backbone.stop()
    require(facts)
    return facts
