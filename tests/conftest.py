"""Fixtures for all folders: here, so that there is one of each for a whole session."""

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
