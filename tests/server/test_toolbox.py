"""The command `fastws` as a process."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from fastws import __version__
from fastws.config import OPTIONS
from fastws.config.docs import render
from tests.contract.talking import Talker
from tests.support.server import ServerProcess

ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTWS_")}
    return subprocess.run(
        [sys.executable, "-m", "fastws.server.toolbox", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environ,
    )


def test_help_lists_every_command(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for name in ("check", "config", "token", "doctor", "connect", "top", "publish", "dead-letters", "version"):
        assert f"\n  {name} " in done.stdout


def test_version(tmp_path: Path) -> None:
    done = run("version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"fastws {__version__}\ncodec compiled\n")
    assert "uvloop " in done.stdout
    assert run("--version", cwd=tmp_path).stdout == f"fastws {__version__}\n"


def test_check_takes_what_the_server_takes(tmp_path: Path) -> None:
    good = tmp_path / "good.toml"
    good.write_text("[server]\nport = 1\n[namespaces.chat]\nhistory_size = 5\nrecover = true\n", encoding="utf-8")
    done = run("check", "good.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "good.toml: ok\n", "")
    assert run("check", cwd=tmp_path).stdout == "no file: environment and defaults: ok\n"
    good.rename(tmp_path / "fastws.toml")
    assert run("check", cwd=tmp_path).stdout == "fastws.toml: ok\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nprot = 1\n", "fastws.toml: [server] has no key 'prot'; the nearest known is 'port'"),
        ("[namespaces.chat]\nrecover = true\n", "fastws.toml: [namespaces.chat] recover = true needs history_size"),
        ('[auth]\njwt_jwks = "https://a"\n', "--jwt-jwks cannot be set yet"),
        ("[", "fastws.toml: is not valid TOML"),
    ],
)
def test_check_says_what_is_wrong(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "fastws.toml").write_text(text, encoding="utf-8")
    done = run("check", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {problem}")
    assert run("check", "nowhere.toml", cwd=tmp_path).returncode == 2


def test_check_warns_of_protected_mode(tmp_path: Path) -> None:
    (tmp_path / "fastws.toml").write_text('[server]\nhost = "0.0.0.0"\n', encoding="utf-8")
    done = run("check", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: the server would not start: protected mode")


def test_config_is_toml_with_sources_and_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "fastws.toml").write_text(
        '[heartbeat]\nping_interval = "10m"\n[namespaces."a b"]\nhistory_ttl = "1h"\n', encoding="utf-8"
    )
    done = run(
        "config",
        cwd=tmp_path,
        FASTWS_PORT="1234",
        FASTWS_ADMIN_KEY="hunter2",
        FASTWS_REDIS="redis://:hunter2@h/0",
        FASTWS_ORIGINS="https://a.example,*",
    )
    assert done.returncode == 0
    assert "hunter2" not in done.stdout + done.stderr
    tables = tomllib.loads(done.stdout)
    assert tables["server"]["port"] == 1234
    assert tables["heartbeat"]["ping_interval"] == 600
    assert tables["admin"]["admin_key"] == "***"
    assert tables["engine"]["redis"] == "redis://:***@h/0"
    assert tables["websocket"]["origins"] == ["https://a.example", "*"]
    assert tables["namespaces"] == {"a b": {"history_ttl": 3600}}
    lines = {line.split(" ")[0]: line for line in done.stdout.splitlines() if not line.startswith(("#", "["))}
    assert lines["port"].endswith("# environment FASTWS_PORT")
    assert lines["ping_interval"].endswith("# file fastws.toml")
    assert lines["host"].endswith("# default")
    for name in OPTIONS:
        assert f"{name} = " in done.stdout


def test_what_config_prints_can_be_used_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "copy.toml").write_text(run("config", cwd=tmp_path).stdout, encoding="utf-8")
    assert run("check", "copy.toml", cwd=tmp_path).returncode == 0


def test_config_prints_the_documentation(tmp_path: Path) -> None:
    assert run("config", "--docs", cwd=tmp_path).stdout == render()


def test_doctor_says_what_fits(tmp_path: Path) -> None:
    done = run("doctor", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"(ok|look) +descriptors +[\d,]+ for a process", done.stdout)
    assert "this machine allows " in done.stdout
    many = run("doctor", "--connections", "2000000000000", cwd=tmp_path)
    assert (many.returncode, many.stderr) == (1, "")
    assert "LOW   descriptors" in many.stdout
    assert many.stdout.endswith("2,000,000,000,000 do not fit\n")
    away = run("doctor", cwd=tmp_path, FASTWS_REDIS="unix:///none/redis.sock")
    assert away.returncode == 1
    assert away.stderr.startswith("Error: ")
    assert "descriptors" in away.stdout


@pytest.mark.parametrize(
    "arguments",
    [["top"], ["dead-letters", "9"]],
)
def test_commands_of_later_parts_say_so(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"Error: fastws {arguments[0]} is not built in this version\n")


def test_publish(tmp_path: Path) -> None:
    with ServerProcess("--admin-port", "0", "--dev", env={"FASTWS_ADMIN_KEY": "k3y"}) as server:
        to_it = ("--admin-url", server.admin_url)
        with Talker.welcomed(server) as listener:
            listener.ask("sub", topic="news")
            done = run("publish", "news", '{"text": "hi"}', *to_it, cwd=tmp_path, FASTWS_ADMIN_KEY="k3y")
            assert (done.returncode, done.stderr) == (0, "")
            assert json.loads(done.stdout).keys() == {"offset", "epoch", "duplicate", "nodes"}
            assert listener.hear()["data"] == {"text": "hi"}
        host, _, port = server.admin_url.removeprefix("http://").rpartition(":")
        (tmp_path / "fastws.toml").write_text(
            f'[admin]\nadmin_host = "{host}"\nadmin_port = {port}\nadmin_key = "k3y"\n'
        )
        for duplicate in (False, True):
            done = run("publish", "news", "-1", "--tenant", "acme", "--key", "k", cwd=tmp_path)
            assert json.loads(done.stdout)["duplicate"] is duplicate
        done = run("publish", "a\n", "1", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: 107 bad_request: ")
        done = run("publish", "news", "1", "--admin-key", "other", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: 101 unauthorized: ")
    done = run("publish", "news", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: cannot reach {server.admin_url}: Connection refused.")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["publish", "news", "hello"], "the message is no JSON"),
        (["publish", "news", "1", "--admin-url", "localhost:9000"], "--admin-url is a URL"),
        (["publish", "news", "1", "--tennant", "acme"], "Got unexpected extra arguments (--tennant acme)"),
        (["publish", "news", "1", "--config", "nowhere.toml"], "nowhere.toml: there is no such file"),
    ],
)
def test_publish_with_wrong_usage(arguments: list[str], problem: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert f"Error: {problem}" in done.stderr


def test_wrong_usage_exits_2(tmp_path: Path) -> None:
    assert run("conect", cwd=tmp_path).returncode == 2
    assert run("connect", cwd=tmp_path).returncode == 2
    assert run("config", "--config", "nowhere.toml", cwd=tmp_path).returncode == 2


def test_token_makes_what_the_server_accepts(tmp_path: Path) -> None:
    secret = {"FASTWS_JWT_SECRET": "a secret of thirty-two characters at least", "FASTWS_JWT_ISSUER": "me"}
    claims = ("--claim", 'permissions={"sub": ["chat:*"]}', "--claim", "room=lobby", "--claim", "roles=[")
    done = run("token", "--user", "42", "--tenant", "acme", "--device", "web", *claims[:4], cwd=tmp_path, **secret)
    assert (done.returncode, done.stderr) == (0, "")
    with (
        ServerProcess(env=secret) as server,
        Talker.welcomed(server, path=f"/ws?token={done.stdout.strip()}") as client,
    ):
        assert (client.welcome["user"], client.welcome["tenant"], client.welcome["device"]) == ("42", "acme", "web")
        assert 3590 < client.welcome["expires"] - time.time() < 3602
        assert client.ask("sub", topic="default") == 103
    done = run("token", "--ttl", "0", *claims, cwd=tmp_path, **secret)
    assert done.returncode == 2
    assert "would not accept" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "problem"),
    [
        (["--user", "42"], {}, "FASTWS_JWT_SECRET"),
        (["--ttl", "soon"], {"FASTWS_JWT_SECRET": "x"}, "--ttl must be"),
        (["--claim", "x"], {"FASTWS_JWT_SECRET": "x"}, "NAME=VALUE"),
    ],
)
def test_token_says_what_is_wrong(tmp_path: Path, arguments: list[str], environ: dict[str, str], problem: str) -> None:
    done = run("token", *arguments, cwd=tmp_path, **environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr


def test_secrets_are_masked(tmp_path: Path) -> None:
    done = run("config", cwd=tmp_path, FASTWS_JWT_SECRET="very secret")
    assert "very secret" not in done.stdout
    assert re.search(r'^jwt_secret = "\*\*\*" +# environment FASTWS_JWT_SECRET$', done.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["connect", "publish", "token"])
def test_examples_in_the_help_keep_their_lines(tmp_path: Path, command: str) -> None:
    lines = run(command, "--help", cwd=tmp_path).stdout.splitlines()
    assert any(line.startswith("    ") and f"fastws {command} " in line for line in lines)
    assert not any("\\b" in line for line in lines)
