"""What the law is asked, and what the peer may not do, over every kind of transport."""

import gc
import random
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastws.core.deflate import compress
from fastws.core.law import Law
from tests.fastws_ext.harness import (
    ANSWERS,
    OPEN,
    STREAM,
    agree_to_deflate,
    every_transport,
    serving,
    turns,
    until,
)
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    build_frame,
    close_frame,
)


class RecordingLaw(Law):
    """Notes the bytes of each call. Use a subclass of its own for each test: `calls` and `alive` are the class's."""

    __slots__ = ("__weakref__",)
    calls: list[bytes]
    alive: "weakref.WeakSet[RecordingLaw]"

    def __init__(self, *arguments: int) -> None:
        super().__init__(*arguments)
        self.alive.add(self)

    def receive_data(self, data: bytes) -> list[tuple[int, Any]]:
        self.calls.append(data)
        return super().receive_data(data)


def recording_law() -> type[RecordingLaw]:
    """A law that nobody else records with."""
    return type("ThisLaw", (RecordingLaw,), {"__slots__": (), "calls": [], "alive": weakref.WeakSet()})


# Bytes handed to the law


def compressed_fragments(payload: bytes, count: int) -> list[bytes]:
    """A compressed binary message in `count` frames: not even the shortcut for compressed messages takes those."""
    squeezed = compress(payload, 15)
    size = -(-len(squeezed) // count)
    pieces = [squeezed[i : i + size] for i in range(0, len(squeezed), size)]
    return [
        build_frame(CONTINUATION if i else BINARY, piece, fin=i == len(pieces) - 1, rsv=0 if i else 4)
        for i, piece in enumerate(pieces)
    ]


@every_transport
async def test_the_law_is_not_asked_about_plain_messages_in_fragments(transport: str) -> None:
    law = recording_law()
    async with serving(transport, law_factory=law) as server:
        client = await server.connect()
        await client.send(b"".join(STREAM))
        for _ in ANSWERS:
            await client.read_frame()
        assert law.calls == []


@every_transport
async def test_the_law_is_not_asked_about_whole_compressed_messages(transport: str) -> None:
    law = recording_law()
    async with serving(transport, law_factory=law) as server:
        agree_to_deflate(server)
        client = await server.connect("/deflate")
        for payload in (b"", b"x", b"hello" * 200, bytes(60_000)):
            await client.send(build_frame(BINARY, compress(payload, 15), rsv=4))
            await client.send(build_frame(TEXT, compress(payload, 15), rsv=4))
        await until(lambda: len(server.messages) == 8)
        assert server.messages[4:] == [b"hello" * 200, "hello" * 200, bytes(60_000), "\0" * 60_000]
        assert law.calls == []


@every_transport
async def test_the_law_judges_compressed_messages_that_are_wrong(transport: str) -> None:
    async with serving(transport, max_message_size=1000) as server:
        agree_to_deflate(server)
        for opcode, payload, code in (
            (BINARY, compress(bytes(1001), 15), 1009),
            (BINARY, b"\xff\xff\xff", 1007),
            (BINARY, compress(b"x" * 50, 15)[:-3], 1007),
            (TEXT, compress(b"caf\xc3", 15), 1007),
        ):
            client = await server.connect("/deflate")
            await client.send(
                build_frame(BINARY, compress(bytes(1000), 15), rsv=4) + build_frame(opcode, payload, rsv=4)
            )
            await client.read_frame()
            assert (await client.read_close())[0] == code


@every_transport
async def test_the_law_gets_one_frame_at_a_time_and_never_a_byte_past_it(transport: str) -> None:
    law = recording_law()
    async with serving(transport, law_factory=law) as server:
        agree_to_deflate(server)
        client = await server.connect("/deflate")
        first, *others = compressed_fragments(b"some words, none of them twice", 4)
        ping = build_frame(PING, b"between")
        await client.send(build_frame(TEXT, b"plain") + first + ping + b"".join(others) + build_frame(TEXT, b"plain"))
        assert await client.read_message() == "plain"
        assert (await client.read_frame()).opcode == PONG
        await until(lambda: len(server.messages) == 3)
        assert server.messages[1] == b"some words, none of them twice"
        assert law.calls == [first, ping, *others], "each in a call of its own, controls between fragments too"


@every_transport
async def test_the_law_gets_parts_of_a_frame_as_they_come(transport: str) -> None:
    law = recording_law()
    async with serving(transport, law_factory=law) as server:
        agree_to_deflate(server)
        client = await server.connect("/deflate")
        first, last = compressed_fragments(random.Random(1).randbytes(200), 2)
        parts = first[:20], first[20:50], first[50:] + last[:3]
        await client.send_in_pieces(*parts, last[3:] + build_frame(TEXT, b"plain"))
        await until(lambda: len(server.messages) == 2)
        assert server.messages == [random.Random(1).randbytes(200), "plain"]
        assert b"".join(law.calls) == first + last
        assert law.calls[:3] == [first[:20], first[20:50], first[50:]]


@every_transport
async def test_the_law_is_dropped_when_it_holds_nothing_and_not_before(transport: str) -> None:
    law = recording_law()
    async with serving(transport, law_factory=law, on_message=lambda conn, message: None) as server:
        agree_to_deflate(server)
        client = await server.connect("/deflate")
        first, last = compressed_fragments(b"a" * 20 + b"b" * 20, 2)
        for count in (1, 2):
            await client.send_in_pieces(first[:8], first[8:], build_frame(PING, b""))
            assert (await client.read_frame()).opcode == PONG
            gc.collect()
            assert len(law.alive) == 1, "in the middle of a message"
            await client.send_in_pieces(last[:8], last[8:])
            await until(lambda wanted=count: len(server.messages) == wanted)
            gc.collect()
            assert not law.alive, "between messages"


@every_transport
@pytest.mark.parametrize(
    "wrong",
    [
        build_frame(CONTINUATION, b"x", mask=None),
        build_frame(CONTINUATION, b"x", rsv=4),
        build_frame(TEXT, b"x", rsv=2),
        build_frame(CONTINUATION, b"x", length_bytes=2),
        build_frame(PING, b"x", rsv=4),
        close_frame(1005),
    ],
)
async def test_the_law_knows_of_a_message_that_it_has_not_seen_begin(transport: str, wrong: bytes) -> None:
    law = recording_law()
    async with serving(transport, law_factory=law) as server:
        client = await server.connect()
        await client.send_in_pieces(build_frame(TEXT, b"half", fin=False), wrong)
        assert (await client.read_close())[0] == 1002
        assert len(law.calls) == 2


@every_transport
async def test_a_close_frame_is_heard_whole_wherever_it_is_cut(transport: str) -> None:
    """Neither is a part of it taken for the whole, nor its second part for the header of another frame."""
    async with serving(transport) as server:
        size = len(close_frame(1000, b"good bye 00"))
        for cut in range(1, size):
            client = await server.connect()
            frame = build_frame(CLOSE, (1000).to_bytes(2, "big") + b"good bye %02d" % cut, mask=bytes([cut, 7, 9, 200]))
            await client.send_in_pieces(frame[:cut], frame[cut:])
            assert await client.read_close() == (1000, ""), f"cut at {cut}"
        await until(lambda: len(server.closes) == size - 1)
        assert server.closes == [(1000, f"good bye {cut:02d}") for cut in range(1, size)]


# Text


def partial_texts() -> Iterator[bytes]:
    """Bytes of which the last one is wrong: up to it something could follow that makes them UTF-8."""
    wrong = (
        b"\x80",
        b"\xc0",
        b"\xc3\x28",
        b"\xe2\x28",
        b"\xe2\x82\x28",
        b"\xe0\x9f",  # overlong
        b"\xed\xa0",  # a surrogate
        b"\xf0\x8f",  # overlong
        b"\xf4\x90",  # past U+10FFFF
        b"\xf5",
        b"\xf0\x9f\x98\x28",
        b"\xff",
    )
    for before in (b"", b"abcdefg", "€".encode() * 3):
        for bad in wrong:
            yield before + bad


@every_transport
async def test_partial_text_fails_at_its_first_wrong_byte(transport: str) -> None:
    async with serving(transport) as server:
        for text in partial_texts():
            client = await server.connect()
            conn = server.conns[-1]
            frame = build_frame(TEXT, text, declared_length=1000)
            await client.send_in_pieces(frame[:-1])
            assert conn.state == OPEN, f"{text!r} without its last byte is right so far"
            await client.send(frame[-1:])
            assert (await client.read_close())[0] == 1007, text
            client.close()


@every_transport
@pytest.mark.parametrize("fragmented", [False, True])
@pytest.mark.parametrize("arriving", ["whole", "in pieces"])
async def test_text_that_is_wrong_or_ends_within_a_character(transport: str, arriving: str, fragmented: bool) -> None:
    async with serving(transport) as server:
        for text in (b"abc\xff", b"\xe2\x82", b"ok \xf0\x9f\x98", b"\xed\xa0\x80 surrogate"):
            client = await server.connect()
            frames = build_frame(TEXT, text)
            if fragmented:
                frames = build_frame(TEXT, text[:1], fin=False) + build_frame(CONTINUATION, text[1:])
            pieces = [frames] if arriving == "whole" else [frames[:7], frames[7:]]
            await client.send_in_pieces(*pieces)
            assert (await client.read_close())[0] == 1007, text
        assert server.messages == []
        await until(lambda: len(server.closes) == 4)
        assert {code for code, _ in server.closes} == {1007}


@every_transport
async def test_text_of_every_plane_at_every_cut(transport: str) -> None:
    text = "aé€😀\u07ff\u0800\uffff\U0010ffff"
    frame = build_frame(TEXT, text.encode())
    async with serving(transport) as server:
        client = await server.connect()
        for cut in range(1, len(frame)):
            await client.send_in_pieces(frame[:cut], frame[cut:])
            assert await client.read_message() == text


# What the peer may not do

VIOLATIONS = {
    "not masked": (build_frame(TEXT, b"x", mask=None), 1002),
    "reserved bit 1": (build_frame(TEXT, b"x", rsv=4), 1002),
    "reserved bit 3": (build_frame(BINARY, b"x", rsv=1), 1002),
    "unknown data opcode": (build_frame(3, b"x"), 1002),
    "unknown control opcode": (build_frame(11, b"x"), 1002),
    "fragmented ping": (build_frame(PING, b"x", fin=False), 1002),
    "ping of 126 bytes": (build_frame(PING, b"x" * 126), 1002),
    "continuation of nothing": (build_frame(CONTINUATION, b"x"), 1002),
    "text within a message": (build_frame(TEXT, b"x", fin=False) + build_frame(TEXT, b"y"), 1002),
    "binary within a message": (build_frame(TEXT, b"x", fin=False) + build_frame(BINARY, b"y"), 1002),
    "length not minimal, 2 bytes": (build_frame(TEXT, b"x", length_bytes=2), 1002),
    "length not minimal, 8 bytes": (build_frame(TEXT, b"x", length_bytes=8), 1002),
    "top bit of the length": (build_frame(BINARY, b"", length_bytes=8, declared_length=1 << 63), 1002),
    "close with one byte": (build_frame(CLOSE, b"x"), 1002),
    "close code 999": (close_frame(999), 1002),
    "close code 1005": (close_frame(1005), 1002),
    "close code 5000": (close_frame(5000), 1002),
    "close reason that is no text": (close_frame(1000, b"\xff"), 1007),
    "message too big": (build_frame(BINARY, b"", declared_length=1025), 1009),
    "message far too big": (build_frame(BINARY, b"", length_bytes=8, declared_length=1 << 40), 1009),
    "fragments too big together": (
        build_frame(BINARY, bytes(1000), fin=False) + build_frame(CONTINUATION, b"", declared_length=25),
        1009,
    ),
    "too many fragments": (build_frame(TEXT, b"", fin=False) + build_frame(CONTINUATION, b"", fin=False) * 8, 1009),
}


@every_transport
@pytest.mark.parametrize("name", VIOLATIONS)
async def test_violations_are_answered_once_and_what_follows_is_ignored(transport: str, name: str) -> None:
    wrong, code = VIOLATIONS[name]
    async with serving(transport, max_message_size=1024, max_fragments=8) as server:
        client = await server.connect()
        before = build_frame(TEXT, b"before") + build_frame(PING, b"p")
        after = build_frame(TEXT, b"after") + build_frame(PING, b"q") + build_frame(3, b"wrong again")
        await client.send(before + wrong + after)
        frames = await client.frames_until_eof()
        assert [(frame.opcode, frame.payload) for frame in frames[:2]] == [(TEXT, b"before"), (PONG, b"p")]
        assert [frame.close_code for frame in frames[2:]] == [code]
        await until(lambda: server.closes)
        assert [given for given, _ in server.closes] == [code]
        assert server.endpoint.closed == {code: 1}
        assert server.messages == ["before"]


@every_transport
async def test_exactly_the_largest_message_is_allowed(transport: str) -> None:
    async with serving(transport, max_message_size=1024) as server:
        client = await server.connect()
        await client.send_frame(BINARY, bytes(1024))
        assert await client.read_message() == bytes(1024)
        await client.send(build_frame(BINARY, bytes(1000), fin=False) + build_frame(CONTINUATION, bytes(24)))
        assert await client.read_message() == bytes(1024)
        server.conns[0].max_message_size = 10
        await client.send_frame(BINARY, bytes(11))
        assert (await client.read_close())[0] == 1009


@every_transport
async def test_no_limits_when_they_are_zero(transport: str) -> None:
    async with serving(transport, max_message_size=0, max_fragments=0) as server:
        client = await server.connect()
        await client.send_frame(BINARY, bytes(200_000))
        assert await client.read_message() == bytes(200_000)
        fragments = build_frame(BINARY, b"x", fin=False) + build_frame(CONTINUATION, b"x", fin=False) * 2000
        await client.send(fragments + build_frame(CONTINUATION))
        assert await client.read_message() == b"x" * 2001


@every_transport
async def test_a_declared_size_is_not_allocated(transport: str) -> None:
    """A header of 2 GiB and nothing behind it, from several clients, costs nothing."""
    async with serving(transport, max_message_size=0) as server:
        clients = await server.connect_many(20)
        before = address_space()
        for client in clients:
            await client.send(build_frame(BINARY, b"abc", length_bytes=8, declared_length=(1 << 31) - 1))
        await turns(5)
        assert [conn.state for conn in server.conns] == [OPEN] * 20
        assert address_space() - before < 1 << 30


def address_space() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * 4096
