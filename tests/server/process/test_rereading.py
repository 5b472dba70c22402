"""What one process takes from a configuration that has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastws.config import load
from fastws.errors import ConfigError, StartError
from fastws.server.process.rereading import read_again, taken_over
from tests.support.certificates import self_signed


def test_what_could_not_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="port"):
        read_again({"port": "-5"})
    with pytest.raises(StartError, match="protected mode"):
        read_again({"host": "192.0.2.1"})
    with pytest.raises(ConfigError, match="--ssl-certfile"):
        read_again({"ssl_certfile": str(tmp_path / "none")})


def test_drain_and_logging_change_and_the_rest_is_named() -> None:
    current = load({"port": "0"}, {})
    new = load({"port": "1", "drain_timeout": "7", "log_level": "debug", "max_topics": "3"}, {})
    settings, left = taken_over(current, new)
    assert (settings.drain_timeout, settings.log_level) == (7, "debug")
    assert (settings.port, settings.max_topics) == (0, current.max_topics)
    assert sorted(left) == ["--max-topics", "--port"]


def test_other_files_of_certificates_count_and_tls_itself_stays(tmp_path: Path) -> None:
    first, second = self_signed(tmp_path, "first"), self_signed(tmp_path, "second")
    plain = load({}, {})
    current = replace(plain, ssl_certfile=first.certfile, ssl_keyfile=first.keyfile)
    new = replace(plain, ssl_certfile=second.certfile, ssl_keyfile=second.keyfile)
    settings, left = taken_over(current, new)
    assert (settings.ssl_certfile, left) == (second.certfile, [])
    for before, after in ((plain, new), (new, plain)):
        settings, left = taken_over(before, after)
        assert settings == before
        assert "--ssl-certfile" in left


def test_what_would_not_take_effect_is_named(tmp_path: Path) -> None:
    settings, left = taken_over(load({}, {}), load({"access_log": "true"}, {}))
    assert (settings.access_log, left) == (False, ["--access-log"])
    config = tmp_path / "log.json"
    config.write_text('{"version": 1}')
    given = {"log_config": str(config)}
    settings, left = taken_over(load(given, {}), load({**given, "log_level": "debug"}, {}))
    assert (settings.log_level, left) == ("info", ["--log-level"])


def test_namespaces_stay(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("[namespaces.chat]\nhistory_size = 5\n")
    settings, left = taken_over(load({}, {}), load({"config": str(config)}, {}))
    assert settings.namespaces == {}
    assert "[namespaces]" in left


def test_the_embedded_redis_is_still_that() -> None:
    running = replace(load({"redis": "embedded"}, {}), redis="unix:///tmp/fastws-embedded-x/redis.sock")
    assert taken_over(running, load({"redis": "embedded"}, {}))[1] == []
    assert taken_over(running, load({"redis": "redis://127.0.0.1"}, {}))[1] == ["--redis"]
    assert taken_over(load({}, {}), load({"redis": "embedded"}, {}))[1] == ["--redis"]
