"""Fragments, deflate, TLS and Unix sockets of the load engine, against the real server and against improper ones."""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import servers
from bench.load import Load, LoadError, LoadResult
from tests.bench.test_load import good_upgrade, improper_server, unmasked
from tests.bench.windows import long_enough, with_messages
from tests.support import certificates

SHORT = {"connections": 6, "seconds": 0.3, "warmup": 0.1}
NEGOTIATED = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def run(mode: str, port: int, **options: float | str | bool) -> LoadResult:
    with Load(mode, port, options={**SHORT, **options}) as load:
        return load.finish(30.0)


def heard(mode: str, port: int, **options: float | str | bool) -> LoadResult:
    """The same with at least one message, and nothing wrong."""
    result = with_messages(lambda seconds: run(mode, port, **options, seconds=seconds)).check()
    assert result.run.messages > 0
    return result


@pytest.fixture(scope="module")
def deflating() -> Iterator[servers.Server]:
    with servers.fastws("bench.apps.echo:app", "--deflate") as server:
        yield server


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    certificate = certificates.self_signed(tmp_path_factory.mktemp("tls"))
    with servers.fastws("bench.apps.echo:app", "--deflate", *certificate.options) as server:
        yield server


@pytest.mark.parametrize("fragments", [2, 4, 64])
def test_fragments_are_answered_as_one_message(deflating: servers.Server, fragments: int) -> None:
    assert heard("echo", deflating.port, fragments=fragments, inflight=5).connected == 6


@pytest.mark.parametrize("size", [0, 1, 100, 1024, 60_000])
@pytest.mark.parametrize("mode", ["echo", "rate"])
def test_compressed_messages_come_back(deflating: servers.Server, mode: str, size: int) -> None:
    result = heard(mode, deflating.port, deflate=True, text=True, size=size)
    if size >= 1024:  # fastws compresses what is worth it
        assert result.run.bytes < result.run.messages * size / 2


def test_compressed_messages_in_fragments_come_back(deflating: servers.Server) -> None:
    assert heard("echo", deflating.port, deflate=True, size=1024, fragments=4).connected == 6


@pytest.mark.parametrize("options", [{}, {"size": 60_000, "inflight": 20}, {"deflate": True, "fragments": 4}])
def test_under_tls(secure: servers.Server, options: dict[str, int]) -> None:
    assert heard("echo", secure.port, tls=True, **options).connected == 6


def test_tls_where_there_is_none_is_a_failure(deflating: servers.Server) -> None:
    result = run("echo", deflating.port, tls=True, connections=1)
    assert result.failures["all"] == result.failures["cannot_connect"] == 1
    assert "TLS" in result.first_failure


def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "echo.sock")
    with servers.fastws("bench.apps.echo:app", "--uds", path) as server:
        assert server.port == 0
        assert heard("echo", server.port, unix=path, inflight=4).connected == 6


def test_no_socket_at_the_path(tmp_path: Path) -> None:
    result = run("echo", 0, unix=str(tmp_path / "none.sock"))
    assert result.failures["cannot_connect"] == 6


def upgrade_with(extensions: bytes) -> Callable[[bytes], bytes]:
    def upgrade(request: bytes) -> bytes:
        assert b"\r\nSec-WebSocket-Extensions: permessage-deflate" in request
        return good_upgrade(request)[:-2] + b"Sec-WebSocket-Extensions: " + extensions + b"\r\n\r\n"

    return upgrade


def compressed(payload: bytes, level: int = 6) -> bytes:
    squeezer = zlib.compressobj(level, wbits=-15)
    return (squeezer.compress(payload) + squeezer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(frame: bytes) -> bytes:
    assert frame[0] == 0xC1
    return zlib.decompressobj(-15).decompress(unmasked(frame) + b"\0\0\xff\xff")


def reply(payload: bytes, first: int = 0xC1) -> bytes:
    return bytes([first, len(payload)]) + payload


@pytest.mark.parametrize("piece", [65536, 1])
def test_replies_may_be_compressed_in_any_way_or_not_at_all(piece: int) -> None:
    count = 0

    def on_frame(frame: bytes) -> bytes:
        nonlocal count
        if frame[0] == 0x88:
            return b""
        count += 1
        payload = inflated(frame)
        return reply(payload, 0x81) if count % 3 == 0 else reply(compressed(payload, count % 10))

    def measured(seconds: float) -> LoadResult:
        with improper_server(upgrade_with(NEGOTIATED), on_frame, piece) as port:
            return run("echo", port, connections=1, deflate=True, text=True, size=100, seconds=seconds)

    result = long_enough(measured, lambda one: one.run.messages > 0, 0.3)
    assert result.failures["bad_frame"] == result.failures["bad_payload"] == 0
    assert 0 < result.run.messages <= count


@pytest.mark.parametrize(
    ("wrong", "failure"),
    [
        (lambda payload: reply(compressed(payload[:-1])), "bad_payload"),
        (lambda payload: reply(compressed(payload + b"!")), "bad_payload"),
        (reply, "bad_payload"),
        (lambda payload: reply(compressed(payload), 0xC2), "bad_frame"),
        (lambda payload: reply(compressed(payload), 0xA1), "bad_frame"),
        (lambda payload: b"\xc1\x7e" + struct.pack("!H", 2000) + b"\0" * 2000, "bad_frame"),
    ],
    ids=["shorter", "longer", "not compressed", "opcode", "wrong bit", "far too long"],
)
def test_a_wrong_compressed_reply_is_a_failure(wrong: Callable[[bytes], bytes], failure: str) -> None:
    def on_frame(frame: bytes) -> bytes:
        return wrong(inflated(frame))

    with improper_server(upgrade_with(NEGOTIATED), on_frame) as port:
        result = run("echo", port, connections=1, deflate=True, text=True, size=100)
    assert result.failures[failure] == 1
    assert result.run.messages == 0


def test_compression_that_was_not_asked_for_is_a_failure() -> None:
    with improper_server(good_upgrade, lambda frame: reply(compressed(unmasked(frame)))) as port:
        result = run("echo", port, connections=1, text=True)
    assert result.failures["bad_frame"] == 1


@pytest.mark.parametrize("answer", [b"permessage-deflate", b"x-other; server_no_context_takeover"])
def test_deflate_on_other_terms_is_a_failure(answer: bytes) -> None:
    with improper_server(upgrade_with(answer), lambda _: b"") as port:
        result = run("echo", port, connections=1, deflate=True)
    assert result.failures["not_upgraded"] == 1
    assert "not accepted" in result.first_failure


@pytest.mark.parametrize(
    ("mode", "wrong"),
    [
        ("echo", {"fragments": 0}),
        ("echo", {"fragments": 65}),
        ("connect", {"fragments": 2}),
        ("fanout", {"deflate": True}),
        ("echo", {"unix": "x" * 108}),
    ],
)
def test_variants_that_cannot_be_are_refused(mode: str, wrong: dict[str, float | str | bool]) -> None:
    with pytest.raises(LoadError, match=next(iter(wrong))):
        run(mode, 1, **wrong)
