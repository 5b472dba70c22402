"""What the law is asked, and what the peer may not do, over every kind of transport."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastws.core.law import Law
from tests.fastws_ext.harness import (
    ANSWERS,
    OPEN,
    STREAM,
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


@every_transport
async def test_the_law_gets_one_frame_at_a_time_and_never_a_byte_past_it(transport: str) -> None:
    law = recording_law()
    async with serving(transport, law_factory=law) as server:
        client = await server.connect()
        await client.send(b"".join(STREAM))
        for _ in ANSWERS:
            await client.read_frame()
        assert law.calls == [*STREAM[2:7], *STREAM[8:]], "each in a call of its own, controls between fragments too"


@every_transport
async def test_the_law_gets_parts_of_a_frame_as_they_come(transport: str) -> None:
    law = recording_law()
    fragment = build_frame(BINARY, bytes(200), fin=False)
    async with serving(transport, law_factory=law) as server:
        client = await server.connect()
        parts = fragment[:50], fragment[50:150], fragment[150:] + build_frame(CONTINUATION, b"end")[:3]
        await client.send_in_pieces(*parts, build_frame(CONTINUATION, b"end")[3:] + build_frame(TEXT, b"plain"))
        assert await client.read_message() == bytes(200) + b"end"
        assert await client.read_message() == "plain"
        assert b"".join(law.calls) == fragment + build_frame(CONTINUATION, b"end")
        assert law.calls[:3] == [fragment[:50], fragment[50:150], fragment[150:]]


@every_transport
async def test_the_law_is_dropped_when_it_holds_nothing_and_not_before(transport: str) -> None:
    law = recording_law()
    async with serving(transport, law_factory=law) as server:
        client = await server.connect()
        fragment = build_frame(TEXT, b"a" * 20, fin=False)
        for _ in range(2):
            await client.send_in_pieces(fragment[:10], fragment[10:], build_frame(PING, b""))
            assert (await client.read_frame()).opcode == PONG
            gc.collect()
            assert len(law.alive) == 1, "in the middle of a message"
            end = build_frame(CONTINUATION, b"b" * 20)
            await client.send_in_pieces(end[:8], end[8:])
            assert await client.read_message() == "a" * 20 + "b" * 20
            gc.collect()
            assert not law.alive, "between messages"


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
