"""Processes on one Redis, and a Redis with a replica."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from fastws.engine.redis import post
from fastws.engine.redis.topic import asking
from tests.engine.redis.desk import Desk
from tests.engine.redis.fleet.nodes import Members
from tests.engine.redis.pairs import Pair
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def _others_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine processes that are there are waited for, too."""
    for module in (post, asking):
        monkeypatch.setattr(module, "ANSWER_S", 10.0)


@pytest_asyncio.fixture
async def members(redis_server: RedisServer, prefix: str) -> AsyncIterator[Members]:
    made = Members(redis_server, prefix)
    yield made
    await made.stop()


@pytest.fixture(scope="module")
def _pair() -> Iterator[Pair]:
    with (
        RedisServer() as master,
        RedisServer("--replicaof", "127.0.0.1", str(master.port), "--repl-ping-replica-period", "1") as replica,
    ):
        yield Pair(master, replica)


@pytest.fixture
def pair(_pair: Pair) -> Iterator[Pair]:
    _pair.replica.heal()
    wait_until(
        lambda: ",state=online," in _pair.master.info("replication").get("slave0", ""), 30.0, "the replica is in sync"
    )
    _pair.master.ask("FLUSHALL")
    _pair.master.ask("CONFIG", "RESETSTAT")
    yield _pair
    _pair.replica.heal()


@pytest_asyncio.fixture
async def desks(redis_server: RedisServer, prefix: str) -> AsyncIterator[list[Desk]]:
    made = [Desk(redis_server, prefix, name) for name in ("n1", "n2", "n3")]
    for desk in made:
        await desk.start()
    yield made
    for desk in made:
        await desk.stop()
