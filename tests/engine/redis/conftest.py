"""Processes on one Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.engine.redis.fleet.nodes import Members
from tests.support.redis import RedisServer


@pytest_asyncio.fixture
async def members(redis_server: RedisServer, prefix: str) -> AsyncIterator[Members]:
    made = Members(redis_server, prefix)
    yield made
    await made.stop()
