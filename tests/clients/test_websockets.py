"""The Python package `websockets` works unchanged, with its defaults: deflate offered, pings of its own."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.server import ServerProcess

JSON_PROTOCOL = Subprotocol("fastws.json.v1")


@pytest.fixture(scope="module")
def echo_server() -> Iterator[ServerProcess]:
    with ServerProcess("--deflate", app="tests.conformance.echo_app:app") as server:
        yield server


@pytest.fixture(scope="module")
def gateway() -> Iterator[ServerProcess]:
    with ServerProcess("--dev") as server:
        yield server


def say(socket: ClientConnection, **command: Any) -> None:
    socket.send(json.dumps(command))


def hear(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=10))


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_echo(echo_server: ServerProcess, size: int, compression: str | None) -> None:
    with connect(echo_server.url("/echo"), compression=compression) as socket:
        socket.send("ü" * (size // 2))
        assert socket.recv(timeout=10) == "ü" * (size // 2)
        socket.send(bytes(size))
        assert socket.recv(timeout=10) == bytes(size)
        socket.close(4000, "bye")
    assert socket.close_code == 4000


def test_a_message_in_fragments_and_a_ping(echo_server: ServerProcess) -> None:
    with connect(echo_server.url("/echo")) as socket:
        socket.send(["one ", "two ", "three"])
        assert socket.recv(timeout=10) == "one two three"
        assert socket.ping("there?").wait(10)


def test_an_unknown_path_is_a_404(echo_server: ServerProcess) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(echo_server.url("/nothing")):
        pass
    assert refused.value.response.status_code == 404


def test_subscribe_publish_and_hear(gateway: ServerProcess) -> None:
    with (
        connect(gateway.url(), subprotocols=[JSON_PROTOCOL]) as alice,
        connect(gateway.url(), subprotocols=[JSON_PROTOCOL]) as bob,
    ):
        for socket in (alice, bob):
            assert socket.subprotocol == JSON_PROTOCOL
            assert hear(socket)["event"] == "welcome"
            say(socket, id=1, cmd="sub", topic="prices")
            assert hear(socket)["result"]["topic"] == "prices"
        say(alice, cmd="pub", topic="prices", data={"EUR": 1.08})
        for socket in (alice, bob):
            publication = hear(socket)
            assert (publication["event"], publication["data"]) == ("publication", {"EUR": 1.08})
        say(bob, id=2, cmd="unsub", topic="prices")
        assert hear(bob) == {"id": 2, "result": {}}


def test_without_a_subprotocol_it_is_json(gateway: ServerProcess) -> None:
    with connect(gateway.url()) as socket:
        assert socket.subprotocol is None
        assert hear(socket)["event"] == "welcome"
        socket.send("PING")
        assert socket.recv(timeout=10) == "PONG"
