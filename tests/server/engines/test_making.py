"""Which engine the settings ask for."""

from __future__ import annotations

import pytest

from fastws.config import Settings
from fastws.engine.memory import MemoryEngine
from fastws.errors import ConfigError
from fastws.server.engines import lease_s, make_engine


def test_without_redis_everything_is_in_memory() -> None:
    assert isinstance(make_engine(Settings()), MemoryEngine)


def test_a_private_redis_is_not_started_here() -> None:
    with pytest.raises(ConfigError, match="--redis embedded belongs to fastws-server"):
        make_engine(Settings(redis="embedded"))


@pytest.mark.parametrize(("ping_interval", "seconds"), [(25.0, 75.0), (0.0, 75.0), (60.0, 90.0), (1.0, 3.0)])
def test_a_lease_is_three_pings(ping_interval: float, seconds: float) -> None:
    assert lease_s(Settings(ping_interval=ping_interval)) == seconds
