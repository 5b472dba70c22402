"""The gateway behind real sockets: many subscribers, slow ones, and the application's hooks and services."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from tests.support.frames import BINARY, TEXT
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess

MSGPACK = [("Sec-WebSocket-Protocol", "fastws.msgpack.v1")]
MAX_OUTBOX = 262_144
APP = """
from fastws import FastWS, Reject

open_to_all = {"subscribe": "all", "publish": "all"}
app = FastWS(
    namespaces={
        "default": open_to_all,
        "steady": open_to_all,
        "newest": {**open_to_all, "slow_policy": "drop_oldest"},
        "price": {**open_to_all, "slow_policy": "conflate", "conflate_key": "symbol"},
    }
)


@app.on_connect
async def connect(conn):
    if conn.query.get("banned"):
        raise Reject(4507)


@app.on_disconnect
async def gone(info, close):
    await app.publish("gone", {"id": info.id, "code": close.code})


@app.http("/announce", methods=("POST",))
async def announce(request):
    await app.broadcast(request.json())


@app.http("/kick", methods=("POST",))
async def kick(request):
    return {"kicked": await app.disconnect(conn=request.json())}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--max-outbox", str(MAX_OUTBOX), "--ping-interval", "0", source=APP) as process:
        yield process


class Talker(RawClient):
    """A client that was welcomed."""

    def __init__(self, server: ServerProcess, path: str = "/ws", **options: Any) -> None:
        super().__init__(server.host, server.port, **options)
        self.upgrade(path)
        self.id = self.read_json()["conn"]

    def ask(self, cmd: str, **fields: Any) -> Any:
        self.send_json({"id": 1, "cmd": cmd, **fields})
        while "id" not in (answer := self.read_json()):
            pass
        return answer["result"]


def post(server: ServerProcess, path: str, content: Any) -> bytes:
    body = json.dumps(content).encode()
    with socket.create_connection((server.host, server.port), timeout=10) as sock:
        sock.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer


def test_everyone_hears_everything_in_order(server: ServerProcess) -> None:
    count, publishers = 50, 7
    with ExitStack() as open_ones:
        hearers = [open_ones.enter_context(Talker(server)) for _ in range(300)]
        for hearer in hearers:
            hearer.ask("sub", topic="steady:many")
        other = open_ones.enter_context(RawClient(server.host, server.port))
        other.upgrade("/ws", MSGPACK)
        other.read_message()
        other.send_frame(BINARY, msgspec.msgpack.encode({"cmd": "sub", "topic": "steady:many", "id": 1}))
        other.read_message()
        for number in range(count):
            publisher = hearers[number % publishers]
            publisher.send_json({"cmd": "pub", "topic": "steady:many", "data": [number % publishers, number]})
        first = [hearers[0].read_json()["data"] for _ in range(count)]
        for publisher_number in range(publishers):
            own = [number for who, number in first if who == publisher_number]
            assert own == sorted(own)
        assert sorted(number for _, number in first) == list(range(count))
        for hearer in hearers[1:]:
            assert [hearer.read_json()["data"] for _ in range(count)] == first
        assert [msgspec.msgpack.decode(other.read_frame().payload)["data"] for _ in range(count)] == first


def flood(server: ServerProcess, topic: str, data: list[Any]) -> Talker:
    """A subscriber that does not read while much more is published than fits anywhere. It was told nothing yet."""
    slow = Talker(server, receive_buffer=4096)
    slow.ask("sub", topic=topic)
    with Talker(server) as steady:
        steady.ask("sub", topic=topic)
        with Talker(server) as publisher:
            for content in data:
                publisher.send_json({"cmd": "pub", "topic": topic, "data": content, "id": 1})
                publisher.read_json()
                assert steady.read_json()["data"] == content
    return slow


def numbered(count: int) -> list[Any]:
    return [{"symbol": "AB"[number % 2], "n": number, "filler": "x" * 40_000} for number in range(count)]


def test_a_slow_reader_is_disconnected_and_nobody_else(server: ServerProcess) -> None:
    with flood(server, "steady:slow", numbered(200)) as slow:
        heard = []
        while (frame := slow.read_frame()).opcode == TEXT:
            heard.append(json.loads(frame.payload)["data"]["n"])
        assert heard == list(range(len(heard)))
        assert (frame.close_code, frame.close_reason) == (4003, "slow_consumer")


def test_a_slow_reader_of_the_newest_loses_the_oldest(server: ServerProcess) -> None:
    with flood(server, "newest:slow", numbered(200)) as slow:
        heard = [slow.read_json()["data"]["n"]]
        while heard[-1] != 199:
            heard.append(slow.read_json()["data"]["n"])
        assert heard == sorted(heard)
        assert len(heard) < 200


def test_a_slow_reader_of_prices_gets_the_last_of_each(server: ServerProcess) -> None:
    with flood(server, "price:slow", numbered(200)) as slow:
        heard = [slow.read_json()["data"]["n"]]
        while heard[-1] != 199:
            heard.append(slow.read_json()["data"]["n"])
        assert 198 in heard
        assert len(heard) < 200


def test_hooks(server: ServerProcess) -> None:
    with Talker(server) as watcher:
        watcher.ask("sub", topic="gone")
        with RawClient(server.host, server.port) as banned:
            banned.upgrade("/ws?banned=1")
            assert banned.read_close() == (4507, "permission_denied")
        leaver = Talker(server)
        leaver.send_close(4321)
        assert watcher.read_json()["data"] == {"id": leaver.id, "code": 4321}
        leaver.close()
        lost = Talker(server)
        lost.reset()
        assert watcher.read_json()["data"] == {"id": lost.id, "code": 1006}


def test_services(server: ServerProcess) -> None:
    with Talker(server) as first, Talker(server) as second:
        assert b" 204 " in post(server, "/announce", {"news": [1, None]})
        for client in (first, second):
            message = client.read_json()
            assert (message["event"], message["data"]) == ("message", {"news": [1, None]})
        assert b'{"kicked":1}' in post(server, "/kick", second.id)
        assert second.read_close() == (4503, "kicked")
        assert b'{"kicked":0}' in post(server, "/kick", "nobody-1")
        assert first.ask("ping")
