"""Deflate in the hands of attackers: bombs, bad offers, control frames between fragments, data that is no deflate."""

import zlib

import pytest

from tests.hostile.conftest import ECHO, LIMIT, Connect
from tests.support.frames import build_frame
from tests.support.raw_client import RawClient
from tests.support.server import ServerProcess

OFFER = "permessage-deflate; client_max_window_bits"
ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(data: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff")


BOMB = deflated(bytes(50_000_000))


def test_bombs_are_stopped_at_the_limit(server: ServerProcess, connect: Connect) -> None:
    connect(OFFER).send(build_frame(2, BOMB, rsv=4))  # so that what zlib allocates once is there
    memory, cpu = server.rss(), server.cpu_s()
    for _ in range(20):
        client = connect(OFFER)
        client.send(build_frame(2, BOMB, rsv=4))
        assert client.read_close() == (1009, "too big")
        assert client.ending() == "fin"
    assert server.rss() - memory < 4_000_000
    # A gigabyte of zeros takes seconds to inflate.
    assert server.cpu_s() - cpu < 1.0


def test_a_bomb_over_fragments_with_pings_between(connect: Connect) -> None:
    client = connect(OFFER)
    half = len(BOMB) // 1000
    client.send(build_frame(1, BOMB[:30], fin=False, rsv=4) + build_frame(9, b"first"))
    assert client.read_frame().payload == b"first"
    client.send(build_frame(0, BOMB[30:half], fin=False) + build_frame(9, b"second"))
    client.send(build_frame(0, BOMB[half:]))
    frames = client.frames_until_eof()
    assert frames[-1].close_code == 1009
    assert [frame.opcode for frame in frames] in ([10, 8], [8])


@pytest.mark.parametrize("surplus", [0, 1])
def test_the_limit_counts_inflated_bytes(connect: Connect, surplus: int) -> None:
    client = connect(OFFER)
    payload = b"z" * (LIMIT + surplus)
    client.send(build_frame(1, deflated(payload), rsv=4))
    if surplus:
        assert client.read_close() == (1009, "too big")
    else:
        frame = client.read_frame()
        assert (frame.opcode, frame.rsv) == (1, 4)
        assert inflated(frame.payload) == payload


def test_the_limit_is_met_at_its_byte(connect: Connect) -> None:
    client = connect(OFFER)
    # A stored block: one byte of the message for each byte on the wire. It claims to be longer than the limit.
    body = deflated(b"x" * (LIMIT - 10)) + b"\x00\x00\xff\xff"
    stored = b"\x00\x20\x00\xdf\xff" + b"y" * 32
    frame = build_frame(2, body + stored, rsv=4)
    met = len(frame) - 32 + 10
    client.send(frame[:met])
    assert client.silent_for(0.05)
    client.send(frame[met : met + 1])
    assert client.read_close() == (1009, "too big")


def test_blocks_that_inflate_to_nothing_are_stopped(server: ServerProcess, connect: Connect) -> None:
    for block in (b"\x00\x00\x00\xff\xff", b"\x03\x00"):
        client = connect(OFFER)
        cpu = server.cpu_s()
        blocks = block * (60_000 // len(block))
        client.send(build_frame(2, blocks, fin=False, rsv=4))
        try:
            for _ in range(30):
                client.send(build_frame(0, blocks, fin=False))
        except ConnectionError:
            pass  # it was closed while we were still sending
        else:
            assert client.read_close() == (1009, "too big")
        assert server.cpu_s() - cpu < 2.0


def test_control_frames_between_compressed_fragments(connect: Connect) -> None:
    client = connect(OFFER)
    payload = b"the same words " * 50
    data = deflated(payload)
    for cut in range(0, len(data) + 1, 3):
        client.send(build_frame(1, data[:cut], fin=False, rsv=4) + build_frame(9, b"between") + build_frame(10))
        assert client.read_frame().payload == b"between"
        client.send(build_frame(0, data[cut:]))
        assert inflated(client.read_frame().payload) == payload


@pytest.mark.parametrize(
    "data",
    [
        b"\x07",
        b"\x00\x05\x00\x00\x00Hello",
        deflated(b"Hello, Hello, Hello")[:5],
        b"\xff" * 100,
        deflated(b"x\xff") + b"\x01",
    ],
    ids=["reserved block type", "wrong stored length", "cut short", "all ones", "half a block at the end"],
)
def test_what_is_no_deflate_closes_1007(connect: Connect, data: bytes) -> None:
    client = connect(OFFER)
    client.send(build_frame(2, b"before") + build_frame(2, data, rsv=4) + build_frame(2, b"after"))
    assert client.read_message() == b"before"
    assert client.read_close() == (1007, "bad UTF-8")
    assert client.ending() == "fin"


def test_compressed_text_is_validated(connect: Connect) -> None:
    client = connect(OFFER)
    client.send(build_frame(1, deflated("fine until here €".encode() + b"\xed\xa0"), rsv=4))
    assert client.read_close() == (1007, "bad UTF-8")


@pytest.mark.parametrize(
    "stream",
    [
        build_frame(9, rsv=4),
        build_frame(8, rsv=4),
        build_frame(1, b"\x00", fin=False, rsv=4) + build_frame(0, b"\x00", rsv=4),
        build_frame(1, b"\x00", rsv=6),
    ],
    ids=["ping", "close", "continuation", "with RSV2"],
)
def test_rsv1_where_it_may_not_be(connect: Connect, stream: bytes) -> None:
    client = connect(OFFER)
    client.send(stream)
    assert client.read_close() == (1002, "protocol")


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; client_max_window_bits=99999999999999999999",
        "permessage-deflate; server_no_context_takeover=yes",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; mode=turbo",
        'permessage-deflate; server_max_window_bits="10',
        "permessage-deflate;",
        "x-webkit-deflate-frame",
        "deflate-stream, bbf-usp-protocol",
        "," * 5000,
        "permessage-deflate; a" * 200,
    ],
)
def test_bad_offers_are_declined_and_the_connection_works(server: ServerProcess, offer: str) -> None:
    with RawClient(server.host, server.port) as client:
        response = client.upgrade("/echo", [("Sec-WebSocket-Extensions", offer)])
        assert "sec-websocket-extensions" not in response.headers
        client.send_text("plain")
        assert client.read_message() == "plain"
        client.send(build_frame(1, b"\x00", rsv=4))
        assert client.read_close() == (1002, "protocol")


