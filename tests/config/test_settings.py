"""The settings object: every option of the command line, its default, and what follows from several together."""

import dataclasses

import pytest

from fastws.config import GROUPS, OPTIONS, Settings
from fastws.config.settings import masked, node_name_of, usable_cpus

DEFAULTS: dict[str, dict[str, object]] = {
    "server": {
        "app": None,
        "host": "127.0.0.1",
        "port": 8000,
        "uds": None,
        "path": "/ws",
        "workers": 1,
        "backlog": 65535,
        "app_dir": None,
        "config": None,
        "reload": False,
        "dev": False,
        "pidfile": None,
    },
    "engine": {"redis": "none", "data_dir": None, "prefix": "fastws", "min_replicas": 0, "replica_timeout": 1.0},
    "admin": {"admin_host": "127.0.0.1", "admin_port": 9000, "admin_key": None},
    "limits": {
        "max_connections": 0,
        "max_connections_per_ip": 100,
        "max_connections_per_user": 0,
        "user_limit_policy": "reject",
        "max_topics": 128,
        "max_message_size": 65536,
        "max_outbox": 1048576,
        "max_fragments": 1024,
        "messages_per_second": 0,
        "bytes_per_second": 0,
        "connect_rate": 0,
        "handshake_timeout": 3.0,
        "auth_timeout": 10.0,
    },
    "heartbeat": {"ping_interval": 25.0, "ping_timeout": 10.0, "tcp_keepalive": True},
    "websocket": {
        "deflate": False,
        "origins": (),
        "proxy_headers": True,
        "forwarded_allow_ips": ("127.0.0.1",),
    },
    "auth": {
        "jwt_secret": None,
        "jwt_public_key": None,
        "jwt_jwks": None,
        "jwt_issuer": None,
        "jwt_audience": None,
        "anonymous": False,
    },
    "tls": {
        "ssl_certfile": None,
        "ssl_keyfile": None,
        "ssl_keyfile_password": None,
        "ssl_ca_certs": None,
        "ssl_require_client_cert": False,
    },
    "shutdown": {"drain_timeout": 30.0, "drain_rate": 0},
    "logging": {"log_level": "info", "log_format": None, "log_config": None, "access_log": False},
}


def test_every_option_is_in_its_group_with_its_default() -> None:
    settings = Settings()
    found: dict[str, dict[str, object]] = {group.name: {} for group in GROUPS}
    for name, option in OPTIONS.items():
        if name != "node_name":  # its default is the machine's
            found[option.group][name] = getattr(settings, name)
    assert found == DEFAULTS
    assert OPTIONS["node_name"].group == "engine"


def test_settings_cannot_be_changed() -> None:
    settings = Settings(namespaces={"chat": {"echo": True}})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.namespaces["chat"]["echo"] = False  # type: ignore[index]


def test_is_set_means_by_anybody() -> None:
    assert not Settings().is_set("max_connections_per_ip")
    assert Settings(max_connections_per_ip=5).is_set("max_connections_per_ip")
    assert Settings(sources={"max_connections_per_ip": "option"}).is_set("max_connections_per_ip")


def test_secrets_are_never_shown() -> None:
    settings = Settings(
        admin_key="topsecret",
        jwt_secret="topsecret",
        redis="redis://bob:topsecret@h:1/0",
        ssl_keyfile_password="topsecret",
    )
    shown = repr(settings) + "".join(settings.shown(name) for name in OPTIONS)
    assert "topsecret" not in shown
    assert 'redis="redis://bob:***@h:1/0"' in shown
    assert repr(Settings(port=1)) == "Settings(port=1)"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("redis://u:p@h/0", "redis://u:***@h/0"),
        ("redis://:p:q@r@h/0", "redis://:***@h/0"),
        ("redis://u:p/q?r#s t@h/0", "redis://u:***@h/0"),
        ("redis://u/v:p@h/0", "redis://u/v:***@h/0"),
        ("redis://h/0?password=p&x=1", "redis://h/0?password=***&x=1"),
        ("redis+sentinel://h/0?sentinel_password=p&x=1", "redis+sentinel://h/0?sentinel_password=***&x=1"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("a:b@c", "a:b@c"),
    ],
)
def test_masking_urls(text: str, hidden: str) -> None:
    assert masked(text) == hidden


def test_auth_is_configured_by_any_token_option_or_by_client_certificates() -> None:
    assert not Settings(anonymous=True).auth_configured
    for name in ("jwt_secret", "jwt_public_key", "jwt_jwks", "jwt_issuer", "jwt_audience"):
        assert Settings(**{name: "x"}).auth_configured
    assert Settings(ssl_require_client_cert=True).auth_configured


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), True),
        (Settings(app="chat:app"), False),
        (Settings(app="chat:app", dev=True), True),
        (Settings(host="0.0.0.0"), False),
        (Settings(host="0.0.0.0", anonymous=True), False),
        (Settings(host="0.0.0.0", dev=True), True),
        (Settings(host="0.0.0.0", uds="/tmp/s"), True),
        (Settings(jwt_secret="x"), False),
        (Settings(jwt_secret="x", dev=True), False),
    ],
)
def test_when_anonymous_counts_as_authenticated(settings: Settings, expected: bool) -> None:
    assert settings.anonymous_is_authenticated is expected


def test_a_node_name_can_be_made_of_any_host_name() -> None:
    assert node_name_of("web-1.example") == "web-1.example"
    assert node_name_of("my box é") == "my-box--"
    assert node_name_of("") == "node"


def test_auto_workers_are_the_usable_cpus() -> None:
    assert OPTIONS["workers"].kind.read("auto") == usable_cpus() >= 1
