"""What a Redis says of itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.engine.redis.backbone.making import make_backbone
from fastws.errors import EngineError, StartError
from fastws.server.engines.facts import RedisFacts, ask, doubts, facts_of, require
from tests.engine.redis.backbone.recorder import started
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

INFO = (
    b"# Server\r\nredis_version:7.0.15\r\nexecutable:C:/x:y\r\n\r\n# Clients\r\nconnected_clients:3\r\n"
    b"maxclients:10000\r\n# Memory\r\nused_memory:864000\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"
)
FACTS = RedisFacts("7.0.15", 10_000, 3, 0, 864_000, "allkeys-lru")


class AnsweringBackbone:
    """Answers what it is told to, by the first word of a command."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers

    def call(self, _partition: int, *words: Any) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        answer = self.answers[words[0]]
        future.set_exception(answer) if isinstance(answer, Exception) else future.set_result(answer)
        return future


def test_what_info_tells() -> None:
    assert facts_of(INFO) == FACTS
    for nonsense in (None, 1, [], b"", b"\xff\x00:", b"maxclients:-1\r\nmaxmemory:" + b"9" * 5000):
        assert facts_of(nonsense) == RedisFacts()


LIMITS = b"normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
NAME = b"client-output-buffer-limit"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ([NAME, LIMITS], (33554432, 8388608, 60)),
        ({NAME: LIMITS}, (33554432, 8388608, 60)),
        ([NAME, b"normal 0 0 0"], None),
        ([], None),
        ({}, None),
        (b"OK", None),
        (EngineError("may not"), None),
    ],
)
async def test_limits_are_asked_for(config: object, limit: object) -> None:
    backbone: Any = AnsweringBackbone(INFO=INFO + b"connected_slaves:2\r\n", CONFIG=config)
    assert await ask(backbone, limits=True) == FACTS._replace(pubsub_limit=limit, replicas=2)
    assert await ask(backbone) == FACTS


@pytest.mark.asyncio
async def test_who_may_not_ask_knows_nothing() -> None:
    backbone: Any = AnsweringBackbone(INFO=EngineError("may not"))
    assert await ask(backbone, limits=True) == RedisFacts()


@pytest.mark.parametrize("version", ["6.2.14", "5.0", "3.2.1"])
def test_what_is_too_old_is_refused(version: str) -> None:
    with pytest.raises(StartError, match=rf"Redis {version} is too old: fastws needs Redis 7.0 or later, or Valkey"):
        require(RedisFacts(version))


@pytest.mark.parametrize("version", ["7.0.15", "7.0.0-rc1", "8.2", "10.0.1", "", "unstable"])
def test_others_are_taken(version: str) -> None:
    require(RedisFacts(version))


def test_throwing_away_is_hardly_meant() -> None:
    assert doubts(FACTS) == []
    assert doubts(FACTS._replace(max_memory=1, policy="noeviction")) == []
    (doubt,) = doubts(FACTS._replace(max_memory=1))
    assert "allkeys-lru" in doubt
    assert "noeviction" in doubt


@pytest.mark.asyncio
async def test_replicas_of_a_real_one() -> None:
    with RedisServer() as master, RedisServer("--replicaof", "127.0.0.1", str(master.port)):
        wait_until(lambda: "slave0" in master.info("replication"), 30.0, "it has a replica")
        backbone = make_backbone(master.url, prefix="fastws")
        async with started(backbone):
            assert (await ask(backbone, limits=True)).replicas == 1
            assert (await ask(backbone)).replicas == 0


@pytest.mark.asyncio
async def test_replicas_that_nobody_tells_of_are_none() -> None:
    backbone: Any = AnsweringBackbone(INFO=INFO, CONFIG={})
    assert (await ask(backbone, limits=True)).replicas == 0
