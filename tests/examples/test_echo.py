"""The example echo.py."""

from websockets.sync.client import connect

from tests.examples.users import example


def test_everything_comes_back() -> None:
    with example("echo") as server, connect(server.url("/echo"), proxy=None) as client:
        for message in ("hello", b"\0\1"):
            client.send(message)
            assert client.recv(timeout=10) == message
