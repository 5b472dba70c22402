"""Commands as clients may write them: batches, order, forms by hand, recovery, echo, limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.talking import JSON, MSGPACK, Talker
from tests.support.frames import build_frame
from tests.support.server import ServerProcess

NAMESPACES = """
[namespaces.default]
[namespaces.chat]
history_size = 5
recover = true
[namespaces.quiet]
echo = false
[namespaces.small]
max_subscribers = 2
"""
CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    file = tmp_path_factory.mktemp("commands") / "fastws.toml"
    file.write_text(NAMESPACES, encoding="utf-8")
    with ServerProcess("--config", str(file), "--max-topics", "4") as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Talker]:
    with Talker.welcomed(server) as client:
        yield client


def test_lines_run_in_order_and_each_answer_is_a_frame(client: Talker) -> None:
    client.send_text(
        '\n{"cmd":"sub","topic":"lines","id":1}\r\n  \n{"cmd":"pub","topic":"lines","data":1,"id":2}\n\n'
        '{"cmd":"unsub","topic":"lines","id":3}\n{"cmd":"ping","id":4}\n'
    )
    heard = [client.hear() for _ in range(5)]
    assert [message["id"] for message in heard if "id" in message] == [1, 2, 3, 4]
    places = {message.get("id", "publication"): number for number, message in enumerate(heard)}
    assert places[1] < places["publication"] < places[3]


@pytest.mark.parametrize("text", ["", "\n", "\n\r\n \t\n"])
def test_blank_lines_are_nothing(client: Talker, text: str) -> None:
    client.send_text(text + '\n{"cmd":"ping","id":1}')
    assert client.hear()["id"] == 1
    client.send_text(text)
    if text:
        assert client.ask("ping").keys() == {"ts"}


def test_lines_run_up_to_the_first_malformed_one(client: Talker) -> None:
    client.send_text(
        '{"cmd":"ping","id":1}\n{"cmd":"nonsense","id":2}\n{"cmd":"ping","id":3}\n{"cmd"\n{"cmd":"ping","id":4}'
    )
    assert client.hear()["id"] == 1
    assert client.hear()["error"]["code"] == 104
    assert client.hear()["id"] == 3
    assert client.closed_with() == (4501, "bad_request")


MALFORMED = [
    *("null", "1", '"PING"', "[]", '[{"cmd":"ping"}]', "true", "{", "{}x", "ping", "PING ", "PING\nPING", "HEARTBEAT"),
    *("\ufeff{}", "{'cmd':'ping'}", '{"cmd":"ping"}{"cmd":"ping"}', '{"cmd":"ping"} // x', "\x00", "\u00a0"),
]


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_no_object_closes_4501(client: Talker, text: str) -> None:
    client.send_text(text)
    assert client.closed_with() == (4501, "bad_request")


@pytest.mark.parametrize(
    "data", [b"", b"\xc0", b"\x01", b"\x90", b"\x81\xa3cmd", b"\xc1", b"\x80\x80", b'{"cmd":"ping"}']
)
def test_what_is_no_map_closes_4501(server: ServerProcess, data: bytes) -> None:
    with Talker.welcomed(server, MSGPACK) as client:
        client.send_frame(2, data)
        assert client.closed_with() == (4501, "bad_request")


def test_the_wrong_kind_of_frame_closes_1003(server: ServerProcess) -> None:
    for codec, opcode in ((JSON, 2), (MSGPACK, 1)):
        with Talker.welcomed(server, codec) as client:
            client.send_frame(opcode, b'{"cmd":"ping","id":1}')
            assert client.closed_with() == (1003, "unsupported")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({}, 107),
        ({"cmd": None}, 107),
        ({"cmd": 5}, 107),
        ({"cmd": ["ping"]}, 107),
        ({"type": "heartbeat"}, 107),
        ({"cmd": "PING"}, 104),
        ({"cmd": "Sub", "topic": "a"}, 104),
        ({"cmd": ""}, 104),
        ({"cmd": "sub"}, 107),
        ({"cmd": "pub", "topic": "a"}, 107),
        ({"cmd": "pub", "topic": "a", "data": 1, "key": 5}, 107),
        ({"cmd": "pub", "topic": "a", "data": 1, "echo": "no"}, 107),
        ({"cmd": "sub", "topic": "a", "recover": True}, 107),
        ({"cmd": "sub", "topic": "a", "presence": 1}, 107),
        ({"cmd": "history", "topic": "chat:a", "limit": -1}, 107),
        ({"cmd": "history", "topic": "chat:a", "limit": 1001}, 106),
        ({"cmd": "history", "topic": "chat:a", "since": {"epoch": "other", "offset": 0}}, 112),
        ({"cmd": "heartbeat"}, 107),
        ({"cmd": "heartbeat", "interval": "30"}, 107),
        ({"cmd": "auth"}, 107),
    ],
    ids=str,
)
@CODECS
def test_what_is_wrong_with_a_command(server: ServerProcess, codec: str, command: dict[str, Any], code: int) -> None:
    with Talker.welcomed(server, codec) as client:
        if codec == JSON:
            client.send_json({"id": 1, **command})
        else:
            cmd = command.pop("cmd") if "cmd" in command else ...
            if cmd is ...:
                client.send_frame(2, b"\x81\xa2id\x01")
                code = 107
            else:
                client.say(cmd, id=1, **command)
        answer = client.hear()
        assert (answer["id"], answer["error"]["code"]) == (1, code)
        assert client.ask("ping").keys() == {"ts"}


@CODECS
def test_unknown_fields_are_ignored(server: ServerProcess, codec: str) -> None:
    with Talker.welcomed(server, codec) as client:
        assert client.ask("ping", more={"a": [1]}, topic=5).keys() == {"ts"}


def test_forms_by_hand(client: Talker) -> None:
    client.send_text("PING")
    assert client.read_message() == "PONG"
    client.send_json({"type": "HEARTBEAT", "timestamp": 17, "x": [1.5, None]})
    answer = client.hear()
    server_ms = answer.pop("server")
    assert answer == {"type": "HEARTBEAT", "timestamp": 17, "x": [1.5, None]}
    assert isinstance(server_ms, int)
    assert abs(server_ms - time.time() * 1000) < 60_000
    client.send_json({"type": "HEARTBEAT", "cmd": "ping", "id": 1})
    assert client.hear()["id"] == 1
    client.send_json({"cmd": "sub", "topic": "price"})
    client.send_json({"cmd": "pub", "topic": "price", "data": 1024})
    assert client.hear()["data"] == 1024


def test_msgpack_has_no_forms_by_hand(server: ServerProcess) -> None:
    with Talker.welcomed(server, MSGPACK) as client:
        client.send_frame(2, b"\x81\xa4type\xa9HEARTBEAT")
        assert client.hear()["error"]["code"] == 107


@CODECS
def test_the_reply_of_sub_comes_first_and_nothing_follows_that_of_unsub(server: ServerProcess, codec: str) -> None:
    topic = f"chat:order-{codec}"
    with Talker.welcomed(server) as publisher, Talker.welcomed(server, codec) as hearer:
        for number in range(300):
            publisher.say("pub", topic=topic, data=number, echo=False)
        hearer.say("sub", topic=topic, id="s")
        for number in range(300):
            publisher.say("pub", topic=topic, data=number, echo=False)
        hearer.say("unsub", topic=topic, id="u")
        for number in range(300):
            publisher.say("pub", topic=topic, data=number, echo=False)
        publisher.ask("ping")
        first = hearer.hear()
        assert first["id"] == "s"
        offset = first["result"]["offset"]
        while (heard := hearer.hear()).get("event") == "publication":
            offset += 1
            assert heard["offset"] == offset
        assert heard["id"] == "u"
        assert hearer.ask("ping").keys() == {"ts"}


def test_subscriptions_and_their_limits(server: ServerProcess, client: Talker) -> None:
    assert client.ask("sub", topic="t")["topic"] == "t"
    assert client.ask("sub", topic="t") == 105
    for number in range(3):
        assert client.ask("sub", topic=f"t{number}") != 106
    assert client.ask("sub", topic="one more") == 106
    client.ask("unsub", topic="t")
    assert client.ask("sub", topic="one more") != 106
    with Talker.welcomed(server) as second, Talker.welcomed(server) as third:
        assert second.ask("sub", topic="small:a") != 106
        assert third.ask("sub", topic="small:a") != 106
        client.ask("unsub", topic="t0")
        assert client.ask("sub", topic="small:a") == 106
        assert client.ask("pub", topic="small:a", data=1, echo=True) == {"duplicate": False}


def test_recovery(server: ServerProcess, client: Talker) -> None:
    topic = "chat:recovery"
    position = client.ask("sub", topic=topic)
    for number in range(7):
        client.ask("pub", topic=topic, data=number, echo=False)
    epoch = position["epoch"]

    def recover(epoch: str, offset: int) -> Any:
        with Talker.welcomed(server) as other:
            return other.ask("sub", topic=topic, recover={"epoch": epoch, "offset": offset})

    answer = recover(epoch, 4)
    assert [entry["offset"] for entry in answer["publications"]] == [5, 6, 7]
    assert answer["recovered"] is True
    assert answer["publications"][0].keys() == {"data", "offset", "ts", "from"}
    assert recover(epoch, 7) == {"topic": topic, "epoch": epoch, "offset": 7, "recovered": True, "publications": []}
    lost = {"topic": topic, "epoch": epoch, "offset": 7, "recovered": False, "publications": []}
    assert [recover(epoch, 1), recover(epoch, 8), recover("other", 7)] == [lost] * 3


def test_pages_of_history(client: Talker) -> None:
    topic = "chat:pages"
    for number in range(1, 8):
        client.ask("pub", topic=topic, data=number, echo=False)
    everything = client.ask("history", topic=topic)
    epoch = everything["epoch"]

    def offsets(**fields: Any) -> list[int]:
        page = client.ask("history", topic=topic, **fields)
        assert (page["epoch"], page["offset"]) == (epoch, 7)
        return [entry["offset"] for entry in page["publications"]]

    assert offsets() == [3, 4, 5, 6, 7]
    assert offsets(limit=0) == []
    assert offsets(limit=2) == [3, 4]
    assert offsets(limit=1000) == [3, 4, 5, 6, 7]
    assert offsets(reverse=True, limit=2) == [7, 6]
    assert offsets(since={"epoch": epoch, "offset": 5}) == [6, 7]
    assert offsets(since={"epoch": epoch, "offset": 5}, reverse=True) == [4, 3]


def test_echo_and_keys(server: ServerProcess, client: Talker) -> None:
    client.ask("sub", topic="quiet:k")
    with Talker.welcomed(server) as other:
        other.ask("sub", topic="quiet:k")
        assert client.ask("pub", topic="quiet:k", data=1, key="a") == {"duplicate": False}
        assert client.ask("pub", topic="quiet:k", data=2, key="a") == {"duplicate": True}
        assert client.ask("pub", topic="chat:k", data=1, key="a")["duplicate"] is False  # another topic
        client.say("pub", topic="quiet:k", data=3, key="b", echo=True)
        assert client.hear()["data"] == 3
        assert [other.hear()["data"] for _ in range(2)] == [1, 3]


@pytest.mark.parametrize(("asked", "given"), [(5, 10), (10, 10), (25.5, 25.5), (300, 300), (1e9, 300), (-3, 10)])
def test_heartbeats_are_clamped(client: Talker, asked: float, given: float) -> None:
    assert client.ask("heartbeat", interval=asked) == {"interval": given}


def test_without_pings_there_is_no_heartbeat() -> None:
    with ServerProcess("--ping-interval", "0") as server, Talker.welcomed(server) as client:
        assert client.welcome["ping"] == 0
        assert client.ask("heartbeat", interval=30) == 108


@pytest.mark.parametrize("cmd", ["presence", "presence_stats"])
def test_presence_is_off_by_default(client: Talker, cmd: str) -> None:
    assert client.ask(cmd, topic="a") == 108


def test_commands_and_pings_of_one_burst_are_all_answered(client: Talker) -> None:
    burst = b""
    for number in range(1000):
        burst += build_frame(1, b'{"cmd":"ping","id":%d}' % number)
        if number % 100 == 0:
            burst += build_frame(9, b"%d" % number)
    client.send(burst)
    frames = [client.read_frame() for _ in range(1010)]
    assert [frame.payload for frame in frames if frame.opcode == 10] == [b"%d" % n for n in range(0, 1000, 100)]
    assert sum(frame.opcode == 1 for frame in frames) == 1000
