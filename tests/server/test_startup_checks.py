"""Protected mode, the first line, and what a machine allows less of than was asked for."""

import importlib.util
import resource

import pytest

from fastws.config import Settings, not_built
from fastws.errors import StartError
from fastws.server import cli, startup_checks
from fastws.server.startup_checks import Machine

ROOMY = Machine(2_000_000, 65_535, (32768, 60999), frozenset())


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(host="::1"),
        Settings(host="localhost"),
        Settings(host="0.0.0.0", uds="/tmp/s"),
        Settings(host="0.0.0.0", anonymous=True),
        Settings(host="0.0.0.0", jwt_secret="x"),
        Settings(host="0.0.0.0", ssl_require_client_cert=True),
        Settings(admin_host="0.0.0.0", admin_port=-1),
        Settings(admin_host="0.0.0.0", admin_key="k"),
    ],
)
def test_protected_mode_lets_pass(settings: Settings) -> None:
    startup_checks.protect(settings)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (Settings(host="0.0.0.0"), "--anonymous"),
        (Settings(host="0.0.0.0", dev=True), "--anonymous"),
        (Settings(host="::", app="chat:app"), "--anonymous"),
        (Settings(host=""), "--anonymous"),
        (Settings(host="no-such-host.invalid"), "--anonymous"),
        (Settings(admin_host="0.0.0.0"), "--admin-key"),
        (Settings(admin_host="192.0.2.1", anonymous=True), "--admin-port -1"),
    ],
)
def test_protected_mode_refuses_and_says_what_to_set(settings: Settings, word: str) -> None:
    with pytest.raises(StartError, match="protected mode") as caught:
        startup_checks.protect(settings)
    assert word in str(caught.value)
    assert caught.value.exit_code == 3


def test_protected_mode_advises_only_what_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup_checks, "NOT_BUILT", dict.fromkeys(("jwt_secret", "jwt_public_key", "jwt_jwks"), "x"))
    with pytest.raises(StartError) as caught:
        startup_checks.protect(Settings(host="0.0.0.0"))
    assert "--jwt" not in str(caught.value)
    monkeypatch.setattr(startup_checks, "NOT_BUILT", {})
    with pytest.raises(StartError, match="--jwt-secret"):
        startup_checks.protect(Settings(host="0.0.0.0"))
    assert not_built.NOT_BUILT is not startup_checks.NOT_BUILT


def test_defaults_ask_for_nothing() -> None:
    assert startup_checks.shortfalls(Settings(), Machine(1024, 128, (32768, 60999), frozenset())) == []


@pytest.mark.parametrize(
    ("settings", "machine", "word"),
    [
        (Settings(max_connections=100_000), Machine(20_000, 2**20, (1, 2), frozenset()), "100192 descriptors"),
        (Settings(max_connections=100_000), Machine(200_000, 4096, (1, 2), frozenset()), "somaxconn = 4096"),
        (Settings(sources={"backlog": "option"}), Machine(200_000, 4096, (1, 2), frozenset()), "somaxconn = 4096"),
        (Settings(port=40000), ROOMY, "port 40000"),
    ],
)
def test_shortfalls_are_named(settings: Settings, machine: Machine, word: str) -> None:
    found = startup_checks.shortfalls(settings, machine)
    assert len(found) == 1
    assert word in found[0]


def test_a_reserved_port_and_a_unix_socket_are_safe() -> None:
    reserved = Machine(10**6, 65_535, (1024, 65535), frozenset({8000}))
    assert startup_checks.shortfalls(Settings(), reserved) == []
    assert startup_checks.shortfalls(Settings(port=40000, uds="/tmp/s"), ROOMY) == []
    assert startup_checks.shortfalls(Settings(max_connections=1_000_000), ROOMY) == []


def test_the_advice_has_the_number_asked_for() -> None:
    assert startup_checks.tune_line(Settings(max_connections=5)) == "make tune CONNECTIONS=5"
    assert startup_checks.tune_line(Settings()) == "make tune CONNECTIONS=1000000"


def test_this_machine_can_be_read() -> None:
    machine = Machine.read()
    assert machine.descriptors > 0
    assert machine.somaxconn > 0
    assert machine.ephemeral_ports[0] < machine.ephemeral_ports[1]


def test_the_soft_limit_of_descriptors_is_lifted() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
        startup_checks.raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_first_line_names_everything() -> None:
    line = startup_checks.first_line(Settings(port=1234), "fastws 9.9")
    for part in (
        "fastws 9.9 on http://127.0.0.1:1234",
        "1 worker,",
        "engine memory",
        "event loop uvloop ",
        "codec compiled",
    ):
        assert part in line
    assert line.endswith("serving the built-in gateway")
    other = startup_checks.first_line(
        Settings(uds="/run/x", workers=3, redis="redis://:secret@h", app="chat:app"), "fastws 9.9"
    )
    for part in ("on unix:/run/x", "3 workers", "redis://:***@h", "serving chat:app"):
        assert part in other
    assert "secret@" not in other


def test_without_the_extension_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StartError, match="make build"):
        startup_checks.codec_name()


def test_without_uvloop_it_is_asyncio_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert startup_checks.loop_name() == "asyncio"
    cli.warn(Settings())
    assert "uvloop is not installed" in caplog.text


def test_lists_of_ports() -> None:
    assert startup_checks._ports("") == frozenset()
    assert startup_checks._ports("80,90-92") == {80, 90, 91, 92}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(), []),
        (Settings(jwt_secret="x" * 32, jwt_issuer="me", jwt_audience="us"), []),
        (Settings(jwt_secret="x" * 31), ["--jwt-secret has fewer than 32 bytes"]),
        (Settings(jwt_secret="\u00e4" * 16), []),
        (Settings(jwt_secret="x" * 32 + "\n"), ["--jwt-secret begins or ends with white space"]),
        (Settings(data_dir="d", redis="redis://h"), ["--data-dir is of the embedded Redis"]),
        (Settings(data_dir="d", redis="embedded"), []),
        (
            Settings(jwt_issuer="me", jwt_audience="us"),
            ["--jwt-issuer is set without", "--jwt-audience is set without"],
        ),
    ],
)
def test_what_is_hardly_meant_is_said(settings: Settings, words: list[str]) -> None:
    found = startup_checks.doubts(settings)
    assert len(found) == len(words)
    assert all(word in doubt for word, doubt in zip(words, found, strict=True))