@pytest.mark.parametrize(
    ("offers", "suffix"),
    [
        (["permessage-deflate"], ""),
        (["permessage-deflate; client_max_window_bits=9; server_max_window_bits=12"], "; server_max_window_bits=12"),
        (
            ["permessage-deflate; nonsense", "permessage-deflate; server_max_window_bits=9"],
            "; server_max_window_bits=9",
        ),
    ],
)
def test_good_offers_are_answered(server: ServerProcess, offers: list[str], suffix: str) -> None:
    with RawClient(server.host, server.port) as client:
        response = client.upgrade("/echo", [("Sec-WebSocket-Extensions", offer) for offer in offers])
        assert response.headers["sec-websocket-extensions"] == ANSWER + suffix
        for payload in (b"short", b"long enough " * 100):
            client.send(build_frame(1, deflated(payload), rsv=4))
            frame = client.read_frame()
            assert (inflated(frame.payload) if frame.rsv == 4 else frame.payload) == payload


def test_no_deflate_unless_it_is_switched_on() -> None:
    with ServerProcess("--ping-interval", "0", source=ECHO) as plain, RawClient(plain.host, plain.port) as client:
        response = client.upgrade("/echo", [("Sec-WebSocket-Extensions", OFFER)])
        assert "sec-websocket-extensions" not in response.headers
        client.send(build_frame(1, deflated(b"x"), rsv=4))
        assert client.read_close() == (1002, "protocol")
