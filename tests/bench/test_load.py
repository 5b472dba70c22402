"""The load engine: what it counts is what happened, and what is wrong with a server it finds."""

import base64
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench import servers
from bench.load import BYSTANDER_RATE, Load, LoadError, LoadResult, bystander
from tests.bench.windows import long_enough, with_messages

MODES = ["echo", "rate"]
SHORT = {"connections": 8, "seconds": 0.3, "warmup": 0.1}


@pytest.fixture(scope="module")
def c_echo() -> Iterator[servers.Server]:
    with servers.peer("c_epoll") as server:
        yield server


def run(mode: str, port: int, **options: float | str | bool) -> LoadResult:
    with Load(mode, port, options={**SHORT, **options}) as load:
        return load.finish(30.0)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1024, 65535, 65536, 300_000])
def test_echo_of_every_length_form(c_echo: servers.Server, size: int) -> None:
    result = with_messages(lambda seconds: run("echo", c_echo.port, size=size, seconds=seconds)).check()
    assert result.connected == 8
    assert result.run.messages > 0
    # Each of the eight may have brought a part of its reply before the window began.
    assert result.run.bytes >= (result.run.messages - 8) * size


def test_echo_counts_and_latencies_agree(c_echo: servers.Server) -> None:
    options = {**SHORT, "inflight": 16, "text": True}

    def measured(seconds: float) -> LoadResult:
        with Load("echo", c_echo.port, server_pids=c_echo.pids, options={**options, "seconds": seconds}) as load:
            return load.finish(30.0).check()

    result = long_enough(measured, lambda one: one.run.latency.count > 0 < one.run.server_cpu_s, 0.3)
    # A batch that is under way at either end of the window may be on one side of one and on the other of the other.
    assert result.run.latency.count == pytest.approx(result.run.messages, rel=0.2, abs=2 * 8 * 16)
    assert 0 < result.run.latency.p50 <= result.run.latency.p99 <= result.run.latency.max
    assert 0 < result.run.server_cpu_s <= result.run.seconds * 1.1
    assert result.run.client_cpu_s > 0


def test_rate_keeps_its_schedule(c_echo: servers.Server) -> None:
    result = run("rate", c_echo.port, rate=2000, seconds=0.5).check()
    assert result.run.latency.count == pytest.approx(1000, abs=20)


def test_several_processes_share_the_connections(c_echo: servers.Server) -> None:
    result = run("connect", c_echo.port, connections=101, processes=3).check()
    assert (result.connected, result.processes) == (101, 3)
    assert result.connect.latency.count == 101


def test_idle_holds_until_told(c_echo: servers.Server) -> None:
    reports = []
    options = {"connections": 50, "seconds": 60, "until_stdin": True}
    with Load("idle", c_echo.port, options=options, on_progress=reports.append) as load:
        assert load.wait_connected() == 50
        result = load.release().check()
    assert result.connected == 50
    assert any(report["phase"] == "connected" for report in reports)


def test_a_bystander_is_timed_beside_another_load(c_echo: servers.Server) -> None:
    with Load("echo", c_echo.port, options={**SHORT, "seconds": 0.8}) as load:
        assert load.wait_measuring()
        beside = bystander(c_echo.port, "/echo", 0.5)
        load.finish(30.0).check()
    assert beside is not None
    assert beside.count >= 0.5 * BYSTANDER_RATE - 5  # a window that ends late on a busy machine has more
    assert 0 < beside.p50 <= beside.p99 <= beside.max


def test_there_is_no_bystander_without_an_echo() -> None:
    with improper_server(good_upgrade, lambda _: b"\x81\x02no") as port:
        assert bystander(port, "/", 0.2) is None


def test_no_window_is_waited_for_when_there_is_none() -> None:
    with Load("connect", 1, options={"connections": 1}) as load:
        assert not load.wait_measuring(30.0)
        load.finish(30.0)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = run("echo", port)
    assert (result.connected, result.failures["cannot_connect"]) == (0, 8)
    with pytest.raises(LoadError, match="refused"):
        result.check()


def test_wrong_options_are_refused() -> None:
    with Load("echo", 1, options={"inflight": 0}) as load, pytest.raises(LoadError, match="inflight"):
        load.finish()


Answer = Callable[[bytes], bytes | None]  # what to send, None for nothing, b"" to close


