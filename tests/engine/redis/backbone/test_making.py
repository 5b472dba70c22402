"""URLs and what they name."""

from __future__ import annotations

import pytest

from fastws.engine.redis.backbone.making import describe, make_backbone, parse_target
from fastws.engine.redis.backbone.sentinel import Sentinel
from fastws.engine.redis.backbone.standalone import Standalone
from fastws.errors import ConfigError


def test_one_server() -> None:
    assert isinstance(make_backbone("redis://localhost", prefix="fastws"), Standalone)
    assert describe("redis://ann:secret@host:7000/3") == "redis://host:7000/3"
    assert describe("unix:///run/redis.sock") == "unix:///run/redis.sock"


def test_sentinels() -> None:
    url = "redis+sentinel://h1?sentinel_master_name=m"
    assert isinstance(make_backbone(url, prefix="fastws"), Sentinel)


def test_what_a_url_of_sentinels_names() -> None:
    target = parse_target(
        "redis+sentinel://ann:p%40ss@h1,[::1]:5000,h1/2?sentinel_master_name=m&sentinel_username=s&sentinel_password=t"
    )
    assert [(each.host, each.port) for each in target.sentinels] == [("h1", 26379), ("::1", 5000)]
    assert target.master_name == "m"
    assert (target.address.db, target.address.username, target.address.password) == (2, "ann", "p@ss")
    assert {(each.db, each.username, each.password) for each in target.sentinels} == {(0, "s", "t")}


def test_sentinels_do_not_get_the_password_of_their_servers() -> None:
    (sentinel,) = parse_target("redis+sentinel://:secret@h/?sentinel_master_name=m").sentinels
    assert not sentinel.password


def test_a_cluster() -> None:
    target = parse_target("redis+cluster://:secret@h1:7000,h2")
    assert [(each.host, each.port, each.password) for each in target.seeds] == [
        ("h1", 7000, "secret"),
        ("h2", 6379, "secret"),
    ]


def test_tls_everywhere() -> None:
    target = parse_target("redis+sentinel://h/?sentinel_master_name=m&ssl=true&ssl_cert_reqs=none")
    assert target.address.tls is not None
    assert target.sentinels[0].tls is target.address.tls
    assert parse_target("redis+cluster://h?ssl=1").seeds[0].tls is not None
    assert parse_target("redis+cluster://h?ssl=false").seeds[0].tls is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+sentinel://:secret@h/0", "sentinel_master_name"),
        ("redis+sentinel:///0?sentinel_master_name=m", "from 1 to 64 hosts"),
        ("redis+sentinel://h/x?sentinel_master_name=m", "the database"),
        ("redis+sentinel://h?sentinel_master_name=m&sentinel_username=s", "sentinel_password"),
        ("redis+sentinel://h?sentinel_master_name=m&retries=3", "'retries'"),
        ("redis+cluster://:secret@h/1", "the database 0 alone"),
        ("redis+cluster://h?ssl=perhaps", "ssl in the URL of Redis is true or false"),
        ("redis+cluster://h?ssl_ca_certs=x", "'ssl_ca_certs'"),
        ("redis+cluster://" + ",".join(f"h{n}" for n in range(65)), "from 1 to 64 hosts"),
        ("redis+cluster://h:99999", "a port"),
        ("redis+cluster://h1 ,h2", "look like"),
        ("redis+other://:secret@h", "begins with"),
        ("secret", "look like"),
    ],
)
def test_what_cannot_be_is_said_without_secrets(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        make_backbone(url, prefix="fastws")
    assert "secret" not in str(caught.value)


def test_a_description_has_no_secrets() -> None:
    url = (
        "redis+sentinel://a:secret@h1,[::1]:5000/2?sentinel_master_name=m&sentinel_username=s&sentinel_password=secret"
    )
    assert describe(url) == "master m of the sentinels h1:26379, [::1]:5000"
    assert describe("redis+cluster://a:secret@h1:7000,h2") == "cluster of h1:7000, h2:6379"
