"""JSON and MessagePack made to hurt: an answer or a close, little memory, and others are served meanwhile."""

import json
import threading
from collections.abc import Iterator

import msgspec
import pytest

from tests.contract.talking import JSON, MSGPACK, Talker
from tests.hostile.conftest import ECHO, LIMIT
from tests.support.server import ServerProcess
from tests.support.waiting import Stopwatch


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--dev", "--ping-interval", "0", source=ECHO) as process:
        yield process


def pub(data: str) -> str:
    return '{"cmd":"pub","topic":"t","id":1,"data":' + data + "}"


ROOM = LIMIT - 100
JSON_BOMBS = {
    "arrays without an end": "[" * ROOM,
    "objects without an end": '{"a":' * (ROOM // 5),
    "arrays, deep": pub("[" * (ROOM // 2) + "]" * (ROOM // 2)),
    "objects, deep": pub('{"a":' * (ROOM // 6) + "1" + "}" * (ROOM // 6)),
    "arrays as the whole": "[" * (ROOM // 2) + "]" * (ROOM // 2),
    "deep in a field that nobody knows": '{"cmd":"ping","id":1,"x":' + "[" * 30_000 + "]" * 30_000 + "}",
    "deep in the id": '{"cmd":"ping","id":' + "[" * 30_000 + "]" * 30_000 + "}",
    "deep in the command": '{"cmd":' + "[" * 30_000 + "]" * 30_000 + "}",
    "deep in a heartbeat": '{"type":"HEARTBEAT","x":' + "[" * 30_000 + "]" * 30_000 + "}",
    "deep beside a wrong field": '{"cmd":"sub","topic":5,"id":1,"x":' + '{"a":' * 9000 + "1" + "}" * 9000 + "}",
    "digits and nothing else": "9" * ROOM,
    "escapes and nothing else": '"' + "\\u" * (ROOM // 2),
    "a long integer": pub("1" * ROOM),
    "a long integer as id": '{"cmd":"ping","id":' + "9" * ROOM + "}",
    "a long fraction": pub("0." + "1" * ROOM),
    "a long exponent": pub("1e" + "9" * ROOM),
    "a long negative exponent": pub("1e-" + "9" * ROOM),
    "a long number in a heartbeat": '{"type":"HEARTBEAT","x":' + "9" * ROOM + "}",
    "a long string": pub('"' + "x" * ROOM + '"'),
    "a string of escapes": pub('"' + "\\u0000" * (ROOM // 6) + '"'),
    "a string of surrogates": pub('"' + "\\ud800" * (ROOM // 6) + '"'),
    "a string without an end": '{"cmd":"' + "x" * ROOM,
    "many keys": pub("{" + ",".join(f'"{number}":0' for number in range(6000)) + "}"),
    "one key many times": pub("{" + ",".join(['"a":0'] * (ROOM // 6)) + "}"),
    "a field many times": "{" + ",".join(['"cmd":"ping"'] * (ROOM // 13)) + ',"id":1}',
    "a long name of a command": '{"cmd":"' + "x" * ROOM + '","id":1}',
    "a long name of a field": '{"' + "x" * ROOM + '":1,"cmd":"ping","id":1}',
    "a long topic": '{"cmd":"sub","id":1,"topic":"' + "x" * ROOM + '"}',
    "a long id": '{"cmd":"ping","id":"' + "x" * ROOM + '"}',
    "a long key": '{"cmd":"pub","topic":"t","data":1,"id":1,"key":"' + "x" * ROOM + '"}',
    "a long epoch": '{"cmd":"sub","topic":"t","id":1,"recover":{"offset":0,"epoch":"' + "x" * ROOM + '"}}',
    "blanks": " " * ROOM,
    "blanks around": " " * (ROOM // 2) + '{"cmd":"ping","id":1}' + " " * (ROOM // 2),
    "line ends": "\n" * ROOM,
    "NUL": "\x00" * ROOM,
    "null": "null\n" * (ROOM // 5),
}
HEAD = b"\x84\xa3cmd\xa3pub\xa5topic\xa1t\xa2id\x01\xa4data"
MSGPACK_BOMBS = {
    "arrays without an end": b"\x91" * ROOM,
    "maps without an end": b"\x81\xa1a" * (ROOM // 3),
    "arrays, deep": HEAD + b"\x91" * ROOM + b"\xc0",
    "maps, deep": HEAD + b"\x81\xa1a" * (ROOM // 3) + b"\xc0",
    "maps as keys, deep": HEAD + b"\x81" * (ROOM // 2) + b"\xc0" * (ROOM // 2 + 1),
    "arrays in 32 bits, deep": HEAD + b"\xdd\x00\x00\x00\x01" * (ROOM // 5) + b"\xc0",
    "a map that says it is huge": b"\xdf\xff\xff\xff\xff",
    "an array that says it is huge": HEAD + b"\xdd\xff\xff\xff\xff",
    "data that says it is a huge map": HEAD + b"\xdf\xff\xff\xff\xff",
    "a string that says it is huge": HEAD + b"\xdb\xff\xff\xff\xff",
    "bytes that say they are huge": HEAD + b"\xc6\xff\xff\xff\xff",
    "an extension that says it is huge": HEAD + b"\xc9\xff\xff\xff\xff\x01",
    "huge arrays in huge arrays": HEAD + b"\xdd\x7f\xff\xff\xff" * (ROOM // 5),
    "huge maps in huge maps": HEAD + b"\xdf\x7f\xff\xff\xff\xa1a" * (ROOM // 7),
    "arrays of 65,535 in each other": b"\xdc\xff\xff" * (ROOM // 3),
    "maps as keys": b"\x81" * ROOM,
    "many fields": msgspec.msgpack.encode(
        {"id": 1, "cmd": "ping", **{f"{number:x}": number for number in range(5000)}}
    ),
    "many nothings": HEAD + b"\xdd\x00\x00\xf0\x00" + b"\xc0" * 0xF000,
    "many empty maps": HEAD + b"\xdd\x00\x00\xf0\x00" + b"\x80" * 0xF000,
    "many extensions": HEAD + b"\xdc\x20\x00" + b"\xd4\x01\x00" * 0x2000,
    "times": HEAD + b"\xdc\x10\x00" + b"\xd6\xff\x00\x00\x00\x00" * 0x1000,
    "a time far away": HEAD + b"\xc7\x0c\xff\x3b\x9a\xc9\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
    "keys that are one": HEAD + b"\xde\x40\x00" + b"\xa1a\xc0" * 0x4000,
    "keys that are numbers": HEAD
    + b"\xde\x20\x00"
    + b"".join(b"\xcd%b\xc0" % n.to_bytes(2, "big") for n in range(0x2000)),
    "a key that is a map": HEAD + b"\x81\x80\xc0",
    "text that is no UTF-8": HEAD + b"\xa4\xff\xfe\xfd\xfc",
    "a byte that is never used": HEAD + b"\xc1",
    "what is left over": msgspec.msgpack.encode({"cmd": "ping", "id": 1}) * 2000,
    "NUL": b"\x00" * ROOM,
    "nothing": b"",
}
OF_JSON = [(JSON, name, bomb.encode()) for name, bomb in JSON_BOMBS.items()]
OF_MSGPACK = [(MSGPACK, name, bomb) for name, bomb in MSGPACK_BOMBS.items()]
CODES = {101, 102, 104, 106, 107, 110}


@pytest.mark.parametrize(("codec", "name", "bomb"), OF_JSON + OF_MSGPACK)
def test_every_bomb_is_answered(server: ServerProcess, codec: str, name: str, bomb: bytes) -> None:
    assert len(bomb) <= LIMIT
    opcode, library = (1, msgspec.json) if codec == JSON else (2, msgspec.msgpack)
    memory, cpu = server.rss(), server.cpu_s()
    for _ in range(5):
        with Talker.welcomed(server, codec) as client:
            client.send_frame(opcode, bomb)
            client.send_frame(opcode, library.encode({"cmd": "ping", "id": "after"}))
            while True:
                frame = client.read_frame()
                if frame.opcode == 8:
                    assert (frame.close_code, frame.close_reason) == (4501, "bad_request")
                    break
                answer = library.decode(frame.payload)
                if answer.get("id") == "after":
                    break
                assert "error" not in answer or answer["error"]["code"] in CODES, name
    assert server.rss() - memory < 6_000_000
    assert server.cpu_s() - cpu < 1.0


def test_wrong_objects_by_the_thousand_close_nobody_else(server: ServerProcess) -> None:
    with Talker.welcomed(server) as client:
        for number in range(2000):
            client.send_json([{}, {"cmd": 1}, {"cmd": "none", "id": 1}, {"cmd": "sub"}][number % 4])
        for _ in range(2000):
            assert client.hear()["error"]["code"] in (104, 107)


BATCHES = {
    "empty objects": "{}\n",
    "unknown commands": '{"cmd":"x"}\n',
    "pings": '{"cmd":"ping","id":1}\n',
    "silent pings": '{"cmd":"ping"}\n',
    "heartbeats": '{"type":"HEARTBEAT"}\n',
    "publications": '{"cmd":"pub","topic":"t","data":1}\n',
    "subscriptions": '{"cmd":"sub","topic":"t"}\n',
}


@pytest.mark.parametrize("line", BATCHES.values(), ids=BATCHES.keys())
def test_batches_of_thousands_share_the_loop(server: ServerProcess, line: str) -> None:
    batch = line * (LIMIT // len(line))
    stopped = threading.Event()
    memory = server.rss()
    with Talker.welcomed(server) as attacker, Talker(server) as bystander:
        bystander.upgrade("/echo")

        def attack() -> None:
            while not stopped.is_set():
                try:
                    attacker.send_text(batch)
                except OSError:
                    return

        thread = threading.Thread(target=attack)
        thread.start()
        watch = Stopwatch()
        slowest_s = 0.0
        while watch.s < 1:
            asked = Stopwatch()
            bystander.send_text("?")
            assert bystander.read_message() == "?"
            slowest_s = max(slowest_s, asked.own_s)
        grown = server.rss() - memory
        stopped.set()
        attacker.close()
        thread.join()
    assert slowest_s < 2  # were it not shared, a second of it would be served first
    assert grown < 30_000_000


def test_a_batch_is_answered_to_the_end(server: ServerProcess) -> None:
    count = 3000
    with Talker.welcomed(server) as client:
        for numbers in (range(count // 2), range(count // 2, count)):
            client.send_text("\n".join(json.dumps({"cmd": "ping", "id": number}) for number in numbers))
        assert [client.hear()["id"] for _ in range(count)] == list(range(count))


def test_large_data_reaches_everybody_as_it_was(server: ServerProcess) -> None:
    data = {"text": "\u2028\u0000\U0001f642" * 1500, "many": list(range(2000)), "deep": json.loads("[" * 50 + "]" * 50)}
    with Talker.welcomed(server) as one, Talker.welcomed(server, MSGPACK) as two:
        for client in (one, two):
            client.ask("sub", topic="large")
        for client in (one, two):
            client.say("pub", topic="large", data=data)
            assert one.hear()["data"] == data
            assert two.hear()["data"] == data