@contextmanager
def improper_server(on_upgrade: Answer, on_frame: Answer, piece: int = 65536) -> Iterator[int]:
    """A server for one client that answers its head and each of its frames as told, in pieces of so many bytes."""

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.settimeout(10.0)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer, received = on_upgrade, b""
            while data := client.recv(65536):
                received += data
                while size := (len(received) if answer is on_upgrade else frame_size(received)):
                    said_goodbye = answer is on_frame and received[0] == 0x88
                    reply = answer(received[:size])
                    received, answer = received[size:], on_frame
                    if reply == b"" or said_goodbye:
                        return
                    for at in range(0, len(reply or b""), piece):
                        client.sendall(reply[at : at + piece])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10.0)


def good_upgrade(request: bytes) -> bytes:
    key = next(line for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: ")).split()[1]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\n\r\n"
    )


def frame_size(data: bytes) -> int:
    """Bytes of the first frame of a client, which is shorter than 126 bytes; 0 while it is not all there."""
    size = 6 + (data[1] & 0x7F) if len(data) > 1 else 0
    return size if size <= len(data) else 0


def unmasked(frame: bytes) -> bytes:
    """The payload of a client's frame."""
    assert frame[1] & 0x80
    return bytes(byte ^ frame[2 + i % 4] for i, byte in enumerate(frame[6 : 6 + (frame[1] & 0x7F)]))


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (lambda payload: b"\x82" + bytes([len(payload)]) + payload[:-1] + b"\x00", "bad_payload"),
        (lambda payload: b"\x81" + bytes([len(payload)]) + payload, "bad_frame"),
        (lambda payload: b"\x82" + bytes([len(payload) - 1]) + payload[:-1], "bad_frame"),
        (lambda payload: b"\x82" + bytes([0x80 | len(payload)]) + b"\0\0\0\0" + payload, "bad_frame"),
        (lambda payload: b"\x82\x7e" + struct.pack("!H", len(payload)) + payload, "bad_frame"),
        (lambda _: b"\x88\x02" + struct.pack("!H", 1011), "closed_early"),
        (lambda _: b"", "closed_early"),
    ],
    ids=["content", "opcode", "length", "mask", "long form", "close frame", "end of stream"],
)
def test_a_wrong_reply_is_a_failure(reply: Answer, failure: str) -> None:
    with improper_server(good_upgrade, lambda frame: reply(unmasked(frame))) as port:
        result = run("echo", port, connections=1)
    assert result.failures[failure] == 1
    assert result.run.messages == 0


def test_connections_that_only_open_may_be_greeted() -> None:
    with improper_server(lambda head: good_upgrade(head) + b"\x81\x05hello", lambda _: None) as port:
        result = run("connect", port, connections=1).check()
    assert result.connected == 1


def test_replies_in_single_bytes_with_pings_between_are_right() -> None:
    pongs = []

    def on_frame(frame: bytes) -> bytes | None:
        payload = unmasked(frame)
        if frame[0] == 0x8A:
            pongs.append(payload)
            return None
        return b"\x89\x02hi\x82" + bytes([len(payload)]) + payload

    def measured(seconds: float) -> LoadResult:
        with improper_server(good_upgrade, on_frame, piece=1) as port:
            return run("echo", port, connections=1, size=100, seconds=seconds)

    result = long_enough(measured, lambda one: one.run.messages > 0, 0.3)
    assert not result.failures["bad_frame"]
    assert not result.failures["bad_payload"]
    assert result.pings >= result.run.messages
    assert set(pongs) == {b"hi"}


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        (lambda _: b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
        (lambda head: good_upgrade(head).replace(b"Accept: ", b"Accept: A"), "Accept"),
        (lambda head: good_upgrade(head).replace(b"Upgrade: websocket\r\n", b""), "Upgrade"),
        (lambda _: b"", "end of stream"),
    ],
    ids=["refused", "wrong accept", "no upgrade header", "end of stream"],
)
def test_a_refused_upgrade_is_a_failure(answer: Answer, first: str) -> None:
    with improper_server(answer, lambda _: b"") as port:
        result = run("echo", port, connections=1)
    assert (result.connected, result.failures["not_upgraded"]) == (0, 1)
    assert first in result.first_failure
