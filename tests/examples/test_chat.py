"""examples/chat: what its page says, said by another client; tests/browser has the page itself."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.examples.users import User, example
from tests.support.server import ServerProcess


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with example("chat", folder="chat", env={"FASTWS_JWT_SECRET": "x" * 32}) as process:
        yield process


def login(server: ServerProcess, body: Any) -> str:
    request = urllib.request.Request(server.url("/login", "http"), json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        token: str = json.load(answer)["token"]
        return token


def test_rooms_have_names_history_and_presence(server: ServerProcess) -> None:
    with User(server, login(server, {"name": "Ann"})) as ann, User(server, login(server, {"name": "Ben"})) as ben:
        ann.ask("sub", topic="chat:lobby", presence=True)
        ben.ask("sub", topic="chat:lobby")
        assert ann.expect("join")["info"] == {"name": "Ben"}
        ben.ask("pub", topic="chat:lobby", data={"text": "hello", "name": "Ann"})
        assert ann.expect("publication")["data"] == {"text": "hello", "name": "Ben"}
        members = ann.ask("presence", topic="chat:lobby")["members"].values()
        assert sorted(member["info"]["name"] for member in members) == ["Ann", "Ben"]
        past = ann.ask("history", topic="chat:lobby")
        assert [publication["data"]["text"] for publication in past["publications"]] == ["hello"]
        ben.close()
        assert ann.expect("leave")["info"] == {"name": "Ben"}


def test_who_comes_back_gets_what_was_said_meanwhile(server: ServerProcess) -> None:
    token = login(server, {"name": "Ann"})
    with User(server, token) as ann, User(server, login(server, {"name": "Ben"})) as ben:
        seen = ann.ask("sub", topic="chat:garden")
        ann.close()
        ben.ask("pub", topic="chat:garden", data={"text": "missed"})
        with User(server, token) as again:
            position = {"epoch": seen["epoch"], "offset": seen["offset"]}
            back = again.ask("sub", topic="chat:garden", recover=position)
    assert back["recovered"] is True
    assert [publication["data"]["text"] for publication in back["publications"]] == ["missed"]


@pytest.mark.parametrize("data", ["text", {}, {"text": ""}, {"text": 1}, {"text": "x" * 2001}])
def test_messages_that_are_none(server: ServerProcess, data: Any) -> None:
    with User(server, login(server, {"name": "Ann"})) as ann:
        assert ann.ask("pub", topic="chat:lobby", data=data)["code"] == 107


@pytest.mark.parametrize("body", [{}, {"name": " "}, {"name": "x" * 41}, []])
def test_names_that_are_none(server: ServerProcess, body: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        login(server, body)
    assert refused.value.code == 400
    refused.value.close()


def test_strangers_stay_out(server: ServerProcess) -> None:
    with User(server, is_stranger=True) as stranger:
        assert stranger.ask("sub", topic="chat:lobby")["code"] == 101
