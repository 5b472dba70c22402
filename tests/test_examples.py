"""The README's program and the examples do what they say."""

import re
import urllib.request
from pathlib import Path

import pytest

from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def chat(server: ServerProcess) -> None:
    with RawClient(server.host, server.port) as ann, RawClient(server.host, server.port) as ben:
        ann.upgrade("/chat")
        ann.send_text("I am here")
        assert ann.read_message() == "I am here"
        ben.upgrade("/chat")
        ben.send_text("me too")
        assert ann.read_message() == "me too"
        assert ben.read_message() == "me too"


def test_the_program_of_the_readme() -> None:
    (program,) = (block for block in blocks("README.md", "python") if "FastWS()" in block)
    assert len([line for line in program.splitlines() if line.strip() and not line.startswith("#")]) <= 13
    with ServerProcess(source=program) as server:
        chat(server)


def test_the_javascript_of_the_readme_speaks_of_the_server_as_it_is() -> None:
    (program,) = blocks("README.md", "js")
    with ServerProcess("--dev") as server, RawClient(server.host, server.port) as client:
        address, protocol = re.findall(r'"(ws://127.0.0.1:8000/ws|fastws[^"]+)"', program)
        client.upgrade(address.removeprefix("ws://127.0.0.1:8000"), [("Sec-WebSocket-Protocol", protocol)])
        assert client.read_json()["event"] == "welcome"
        client.send_json({"id": 1, "cmd": "sub", "topic": "chat:lobby"})
        assert client.read_json()["id"] == 1
        client.send_json({"cmd": "pub", "topic": "chat:lobby", "data": {"text": "hello"}})
        assert client.read_json()["data"] == {"text": "hello"}


def example(name: str) -> ServerProcess:
    return ServerProcess("--app-dir", str(EXAMPLES), app=f"{name}:app")


def test_echo() -> None:
    with example("echo") as server, RawClient(server.host, server.port) as client:
        client.upgrade("/echo")
        client.send_text("hello")
        assert client.read_message() == "hello"
        client.send_frame(2, b"\0\1")
        assert client.read_message() == b"\0\1"


def test_chat() -> None:
    def members() -> bytes:
        with urllib.request.urlopen(server.url("/here", "http"), timeout=10) as answer:
            return answer.read()

    with example("chat") as server:
        assert members() == b'{"here":0}'
        with RawClient(server.host, server.port) as client:
            client.upgrade("/chat")
            assert wait_until(lambda: members() == b'{"here":1}')
        chat(server)
        assert wait_until(lambda: members() == b'{"here":0}')


def test_ticker() -> None:
    with example("ticker") as server, RawClient(server.host, server.port) as client:
        client.upgrade("/ws")
        assert client.read_json()["event"] == "welcome"
        client.send_json({"id": 1, "cmd": "sub", "topic": "price:BTC"})
        assert client.read_json()["result"]["topic"] == "price:BTC"
        prices = [client.read_json() for _ in range(3)]
        assert [price["data"]["symbol"] for price in prices] == ["BTC"] * 3
        offsets = [price["offset"] for price in prices]
        assert offsets == [offsets[0], offsets[0] + 1, offsets[0] + 2]
        client.send_json({"id": 2, "cmd": "pub", "topic": "price:BTC", "data": 1})
        refused = next(answer for answer in iter(client.read_json, None) if answer.get("id") == 2)
        assert refused["error"]["code"] == 103


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_is_tested_and_says_how_to_run_it(path: Path) -> None:
    assert f"def test_{path.stem}(" in Path(__file__).read_text(encoding="utf-8")
    assert f"fastws-server --app-dir examples {path.stem}:app" in path.read_text(encoding="utf-8")
