"""Fixtures for all folders: here, so that there is one of each for a whole session."""

from collections.abc import Iterator

import pytest

from tests.support import on_redis
from tests.support.redis_fixtures import (  # noqa: F401 - fixtures are found by name
    _cluster_fleet,
    _redis_server,
    _sentinel_fleet,
    _valkey_server,
    cluster_fleet,
    prefix,
    redis_server,
    sentinel_fleet,
    valkey_server,
)


@pytest.fixture(scope="session", autouse=True)
def _everything_on_redis() -> Iterator[None]:
    """If that is wanted."""
    if not on_redis.is_wanted():
        yield
        return
    with on_redis.switched_on():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is about memory is left out where servers have none."""
    if on_redis.is_wanted():
        on_redis.leave_out(items)
