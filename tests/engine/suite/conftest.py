"""Every test of the suite runs on each kind of engine."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fastws.engine.redis import post
from fastws.engine.redis.topic import asking
from tests.engine.suite.stand import Stand


@pytest.fixture(autouse=True)
def _others_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine processes that are there are waited for, too."""
    for module in (post, asking):
        monkeypatch.setattr(module, "ANSWER_S", 10.0)


VALKEY = {"valkey": "valkey_server"} if shutil.which("valkey-server") else {}
"""Left out rather than skipped a hundred times; `test_stand.py` says so."""

SERVERS = {
    "redis": "redis_server",
    "resp2": "redis_server",
    **VALKEY,
    "sentinel": "sentinel_fleet",
    "cluster": "cluster_fleet",
}


def made(request: pytest.FixtureRequest, prefix: str) -> Stand:
    kind: str = request.param
    if kind == "memory":
        return Stand(kind, "", prefix, None)
    server: Any = request.getfixturevalue(SERVERS[kind])
    url = server.url
    if kind == "resp2":
        url += ("&" if "?" in url else "?") + "protocol=2"
    return Stand(kind, url, prefix, server)


@pytest_asyncio.fixture(params=["memory", *SERVERS])
async def stand(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Stand]:
    """Of any kind."""
    stand = made(request, prefix)
    yield stand
    await stand.stop()


@pytest_asyncio.fixture(params=[*SERVERS])
async def cluster(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Stand]:
    """Of a kind that connects processes."""
    stand = made(request, prefix)
    yield stand
    await stand.stop()


@pytest_asyncio.fixture(params=["redis", *VALKEY])
async def restarted(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Stand]:
    """Of a kind with one server, which may be stopped."""
    stand = made(request, prefix)
    yield stand
    await stand.stop()


@pytest_asyncio.fixture(params=["sentinel", "cluster"])
async def fleet(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Stand]:
    """Of a kind where another server may take over."""
    stand = made(request, prefix)
    yield stand
    await stand.stop()
