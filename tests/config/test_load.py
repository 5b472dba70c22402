"""Precedence, unknown names, the file, and what a wrong value says."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fastws.config import OPTIONS, load
from fastws.config.not_built import NOT_BUILT
from fastws.errors import ConfigError


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "fastws.toml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def problems_of(*arguments: dict[str, object], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*arguments, environ=environ or {})
    return str(caught.value).split("\n")


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.none() | st.integers(0, 65535)] * 3))
def test_option_before_environment_before_file_before_default(ports: tuple[int | None, int | None, int | None]) -> None:
    option, variable, key = ports
    write(f"[server]\nport = {key}" if key is not None else "")
    given_options = {"port": str(option)} if option is not None else {}
    environ = {"FASTWS_PORT": str(variable)} if variable is not None else {}
    settings = load(given_options, environ)
    candidates = [
        (option, "option"),
        (variable, "environment FASTWS_PORT"),
        (key, "file fastws.toml"),
        (8000, "default"),
    ]
    port, source = next(candidate for candidate in candidates if candidate[0] is not None)
    assert (settings.port, settings.sources["port"]) == (port, source)


def test_nothing_at_all_gives_the_defaults() -> None:
    settings = load({}, {})
    assert settings.port == 8000
    assert set(settings.sources.values()) == {"default"}
    assert list(settings.sources) == list(OPTIONS)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load({}, {"FASTWS_ADMIN_KEY": "", "FASTWS_PORT": ""}).port == 8000


def test_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTWS_MAX_TOPICS", "7")
    assert load().max_topics == 7


def test_every_kind_from_every_place() -> None:
    write(
        """
        [server]
        app = "chat:app"
        dev = true
        [websocket]
        origins = ["https://a.example", "*"]
        deflate = 0
        [heartbeat]
        ping_interval = "10m"
        ping_timeout = 2.5
        [logging]
        log_format = "json"
        """
    )
    settings = load(
        {"handshake_timeout": "500ms"}, {"FASTWS_FORWARDED_ALLOW_IPS": "10.0.0.0/8, ::1", "FASTWS_DEV": "0"}
    )
    assert settings.app == "chat:app"
    assert settings.dev is False
    assert settings.origins == ("https://a.example", "*")
    assert settings.deflate is False
    assert settings.is_set("deflate")
    assert (settings.ping_interval, settings.ping_timeout, settings.handshake_timeout) == (600, 2.5, 0.5)
    assert settings.forwarded_allow_ips == ("10.0.0.0/8", "::1")
    assert settings.log_format == "json"
    assert settings.config == "fastws.toml"
    assert load({}, {}, look_for_file=False).config is None


def test_the_file_may_be_named_by_option_or_variable() -> None:
    write("[server]\nport = 1", "a.toml")
    write("[server]\nport = 2", "b.toml")
    write("[server]\nport = 3")
    assert load({}, {}).port == 3
    assert load({}, {"FASTWS_CONFIG": "b.toml"}).port == 2
    assert load({"config": "a.toml"}, {"FASTWS_CONFIG": "b.toml"}).port == 1


def test_variables_of_others_are_ignored() -> None:
    environ = {
        "FASTWS_SERVICE_HOST": "10.0.0.1",
        "FASTWS_SERVICE_PORT_HTTP": "80",
        "FASTWS_PORT": "tcp://10.0.0.1:80",
        "FASTWS_PORT_80_TCP": "tcp://10.0.0.1:80",
        "FASTWS_TEST_STREAMS": "1",
        "FASTWS_BENCH_X": "1",
        "PATH": "/bin",
        "NOT_FASTWS_PORT": "x",
    }
    assert load({}, environ).port == 8000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FASTWS_PROT", "unknown variable FASTWS_PROT; the nearest known is 'FASTWS_PORT'"),
        (
            "FASTWS_PING_INTERVALL",
            "unknown variable FASTWS_PING_INTERVALL; the nearest known is 'FASTWS_PING_INTERVAL'",
        ),
        ("FASTWS_NO_DEFLATE", "unknown variable FASTWS_NO_DEFLATE; write FASTWS_DEFLATE=false"),
        ("FASTWS_", "unknown variable FASTWS_; the nearest known is 'FASTWS_APP'"),
    ],
)
def test_unknown_variables_name_the_nearest(name: str, expected: str) -> None:
    assert problems_of({}, environ={name: "1"}) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprot = 1", "fastws.toml: [server] has no key 'prot'; the nearest known is 'port'"),
        ("[serve]\nport = 1", "fastws.toml: unknown table [serve]; the nearest known is 'server'"),
        ("[limits]\nport = 1", "fastws.toml: port belongs in the table [server], not in [limits]"),
        ("port = 1", "fastws.toml: port belongs in the table [server]"),
        ("server = 1", "fastws.toml: server must be a table: write [server]"),
        ("namespaces = 1", "fastws.toml: namespaces must be a table: write [namespaces]"),
        ("[websocket]\nno_deflate = true", "fastws.toml: [websocket] has no key 'no_deflate'; write deflate = false"),
        ("[server]\nconfig = 'x'", "fastws.toml: [server] has no key 'config'"),
        ("[heartbeat]\nping-interval = 1", "fastws.toml: [heartbeat] has no key 'ping-interval'"),
        ("[namespaces.a]\nx = 1", "fastws.toml: [namespaces.a] has no key 'x'"),
        ("[server]\nport = true", "fastws.toml: [server] port must be a whole number"),
        ("[server]\nhost = 3", "fastws.toml: [server] host must be a text in quotes"),
        ("[server", "fastws.toml: is not valid TOML: "),
    ],
)
def test_what_is_wrong_in_a_file(text: str, expected: str) -> None:
    write(text)
    problems = problems_of({})
    assert len(problems) == 1
    assert problems[0].startswith(expected)


def test_files_that_cannot_be_read() -> None:
    assert problems_of({"config": "none.toml"}) == ["none.toml: there is no such file"]
    Path("dir").mkdir()
    assert problems_of({"config": "dir"}) == ["dir: cannot be read: Is a directory"]
    Path("odd.toml").write_bytes(b"\xff")
    assert problems_of({"config": "odd.toml"}) == ["odd.toml: is not UTF-8"]


def test_a_file_nested_too_deeply_is_wrong() -> None:
    write("x = " + "[" * 1000 + "]" * 1000)
    assert problems_of() == ["fastws.toml: is nested too deeply"]


def test_names_in_messages_can_be_seen() -> None:
    write('[namespaces."a\\u0000b"]\n["\\u2028"]\n')
    namespace, table = problems_of()
    assert namespace.startswith("fastws.toml: [namespaces.'a\\x00b'] must not contain control characters")
    assert table.startswith("fastws.toml: unknown table ['\\u2028'];")


def test_what_is_not_utf8_is_refused() -> None:
    """As Python hands it over from the environment and the command line."""
    assert problems_of(environ={"FASTWS_HOST": "\udcff"}) == ["FASTWS_HOST must be UTF-8"]
    assert problems_of({"origins": "*,\udcff"}) == ["--origins must be UTF-8"]
    assert problems_of(environ={"FASTWS_\udcff": "1"})[0].startswith("unknown variable 'FASTWS_\\udcff';")


def test_all_problems_are_told_at_once_even_of_values_that_lose() -> None:
    write("[server]\nport = -1\n[limits]\nmax_topics = -2")
    problems = problems_of({"port": "70000", "drain_timeout": "-1"}, environ={"FASTWS_PORT": "x", "FASTWS_Y": "1"})
    assert len(problems) == 6
    assert problems[:3] == [
        "--port must be at most 65535",
        "--drain-timeout must not be negative",
        "FASTWS_PORT must be a whole number",
    ]


@pytest.mark.parametrize(
    "name", [name for name, option in OPTIONS.items() if option.kind.metavar in ("N", "SECONDS", "BYTES")]
)
def test_no_number_may_be_negative(name: str) -> None:
    assert problems_of({name: "-1"})[0].startswith(f"{OPTIONS[name].flag} must")


def test_the_admin_port_alone_may_be_minus_one() -> None:
    assert load({"admin_port": "-1"}, {}).admin_port == -1
    assert problems_of({"admin_port": "-2"}) == ["--admin-port must be at least -1"]


def test_an_app_without_a_colon_is_wrong_usage() -> None:
    assert problems_of({"app": "chat"})[0].startswith("MODULE:APP is a module and an attribute")


def test_secrets_do_not_get_into_messages() -> None:
    assert not any("hunter2" in problem for problem in problems_of({"redis": "http://u:hunter2@h"}))


SAMPLES = {
    "redis": "redis://h",
    "ssl_require_client_cert": "true",
    "jwt_jwks": "https://example.com",
    "max_connections_per_user": "3",
    "user_limit_policy": "replace",
}


@pytest.mark.parametrize("name", sorted(NOT_BUILT))
def test_options_of_missing_parts_say_so(name: str) -> None:
    given_options = {name: SAMPLES.get(name, "x")}
    problems = problems_of(given_options)
    assert problems == [f"{OPTIONS[name].flag} cannot be set yet: {NOT_BUILT[name]} is not built in this version"]
    assert load(given_options, {}, allow_not_built=True).is_set(name)


def test_options_of_missing_parts_may_have_their_default() -> None:
    settings = load({"workers": "1", "redis": "none", "prefix": "fastws"}, {"FASTWS_SSL_REQUIRE_CLIENT_CERT": "false"})
    assert settings.is_set("workers")
