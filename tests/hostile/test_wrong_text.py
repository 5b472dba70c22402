"""Text that is not UTF-8 closes 1007 at its first wrong byte, wherever it is cut."""

import pytest

from tests.hostile.conftest import LIMIT, Connect
from tests.support.frames import build_frame
from tests.support.server import ServerProcess

# What is wrong, and how many of its bytes it takes to be sure.
WRONG = {
    "continuation alone": (b"\x80", 1),
    "lead byte that never is": (b"\xff", 1),
    "overlong slash": (b"\xc0\xaf", 1),
    "overlong in three bytes": (b"\xe0\x9f\xbf", 2),
    "overlong in four bytes": (b"\xf0\x8f\xbf\xbf", 2),
    "surrogate": (b"\xed\xa0\x80", 2),
    "above U+10FFFF": (b"\xf4\x90\x80\x80", 2),
    "cut short by ASCII": (b"\xe2\x82(", 3),
    "cut short by another character": (b"\xf0\x9f\x99\xc3\xa9", 4),
}
START = "é€🙂".encode()


@pytest.mark.parametrize(("wrong", "sure"), WRONG.values(), ids=WRONG.keys())
def test_closed_at_the_first_wrong_byte_of_a_frame(connect: Connect, wrong: bytes, sure: int) -> None:
    client = connect()
    frame = build_frame(1, START + wrong + b"never sent" * 10)
    end = 6 + len(START) + sure
    client.send(frame[: end - 1])
    assert client.silent_for(0.02)
    client.send(frame[end - 1 : end])
    assert client.read_close() == (1007, "bad UTF-8")
    assert client.ending() == "fin"


@pytest.mark.parametrize(("wrong", "sure"), WRONG.values(), ids=WRONG.keys())
def test_closed_at_the_first_wrong_byte_over_fragments(connect: Connect, wrong: bytes, sure: int) -> None:
    text = START + wrong
    for cut in range(len(START), len(START) + sure):
        client = connect()
        client.send(build_frame(1, text[:cut], fin=False) + build_frame(9, b"still fine"))
        assert client.read_frame().payload == b"still fine"
        client.send(build_frame(0, text[cut:], fin=False)[: 6 + len(START) + sure - cut])
        assert client.read_close() == (1007, "bad UTF-8")


@pytest.mark.parametrize("unfinished", [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x99"])
def test_text_may_not_end_inside_a_character(connect: Connect, unfinished: bytes) -> None:
    for stream in (
        build_frame(1, START + unfinished),
        build_frame(1, START + unfinished, fin=False) + build_frame(0),
    ):
        client = connect()
        client.send(stream)
        assert client.read_close() == (1007, "bad UTF-8")


def test_every_split_of_right_text_is_right(connect: Connect) -> None:
    client = connect()
    text = START.decode()
    for cut in range(len(START) + 1):
        client.send(build_frame(1, START[:cut], fin=False) + build_frame(9) + build_frame(0, START[cut:]))
        assert client.read_frame().opcode == 10
        assert client.read_message() == text
        frame = build_frame(1, START)
        client.send(frame[: 6 + cut])
        client.send(frame[6 + cut :])
        assert client.read_message() == text


def test_close_reason_is_text(connect: Connect) -> None:
    client = connect()
    client.send(build_frame(8, b"\x03\xe8" + START + b"\xff"))
    assert client.read_close() == (1007, "bad UTF-8")


def test_binary_is_never_validated(connect: Connect) -> None:
    client = connect()
    everything = bytes(range(256))
    client.send(build_frame(2, everything) + build_frame(2, everything, fin=False) + build_frame(0, b"\xff"))
    assert client.read_message() == everything
    assert client.read_message() == everything + b"\xff"


def test_text_in_single_bytes_costs_no_more_memory_than_its_size(server: ServerProcess, connect: Connect) -> None:
    clients = [connect() for _ in range(20)]
    memory = server.rss()
    frame = build_frame(1, b"y" * LIMIT)
    for client in clients:
        for at in range(0, 3000, 3):
            client.send(frame[at : at + 3])
    assert server.rss() - memory < 2_000_000
    for client in clients:
        client.send(frame[3000:])
        assert client.read_message() == "y" * LIMIT
