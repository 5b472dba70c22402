"""Fixtures of Redis processes: one server, one set with sentinels and one cluster for all tests of a process.

Tests keep out of each other's way by a `prefix` of their own. Whoever breaks something need not mend it: after each
test a fleet is brought back into order. A master may be another one after that; ask for it in the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from tests.support.cluster import ClusterFleet
    from tests.support.redis import RedisServer
    from tests.support.sentinel import SentinelFleet


@pytest.fixture
def prefix() -> str:
    """For keys and channels of this test alone."""
    return f"t{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[RedisServer]:
    from tests.support.redis import RedisServer

    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def _valkey_server() -> Iterator[RedisServer]:
    from tests.support.redis import RedisServer

    with RedisServer(program="valkey-server") as server:
        yield server


@pytest.fixture(scope="session")
def _sentinel_fleet() -> Iterator[SentinelFleet]:
    from tests.support.sentinel import SentinelFleet

    with SentinelFleet() as fleet:
        yield fleet


@pytest.fixture(scope="session")
def _cluster_fleet() -> Iterator[ClusterFleet]:
    from tests.support.cluster import ClusterFleet

    with ClusterFleet() as fleet:
        yield fleet


@pytest.fixture
def redis_server(_redis_server: RedisServer) -> Iterator[RedisServer]:
    """One `redis-server` without a password."""
    yield _redis_server
    _redis_server.heal()
    _redis_server.config("maxmemory", 0)  # a test that failed may have left it small


@pytest.fixture
def valkey_server(_valkey_server: RedisServer) -> Iterator[RedisServer]:
    """One `valkey-server`, where it is installed."""
    yield _valkey_server
    _valkey_server.heal()


@pytest.fixture
def sentinel_fleet(_sentinel_fleet: SentinelFleet) -> Iterator[SentinelFleet]:
    """A master, two replicas and three sentinels."""
    yield _sentinel_fleet
    _sentinel_fleet.heal()


@pytest.fixture
def cluster_fleet(_cluster_fleet: ClusterFleet) -> Iterator[ClusterFleet]:
    """Three masters with a replica each."""
    yield _cluster_fleet
    _cluster_fleet.heal()
