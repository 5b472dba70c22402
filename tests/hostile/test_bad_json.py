"""Bombs of JSON and MessagePack: an answer or 4501, little time, little memory."""

import json

import msgspec
import pytest

from tests.hostile.conftest import LIMIT
from tests.support.frames import BINARY, TEXT
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess

ROOM = LIMIT - 100
MSGPACK = [("Sec-WebSocket-Protocol", "fastws.msgpack.v1")]
TIMES = 20
CPU_S = 1.0  # for all of them, on a slow machine
MEMORY = 16 << 20

JSON_BOMBS = {
    "arrays": "[" * ROOM,
    "closed arrays": "[" * (ROOM // 2) + "]" * (ROOM // 2),
    "objects": '{"a":' * (ROOM // 5),
    "arrays in data": '{"cmd":"pub","topic":"t","data":' + "[" * (ROOM // 2) + "]" * (ROOM // 2 - 40) + "}",
    "half a text": '{"cmd":"' + "x" * ROOM,
    "digits that end in nothing": "9" * ROOM,
    "escapes": '"' + "\\u" * (ROOM // 2),
}
MSGPACK_BOMBS = {
    "array of four billions": b"\xdd\xff\xff\xff\xff",
    "map of four billions": b"\xdf\xff\xff\xff\xff",
    "bytes of four billions": b"\xc6\xff\xff\xff\xff",
    "arrays of 65,535 in each other": b"\xdc\xff\xff" * (ROOM // 3),
    "arrays of one": b"\x91" * ROOM,
    "maps as keys": b"\x81" * ROOM,
    "in data": b"\x82\xa3cmd\xa3pub\xa4data\xdd\xff\xff\xff\xff",
}


@pytest.mark.parametrize("bomb", JSON_BOMBS.values(), ids=JSON_BOMBS.keys())
def test_text_that_only_costs(server: ServerProcess, bomb: str) -> None:
    assert_cheap(server, [], TEXT, bomb.encode())


@pytest.mark.parametrize("bomb", MSGPACK_BOMBS.values(), ids=MSGPACK_BOMBS.keys())
def test_binary_that_only_costs(server: ServerProcess, bomb: bytes) -> None:
    assert_cheap(server, MSGPACK, BINARY, bomb)


def assert_cheap(server: ServerProcess, headers: list[tuple[str, str]], opcode: int, bomb: bytes) -> None:
    cpu_s, memory = server.cpu_s(), server.rss()
    for _ in range(TIMES):
        with RawClient(server.host, server.port) as client:
            client.upgrade("/ws", headers)
            client.read_message()
            client.send_frame(opcode, bomb)
            assert client.read_close() == (4501, "bad_request")
    assert server.cpu_s() - cpu_s < CPU_S
    assert server.rss() - memory < MEMORY


@pytest.mark.parametrize(
    "value",
    ["9" * ROOM, "1e" + "9" * 1000, "-" + "9" * 100, "[" * 1000 + "]" * 1000],
    ids=["digits", "exponent", "negative", "depth"],
)
def test_values_without_a_place_are_answered_or_close(server: ServerProcess, value: str) -> None:
    with RawClient(server.host, server.port) as client:
        client.upgrade("/ws")
        client.read_message()
        client.send_text('{"id":1,"cmd":"pub","topic":"t","data":' + value + "}")
        frame = client.read_frame()
        if frame.opcode == TEXT:
            assert json.loads(frame.payload)["error"]["code"] in (103, 107)
        else:
            assert frame.close_code == 4501


def test_thousands_of_commands_in_one_message_are_all_answered(server: ServerProcess) -> None:
    """And another connection has its turn between messages of that kind."""
    count = 2000
    with RawClient(server.host, server.port) as client:
        client.upgrade("/ws")
        client.read_message()
        client.send_text("\n".join(f'{{"cmd":"ping","id":{number}}}' for number in range(count)))
        assert [client.read_json()["id"] for _ in range(count)] == list(range(count))


def test_a_wide_map_is_no_harm(server: ServerProcess) -> None:
    with RawClient(server.host, server.port) as client:
        client.upgrade("/ws", MSGPACK)
        client.read_message()
        wide = {f"{number:x}": number for number in range(5000)}
        client.send_frame(BINARY, msgspec.msgpack.encode({"id": 1, "cmd": "ping", **wide}))
        answer = client.read_message()
        assert isinstance(answer, bytes)
        assert msgspec.msgpack.decode(answer)["result"].keys() == {"ts"}
