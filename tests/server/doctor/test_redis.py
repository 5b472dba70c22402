"""What the Redis of the settings says of itself."""

from __future__ import annotations

import pytest

from fastws.config import Settings
from fastws.errors import StartError
from fastws.server.doctor import examine
from tests.support.redis import RedisServer, free_port


@pytest.mark.parametrize("redis", ["none", "embedded"])
def test_none_is_asked(redis: str) -> None:
    assert examine(Settings(redis=redis)) is None


def test_one_is_asked() -> None:
    with RedisServer("--maxclients", "500", "--maxmemory", "100mb") as server:
        facts = examine(Settings(redis=server.url))
    assert facts is not None
    assert int(facts.version.partition(".")[0]) >= 7
    assert (facts.max_clients, facts.max_memory, facts.policy) == (500, 100 * 2**20, "noeviction")
    assert facts.pubsub_limit == (32 * 2**20, 8 * 2**20, 60)


def test_one_that_is_away() -> None:
    with pytest.raises(StartError, match=r"127\.0\.0\.1"):
        examine(Settings(redis=f"redis://127.0.0.1:{free_port()}/0"))


def test_one_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.server.engines.facts.OLDEST", (99, 0))
    with RedisServer() as server, pytest.raises(StartError, match=r"too old: fastws needs Redis 99\.0"):
        examine(Settings(redis=server.url))
