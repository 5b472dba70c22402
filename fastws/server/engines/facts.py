"""What a Redis says of itself: whether it can be the engine's at all, and what of its settings is hardly meant."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from fastws.engine.redis.backbone.contract import Backbone
from fastws.engine.redis.backbone.replicas import connected_replicas
from fastws.engine.redis.names import HOME, PARTITIONS
from fastws.errors import EngineError, StartError
from fastws.server.engines.binaries import OLDEST

_NUMBERS: Final = re.compile(r"(\d{1,9})\.(\d{1,9})")
_PUBSUB_LIMIT: Final = re.compile(r"pubsub (\d+) (\d+) (\d+)")
_MAX_TEXT: Final = 1_000_000
_EVICTS: Final = (
    "Redis throws data away when its memory is used up (maxmemory-policy {}): history, presence and sessions would get "
    "lost without a word; set maxmemory-policy noeviction"
)


class RedisFacts(NamedTuple):
    """Of one server; on a cluster, of that which the leases are kept at. What it does not tell is 0 or empty."""

    version: str = ""
    max_clients: int = 0
    clients: int = 0
    max_memory: int = 0
    """Bytes; 0 = no limit."""
    used_memory: int = 0
    policy: str = ""
    """What happens when the memory is used up."""
    pubsub_limit: tuple[int, int, int] | None = None
    """Bytes that a process may be behind with what it is told, at most; and bytes that it may be behind with for so
    many seconds. Beyond it is disconnected. 0 = no limit.
    """
    replicas: int = 0
    """Connected to it; on a cluster, to the master that has the fewest."""


async def ask(backbone: Backbone, *, limits: bool = False) -> RedisFacts:
    """Ask for what `INFO` tells, and with `limits` for what only `CONFIG` does. What may not be asked is left out."""
    try:
        facts = facts_of(await backbone.call(HOME, "INFO"))
    except EngineError:
        return RedisFacts()
    if limits:
        facts = facts._replace(replicas=await _fewest_replicas(backbone))
        try:
            answer = await backbone.call(HOME, "CONFIG", "GET", "client-output-buffer-limit")
        except EngineError:
            return facts
        facts = facts._replace(pubsub_limit=_pubsub_limit_of(answer))
    return facts


async def _fewest_replicas(backbone: Backbone) -> int:
    """Of all masters; 0 where one does not say."""
    try:
        asked = [backbone.call(partition, "INFO", "replication") for partition in range(PARTITIONS)]
    except EngineError:
        return 0
    return min(map(connected_replicas, await asyncio.gather(*asked, return_exceptions=True)))


def facts_of(info: object) -> RedisFacts:
    """Read the answer to `INFO`."""
    if not isinstance(info, bytes):
        return RedisFacts()
    lines = info[:_MAX_TEXT].decode("utf-8", "replace").splitlines()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    return RedisFacts(
        version=told.get("redis_version", "")[:32],
        max_clients=_number(told, "maxclients"),
        clients=_number(told, "connected_clients"),
        max_memory=_number(told, "maxmemory"),
        used_memory=_number(told, "used_memory"),
        policy=told.get("maxmemory_policy", "")[:32],
    )


def require(facts: RedisFacts) -> None:
    """Raise `StartError` if the server is too old."""
    numbers = _NUMBERS.match(facts.version)
    if numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise StartError(f"Redis {facts.version} is too old: fastws needs Redis {least} or later, or Valkey")


def doubts(facts: RedisFacts) -> list[str]:
    """What is allowed, and loses messages."""
    if not facts.max_memory or facts.policy in ("", "noeviction"):
        return []
    return [_EVICTS.format(facts.policy)]


def _number(told: Mapping[str, str], name: str) -> int:
    text = told.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _pubsub_limit_of(answer: object) -> tuple[int, int, int] | None:
    """RESP3 answers a map, RESP2 names and values in turn."""
    values = list(answer.values()) if isinstance(answer, dict) else answer[1:] if isinstance(answer, list) else []
    text = values[0] if values else None
    match = _PUBSUB_LIMIT.search(text.decode("utf-8", "replace")) if isinstance(text, bytes) else None
    return (int(match[1]), int(match[2]), int(match[3])) if match is not None else None
