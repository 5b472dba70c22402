"""Clients without a token, and tokens where no key is configured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.talking import JSON, Talker, http, upgrade
from tests.support.frames import CLOSE
from tests.support.server import ServerProcess

NAMESPACES = """
[namespaces.default]
[namespaces.open]
subscribe = "all"
"""
APP = "from fastws import FastWS\napp = FastWS()\n"
RAW_APP = APP + "\n@app.raw('/echo')\ndef echo(conn, message): conn.send(message)\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The gateway with an application, so that nobody counts as authenticated."""
    file = tmp_path_factory.mktemp("identity") / "fastws.toml"
    file.write_text(NAMESPACES, encoding="utf-8")
    with ServerProcess("--config", str(file), source=RAW_APP) as process:
        yield process


def test_anonymous_clients_of_an_application_pass_what_is_open_to_all(server: ServerProcess) -> None:
    with Talker.welcomed(server) as client:
        assert client.ask("sub", topic="open:a")["topic"] == "open:a"
        for cmd, topic in (("sub", "a"), ("history", "a"), ("pub", "open:a"), ("pub", "a")):
            assert client.ask(cmd, topic=topic, data=1) == 103
        assert client.ask("sub", topic="other:a") == 102
    explained = [line for line in server.stderr().splitlines() if "anonymous" in line]
    assert len(explained) == 1
    assert "--dev" in explained[0]


def test_dev_opens_every_topic(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ServerProcess("--dev", source=APP) as server, Talker.welcomed(server) as client:
        entered = client.ask("sub", topic="anything:at all")
        assert (entered["offset"], client.welcome["user"]) == (0, "")
        assert client.ask("pub", topic="anything:at all", data=1, echo=False)["offset"] == 1
        assert client.ask("pub", topic="default topic", data=1) != 103


def test_the_built_in_gateway_on_loopback_trusts() -> None:
    with ServerProcess() as server, Talker.welcomed(server) as client:
        assert client.ask("sub", topic="a")["topic"] == "a"
        assert client.ask("sub", topic="undeclared:a") == 102
    with ServerProcess("--host", "0.0.0.0", "--anonymous") as server:
        server.host = "127.0.0.1"
        with Talker.welcomed(server) as client:
            assert client.ask("sub", topic="a") == 103


@pytest.mark.parametrize("path", ["/ws?token=x", "/ws?token=", "/ws?a=1&token=x&b"])
def test_a_bad_token_in_the_query_closes_4500(server: ServerProcess, path: str) -> None:
    with Talker(server) as client:
        client.upgrade(path)
        assert client.closed_with() == (4500, "invalid_token")


def test_a_bad_token_as_subprotocol_closes_4500_and_is_not_echoed(server: ServerProcess) -> None:
    with Talker(server) as client:
        response = client.upgrade(headers=[("Sec-WebSocket-Protocol", f"fastws.token.abc, {JSON}")])
        assert response.headers["sec-websocket-protocol"] == JSON
        assert client.closed_with() == (4500, "invalid_token")


def test_only_the_first_place_of_tokens_is_judged(server: ServerProcess) -> None:
    refused = http(server, upgrade("/ws?token=x", "Authorization: Bearer x", "Sec-WebSocket-Protocol: fastws.token.x"))
    assert refused.status == 401
    with Talker(server) as client:
        client.upgrade("/ws", [("Authorization", "Basic eDp5")])
        assert client.hear()["event"] == "welcome"


def test_a_token_of_a_command_answers_101_and_closes_4500(server: ServerProcess) -> None:
    for cmd in ("auth", "refresh"):
        with Talker.welcomed(server) as client:
            assert client.ask(cmd, token="x") == 101
            frame = client.read_frame()
            assert (frame.opcode, frame.close_code, frame.close_reason) == (CLOSE, 4500, "invalid_token")


def test_raw_endpoints_take_no_token(server: ServerProcess) -> None:
    with Talker(server) as client:
        client.upgrade("/echo?token=x", [("Authorization", "Bearer x")])
        client.send_text("hello")
        assert client.read_message() == "hello"
