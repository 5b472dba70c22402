"""Frames that are wrong close the connection with the right code, and nothing that came before them is lost."""

import struct

import pytest

from tests.hostile.conftest import LIMIT, Connect
from tests.support.frames import build_frame
from tests.support.server import ServerProcess

WRONG = {
    "unmasked text": build_frame(1, b"hello", mask=None),
    "unmasked ping": build_frame(9, mask=None),
    "RSV1 without deflate": build_frame(1, b"hello", rsv=4),
    "RSV2": build_frame(2, b"hello", rsv=2),
    "RSV3 on a pong": build_frame(10, rsv=1),
    "opcode 3": build_frame(3, b"hello"),
    "opcode 7": build_frame(7),
    "opcode 11": build_frame(11),
    "opcode 15": build_frame(15, b"hello"),
    "fragmented ping": build_frame(9, fin=False),
    "fragmented close": build_frame(8, fin=False),
    "ping of 126 bytes": build_frame(9, b"x" * 126),
    "close of 126 bytes": build_frame(8, b"\x03\xe8" + b"x" * 124),
    "continuation of nothing": build_frame(0, b"hello"),
    "message within a message": build_frame(1, b"a", fin=False) + build_frame(1, b"b"),
    "length in 2 bytes that fits 1": build_frame(1, b"x" * 125, length_bytes=2),
    "length in 8 bytes that fits 1": build_frame(2, b"x", length_bytes=8),
    "length in 8 bytes that fits 2": build_frame(2, declared_length=65_535, length_bytes=8),
    "length with the top bit": build_frame(2, declared_length=2**63),
    "length of all ones": build_frame(2, declared_length=2**64 - 1),
    "close of 1 byte": build_frame(8, b"\x03"),
    **{
        f"close code {code}": build_frame(8, struct.pack("!H", code))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535)
    },
}


@pytest.mark.parametrize("stream", WRONG.values(), ids=WRONG.keys())
def test_wrong_frames_close_1002(connect: Connect, stream: bytes) -> None:
    client = connect()
    client.send(build_frame(1, "before €".encode()) + build_frame(9, b"p") + stream + build_frame(1, b"after"))
    assert client.read_message() == "before €"
    assert client.read_frame().payload == b"p"
    assert client.read_close() == (1002, "protocol")
    assert client.ending() == "fin"


TOO_BIG = {
    "one byte more": build_frame(2, declared_length=LIMIT + 1),
    "as large as can be said": build_frame(1, declared_length=2**63 - 1),
    "over fragments": build_frame(2, b"x" * LIMIT, fin=False) + build_frame(0, declared_length=1),
    "a fragment too many": build_frame(1, fin=False) + build_frame(0, fin=False) * 1024,
}


@pytest.mark.parametrize("stream", TOO_BIG.values(), ids=TOO_BIG.keys())
def test_too_big_is_decided_from_the_header(server: ServerProcess, connect: Connect, stream: bytes) -> None:
    client = connect()
    memory = server.rss()
    client.send(stream)
    assert client.read_close() == (1009, "too big")
    assert client.ending() == "fin"
    assert server.rss() - memory < 4_000_000


def test_a_message_of_exactly_the_limit(connect: Connect) -> None:
    client = connect()
    whole = b"x" * LIMIT
    client.send(build_frame(2, whole) + build_frame(2, whole[:-1], fin=False) + build_frame(0, b"x"))
    assert client.read_message() == whole
    assert client.read_message() == whole


def test_nothing_counts_after_a_close_frame(connect: Connect) -> None:
    client = connect()
    client.send(build_frame(1, b"before") + build_frame(8, b"\x0f\xa0bye") + build_frame(1, b"after") + build_frame(3))
    assert client.read_message() == "before"
    assert client.read_close()[0] == 4000
    assert client.ending() == "fin"


@pytest.mark.parametrize("size", [0, 1])
def test_many_connections_declare_much_and_send_little(server: ServerProcess, connect: Connect, size: int) -> None:
    clients = [connect() for _ in range(50)]
    memory = server.rss()
    for client in clients:
        client.send(build_frame(2, b"x" * size, declared_length=LIMIT))
        client.send_frame(9)  # becomes payload: the frame before it is not over
    for client in clients:
        client.send(b"x" * 100)
        assert client.silent_for(0.001)
    assert server.rss() - memory < 50 * LIMIT // 4
