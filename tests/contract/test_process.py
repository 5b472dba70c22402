"""What the process says and takes: standard output, environment, file, the end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.contract.talking import Talker, get, http
from tests.support import on_redis
from tests.support.server import ServerFailed, ServerProcess


def test_standard_output_is_one_line_for_machines() -> None:
    with ServerProcess() as server, Talker.welcomed(server):
        assert server.lines == [f"listening on http://127.0.0.1:{server.port}"]
        first = json.loads(server.stderr().splitlines()[0])["event"]
        engine = f"engine {on_redis.engine_name()}"
        for word in ("fastws ", "127.0.0.1", "1 worker", engine, "uvloop", "codec"):
            assert word in first


def test_ipv6_is_written_in_brackets() -> None:
    with ServerProcess("--host", "::1") as server, Talker.welcomed(server):
        assert server.lines == [f"listening on http://[::1]:{server.port}"]


def test_the_admin_options_are_accepted() -> None:
    with ServerProcess("--admin-host", "127.0.0.1", "--admin-port", "0") as server:
        assert http(server, get("/healthz")).status == 200


def test_variables_of_kubernetes_are_nobodys() -> None:
    env = {
        "FASTWS_SERVICE_HOST": "10.0.0.1",
        "FASTWS_PORT_8000_TCP_ADDR": "10.0.0.1",
        "FASTWS_PORT": "tcp://10.0.0.1:8000",
        "FASTWS_TEST_X": "1",
        "FASTWS_PING_INTERVAL": "10m",
    }
    with ServerProcess(env=env) as server, Talker.welcomed(server) as client:
        assert client.welcome["ping"] == 600


def test_a_file_is_named_by_option_or_variable_and_options_win(tmp_path: Path) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text('[server]\npath = "/file"\nno_such_thing = 1\n', encoding="utf-8")
    with pytest.raises(ServerFailed, match=r"exited 2 "), ServerProcess("--config", str(file)):
        pass
    file.write_text('[server]\npath = "/file"\n[websocket]\ndeflate = false\n', encoding="utf-8")
    for options, path in ((), "/file"), (("--path", "/option"), "/option"):
        with (
            ServerProcess(*options, env={"FASTWS_CONFIG": str(file)}) as server,
            Talker.welcomed(server, path=path) as client,
        ):
            assert client.ask("ping").keys() == {"ts"}


@pytest.mark.parametrize(
    "options",
    ['slow_policy = "drop_oldest"\nhistory_size = 5', 'slow_policy = "conflate"\nhistory_size = 5', "history_size = 0"],
)
def test_recovery_that_cannot_hold_exits_2(tmp_path: Path, options: str) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text(f"[namespaces.chat]\nrecover = true\n{options}\n", encoding="utf-8")
    with pytest.raises(ServerFailed, match=r"exited 2 ") as failed, ServerProcess("--config", str(file)):
        pass
    assert "recover" in str(failed.value)


def test_a_drain_without_time_closes_everyone_at_once() -> None:
    with ServerProcess("--drain-timeout", "0") as server:
        clients = [Talker.welcomed(server) for _ in range(20)]
        assert server.stop(5) == 0
        for client in clients:
            code, reason = client.read_close()
            assert code == 1012
            assert re.fullmatch(r"restarting retry_ms=\d+", reason)
            client.close()
