"""The HTTP stage without sockets, for heads by the thousand, and the heads of usual and unusual clients."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastws.core.law import Law
from fastws.core.request import MAX_REQUEST_LINE, RequestError, parse_request
from fastws.core.upgrade import Accept, UpgradeRules, judge_upgrade
from fastws_ext.endpoint import Endpoint
from fastws_ext.handshake import FastIngress
from fastws_ext.loop_data import LoopData
from fastws_ext.wire import Wire
from tests.support.frames import TEXT, build_frame

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
COMMON = (
    b"GET /ws HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HI = build_frame(TEXT, b"hi")
HI_ECHOED = b"\x81\x02hi"
UNHURRIED_NS = 60_000_000_000  # a pass that a busy machine does not end in the middle of what a test does at once
LONG_PATH = b"/" + b"p" * (MAX_REQUEST_LINE - len(b"GET / HTTP/1.1"))  # its request line is as long as one may be
TOO_LONG_PATH = LONG_PATH + b"p"


def replaced(name: bytes, *lines: bytes) -> bytes:
    """The common head with the line of the header `name` replaced by `lines`."""
    kept = [line for line in COMMON.split(b"\r\n")[:-2] if not line.lower().startswith(name.lower() + b":")]
    return b"\r\n".join([*kept, *lines, b"", b""])


def with_path(path: bytes) -> bytes:
    return COMMON.replace(b"/ws", path, 1)


class RecordingTransport(asyncio.Transport):
    """A transport without a socket, which keeps what is written; heads by the thousand need no kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.ended = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.ended = True

    abort = close


class FullTable(FastIngress):
    """What decides uncommon requests: the parser and the table of the core, and nothing else."""

    def __init__(self, loop_data: LoopData) -> None:
        super().__init__(loop_data)
        self.asked: list[bytes] = []
        self.endpoints: dict[bytes, Endpoint] = {}

    def on_request(self, conn: Any, data: bytes) -> None:
        self.asked.append(data)
        try:
            request = parse_request(data)
        except RequestError as error:
            conn.respond(b"%d" % error.status)
            return
        endpoint = self.endpoints.get(request.path)
        verdict = judge_upgrade(request, UpgradeRules())
        if endpoint is None:
            conn.respond(b"404")
        elif isinstance(verdict, Accept):
            conn.accept(endpoint, verdict.answer, request.head_size)
        else:
            conn.respond(b"%d" % verdict.status)


class Stage:
    """An ingress with two paths, and connections to it over transports that only record."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop_data = LoopData(self.loop)
        self.loop_data.pass_ns = UNHURRIED_NS
        self.endpoint = Endpoint(
            self.loop_data, "/ws", ping_interval=0, law_factory=Law, on_message=lambda conn, message: conn.send(message)
        )
        self.ingress = self.table()
        self.ingress.routes = dict(self.ingress.endpoints)

    def table(self) -> FullTable:
        ingress = FullTable(self.loop_data)
        ingress.endpoints = dict.fromkeys((b"/ws", b"/", LONG_PATH, TOO_LONG_PATH), self.endpoint)
        return ingress

    def connect(self, ingress: FullTable | None = None) -> tuple[Wire, RecordingTransport]:
        wire, transport = Wire(ingress or self.ingress), RecordingTransport()
        wire.connection_made(transport)
        return wire, transport

    def answer(self, *pieces: bytes, ingress: FullTable | None = None) -> bytes:
        """What a client hears that sends `pieces`."""
        wire, transport = self.connect(ingress)
        for piece in pieces:
            wire.data_received(piece)
        written = transport.written
        wire.abort()
        self.turn()
        return written

    def turn(self) -> None:
        """Let the loop do what was left to it."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def settle(self) -> None:
        """Let the loop turn until a turn has no pass: nothing is left to do."""
        passes = -1
        while passes != self.loop_data.passes:
            passes = self.loop_data.passes
            self.turn()


@contextmanager
def staging() -> Iterator[Stage]:
    """A stage for the time of the block."""
    stage = Stage()
    try:
        yield stage
        stage.settle()
    finally:
        stage.loop.close()
    assert stage.loop_data.errors == 0
    assert stage.ingress.connections == 0
