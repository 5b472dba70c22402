"""Shapes of what the server says and takes: fields, units, ids, topics, data."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fastws import __version__
from tests.contract.talking import JSON, MSGPACK, Talker
from tests.support.server import ServerProcess

NAMESPACES = """
[namespaces.default]
[namespaces.chat]
history_size = 5
recover = true
[namespaces.closed]
subscribe = "nobody"
publish = "nobody"
[namespaces.tokens]
subscribe = "token"
publish = "token"
"""

CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    file = tmp_path_factory.mktemp("values") / "fastws.toml"
    file.write_text(NAMESPACES, encoding="utf-8")
    with ServerProcess("--config", str(file), "--node-name", "n1") as process:
        yield process


@CODECS
def test_the_whole_welcome(server: ServerProcess, codec: str) -> None:
    with Talker.welcomed(server, codec) as client:
        conn = client.welcome.pop("conn")
        assert isinstance(conn, str)
        assert conn
        assert client.welcome == {
            "event": "welcome",
            "user": "",
            "tenant": "",
            "device": "default",
            "node": "n1",
            "ping": 25,
            "server": f"fastws/{__version__}",
        }


@CODECS
def test_results_have_their_fields_and_nothing_else(server: ServerProcess, codec: str) -> None:
    with Talker.welcomed(server, codec) as client:
        now = int(time.time() * 1000)
        ts = client.ask("ping")
        assert ts.keys() == {"ts"}
        assert abs(ts["ts"] - now) < 60_000
        assert client.ask("sub", topic="plain") == {"topic": "plain", "recovered": False, "publications": []}
        topic = f"chat:values-{codec}"
        entered = client.ask("sub", topic=topic)
        epoch = entered.pop("epoch")
        assert isinstance(epoch, str)
        assert entered == {"topic": topic, "offset": 0, "recovered": False, "publications": []}
        result = client.ask("pub", topic=topic, data=[1], echo=False)
        assert result == {"offset": 1, "epoch": epoch, "duplicate": False}
        page = client.ask("history", topic=topic)
        assert page.keys() == {"publications", "epoch", "offset"}
        assert page["publications"][0].keys() == {"data", "offset", "ts", "from"}
        assert client.ask("pub", topic="plain", data={}, echo=False) == {"duplicate": False}
        client.say("pub", topic="plain", data=None)
        heard = client.hear()
        assert abs(heard.pop("ts") - now) < 60_000
        origin = {"user": "", "conn": client.welcome["conn"]}
        assert heard == {"event": "publication", "topic": "plain", "data": None, "from": origin}
        assert client.ask("unsub", topic="plain") == {}
        assert client.ask("unsub", topic="never") == {}


def test_errors_have_their_fields(server: ServerProcess) -> None:
    with Talker.welcomed(server) as client:
        client.say("sub", topic="nowhere:x", id="a")
        message = client.hear()
        text = message["error"].pop("message")
        assert isinstance(text, str)
        assert message == {"id": "a", "error": {"code": 102, "reason": "unknown_topic", "temporary": False}}
        client.say("sub", topic="nowhere:x")
        message = client.hear()
        assert message.keys() == {"event", "cmd", "error"}
        assert (message["event"], message["cmd"], message["error"]["code"]) == ("error", "sub", 102)


@CODECS
@pytest.mark.parametrize("reply_id", [0, -1, 2**63 - 1, -(2**63), "", "x" * 64, "é" * 32, "0"])
def test_ids_are_echoed_with_their_type(server: ServerProcess, codec: str, reply_id: Any) -> None:
    with Talker.welcomed(server, codec) as client:
        client.say("ping", id=reply_id)
        answer = client.hear()
        assert answer["id"] == reply_id
        assert type(answer["id"]) is type(reply_id)


@CODECS
@pytest.mark.parametrize("reply_id", ["x" * 65, "é" * 33, 1.5, 1.0, True, [], {}, 2**63])
def test_other_ids_answer_107(server: ServerProcess, codec: str, reply_id: Any) -> None:
    with Talker.welcomed(server, codec) as client:
        client.say("ping", id=reply_id)
        answer = client.hear()
        assert answer["error"]["code"] == 107
        assert client.ask("ping").keys() == {"ts"}


@pytest.mark.parametrize("number", [str(2**64), str(-(2**63) - 1), "1" * 400, "1e400", "-1e400"])
def test_ids_beyond_every_type(server: ServerProcess, number: str) -> None:
    with Talker.welcomed(server) as client:
        client.send_text('{"cmd":"ping","id":' + number + "}")
        assert client.hear()["error"]["code"] == 107


def test_null_is_no_id_and_success_without_one_is_silent(server: ServerProcess) -> None:
    with Talker.welcomed(server) as client:
        client.say("ping", id=None)
        client.say("sub", topic="quiet")
        client.say("pub", topic="quiet", data=1, echo=False)
        client.say("unsub", topic="quiet")
        assert client.ask("ping").keys() == {"ts"}


@CODECS
@pytest.mark.parametrize("topic", ["a", "é" * 127 + "x", "x" * 255, " ", "a b", "a:b:c", "*", "A", "..", "chat:"])
def test_topics_are_any_text(server: ServerProcess, codec: str, topic: str) -> None:
    with Talker.welcomed(server, codec) as client:
        answer = client.ask("sub", topic=topic)
        if topic.partition(":")[0] != "chat" and ":" in topic:
            assert answer == 102
        else:
            assert answer["topic"] == topic
            client.say("pub", topic=topic, data="x")
            assert client.hear()["topic"] == topic


@CODECS
@pytest.mark.parametrize(
    "topic", ["", "x" * 256, "é" * 128, "a\n", "\x00", "a\x1fb", "\x7f", "\x85", 1, None, ["a"], {}]
)
@pytest.mark.parametrize("cmd", ["sub", "unsub", "pub", "history"])
def test_other_topics_answer_107(server: ServerProcess, codec: str, cmd: str, topic: Any) -> None:
    with Talker.welcomed(server, codec) as client:
        assert client.ask(cmd, topic=topic, data=1) == 107


def test_topics_are_compared_by_their_bytes(server: ServerProcess) -> None:
    with Talker.welcomed(server) as hearer, Talker.welcomed(server) as publisher:
        hearer.ask("sub", topic="caf\u00e9")
        for other in ("cafe\u0301", "CAF\u00c9", "caf\u00e9 "):
            publisher.ask("pub", topic=other, data="wrong")
        publisher.ask("pub", topic="caf\u00e9", data="right")
        assert hearer.hear()["data"] == "right"


GOOD_DATA = [
    "null",
    "true",
    "0",
    "-0.0",
    str(2**64 - 1),
    str(-(2**63)),
    "1e308",
    '""',
    '"\\u0000\\ud83d\\ude42"',
    "[]",
    "{}",
]


@pytest.mark.parametrize("data", GOOD_DATA)
def test_data_arrives_as_it_was(server: ServerProcess, data: str) -> None:
    topic = f"data {data}"
    with Talker.welcomed(server) as client, Talker.welcomed(server, MSGPACK) as other:
        client.ask("sub", topic=topic)
        other.ask("sub", topic=topic)
        client.send_text('{"cmd":"pub","topic":' + json.dumps(topic) + ',"data":' + data + "}")
        for hearer in (client, other):
            heard = hearer.hear()["data"]
            assert heard == json.loads(data)
            assert type(heard) is type(json.loads(data))


@pytest.mark.parametrize("data", [str(2**64), str(-(2**63) - 1), "1e999", "-1e999", "[" * 2000 + "]" * 2000])
def test_numbers_without_a_place_answer_107(server: ServerProcess, data: str) -> None:
    with Talker.welcomed(server) as client:
        client.send_text('{"cmd":"pub","topic":"a","id":1,"data":' + data + "}")
        if data[0] == "[":  # deeper than any decoder goes: the object itself cannot be read
            frame = client.read_frame()
            assert frame.close_code == 4501 if frame.opcode == 8 else b"107" in frame.payload
        else:
            assert client.hear()["error"]["code"] == 107


@pytest.mark.parametrize("data", ['"\\ud83d"', '{"cut":["a\\udc00"]}', '{"\\ud800":1}'])
def test_half_of_a_surrogate_pair_answers_107(server: ServerProcess, data: str) -> None:
    """JSON by its grammar (RFC 8259 8.2), as `JSON.stringify` writes it where an emoji was cut."""
    with Talker.welcomed(server) as client:
        client.send_text('{"cmd":"pub","topic":"a","id":1,"data":' + data + "}")
        assert client.hear()["error"]["code"] == 107
        assert "ts" in client.ask("ping")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "'a'", "[1,]", '"\t"'])
def test_what_is_no_json_closes_4501(server: ServerProcess, text: str) -> None:
    with Talker.welcomed(server) as client:
        client.send_text('{"cmd":"pub","topic":"a","id":1,"data":' + text + "}")
        assert client.read_close() == (4501, "bad_request")


@pytest.mark.parametrize("data", [b"bin", {1: 2}, {b"k": 1}, {"a": [float("nan")]}, float("inf"), {None: 1}], ids=str)
def test_msgpack_data_without_a_form_in_json_answers_107(server: ServerProcess, data: Any) -> None:
    with Talker.welcomed(server, MSGPACK) as client:
        assert client.ask("pub", topic="a", data=data) == 107
        assert client.ask("ping").keys() == {"ts"}


@pytest.mark.parametrize("ext", [b"\xd4\x05\x00", b"\xc7\x03\x07abc", b"\xd6\xff\x00\x00\x00\x01"], ids=bytes.hex)
def test_msgpack_extensions_are_no_data(server: ServerProcess, ext: bytes) -> None:
    with Talker.welcomed(server, MSGPACK) as client:
        command = b"\x84\xa3cmd\xa3pub\xa5topic\xa1a\xa2id\x01\xa4data" + ext
        client.send_frame(2, command)
        assert client.hear()["error"]["code"] == 107


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_who_may(server: ServerProcess, codec: str) -> None:
    with Talker.welcomed(server, codec) as client:
        for cmd in ("sub", "pub", "history"):
            assert client.ask(cmd, topic="closed:x", data=1) == 103
            assert client.ask(cmd, topic="tokens:x", data=1) == 103
            assert client.ask(cmd, topic="undeclared:x", data=1) == 102
        # price is a topic of the default namespace, not the namespace of that name
        assert client.ask("sub", topic="closed")["topic"] == "closed"
        assert client.ask("history", topic="closed") == 108
