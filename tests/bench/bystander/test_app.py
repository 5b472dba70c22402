"""The application under load: echoes, open topics, bystanders on its loop."""

import pytest

from bench import servers
from bench.bystander.watch import BystanderError, ask
from tests.support.raw_client import RawClient


@pytest.mark.parametrize("path", ["/echo", "/work"])
def test_messages_come_back(server: servers.Server, path: str) -> None:
    with RawClient("127.0.0.1", server.port) as client:
        client.upgrade(path)
        client.send_text("hi")
        assert client.read_message() == "hi"


def test_topics_are_open(server: servers.Server) -> None:
    with RawClient("127.0.0.1", server.port) as subscriber, RawClient("127.0.0.1", server.port) as publisher:
        for client in (subscriber, publisher):
            client.upgrade("/ws")
            assert client.read_json()["event"] == "welcome"
        subscriber.send_json({"id": 1, "cmd": "sub", "topic": "t"})
        assert subscriber.read_json()["id"] == 1
        publisher.send_json({"cmd": "pub", "topic": "t", "data": "hello"})
        assert subscriber.read_json()["data"] == "hello"


def test_there_are_no_delays_before_the_bystanders_are_started() -> None:
    with servers.fastws("bench.bystander.app:app") as fresh, pytest.raises(BystanderError, match="500"):
        ask(fresh.port, "GET", "/bystander/delays")
