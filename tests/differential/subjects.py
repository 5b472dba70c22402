"""The two sides that have to agree: the law alone, and a wire, which asks the law only what it cannot decide itself."""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, NamedTuple, cast

from fastws.core.deflate import compress, inflate
from fastws.core.law import Law
from fastws.errors import ProtocolViolation
from fastws_ext.endpoint import Endpoint
from fastws_ext.handshake import FastIngress
from fastws_ext.loop_data import LoopData
from fastws_ext.wire import Wire
from tests.differential.streams import Limits

_HEAD = b"GET\r\n\r\n"
_ANSWER = b"101"
_OPEN = 1


class Outcome(NamedTuple):
    """What is to be seen after some bytes: messages, payloads of pongs, the code of our close frame (0 for none)."""

    messages: list[str | bytes]
    pongs: list[bytes]
    code: int


class Timeline:
    """What the law makes of a stream, and at which byte: it is fed one byte at a time."""

    def __init__(self, limits: Limits, data: bytes) -> None:
        self._messages: list[tuple[int, str | bytes]] = []
        self._pongs: list[tuple[int, bytes]] = []
        self._close = (len(data) + 1, 0)
        law = Law(limits.max_message_size, limits.max_fragments, 15 if limits.deflate else 0)
        for i in range(len(data)):
            try:
                events = law.receive_data(data[i : i + 1])
            except ProtocolViolation as violation:
                self._close = (i + 1, violation.code)
                break
            for opcode, payload in events:
                if opcode < 8:
                    self._messages.append((i + 1, payload))
                elif opcode == 9:
                    self._pongs.append((i + 1, payload))
                elif opcode == 8:
                    self._close = (i + 1, payload[0])
                    return

    def after(self, count: int) -> Outcome:
        """Return what is to be seen after the first `count` bytes."""
        return Outcome(
            [message for at, message in self._messages if at <= count],
            [pong for at, pong in self._pongs if at <= count],
            self._close[1] if self._close[0] <= count else 0,
        )


class RecordingTransport:
    """An asyncio transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str) -> None: ...


class ManualLoop:
    """As much of an event loop as `LoopData` asks for: what is to be called soon is called by `run`."""

    def __init__(self) -> None:
        self._soon: deque[Callable[[], Any]] = deque()

    def call_soon(self, callback: Callable[[], Any]) -> None:
        self._soon.append(callback)

    def run(self) -> None:
        """Call what is due until nothing is."""
        while self._soon:
            self._soon.popleft()()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise context["exception"]


class _Door(FastIngress):
    """Lets everyone in at once."""

    endpoint: Endpoint
    window_bits: int

    def on_request(self, conn: Any, data: bytes) -> None:
        conn.accept(self.endpoint, _ANSWER, len(_HEAD), self.window_bits)


class Way(Enum):
    """How a wire is fed."""

    UPGRADE_FIRST = 0
    PIPELINED = 1
    """The first piece comes together with the request."""
    PAUSING = 2
    """The layer above pauses reading in each message, and resumes later."""


class _Kept:
    """What the layer above was told about one connection."""

    def __init__(self, pausing: bool) -> None:
        self.pausing = pausing
        self.messages: list[str | bytes] = []
        self.closes: list[int] = []


class WireRig:
    """Wires under the given limits, on memory transports."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self._loop_data = LoopData(cast("AbstractEventLoop", self.loop))
        self._doors: dict[Limits, _Door] = {}

    def run(self, limits: Limits, pieces: Iterable[bytes], way: Way) -> Iterable[Outcome]:
        """Feed the pieces to a new wire; what is to be seen after each."""
        kept = _Kept(way is Way.PAUSING)
        transport = RecordingTransport()
        conn = Wire(self._door(limits))
        conn.session = kept
        conn.connection_made(transport)
        begin = _HEAD
        if way is Way.UPGRADE_FIRST:
            conn.data_received(begin)
            begin = b""
        pongs: list[bytes] = []
        code = 0
        for piece in pieces:
            conn.data_received(begin + piece)
            begin = b""
            self.loop.run()
            while conn.paused and conn.state == _OPEN:
                conn.resume_reading()
                self.loop.run()
            code = _read_frames(transport.written, pongs) or code
            yield Outcome(list(kept.messages), list(pongs), code)
        conn.connection_lost(None)
        self.loop.run()
        assert kept.closes == [code or 1006], f"on_close was told {kept.closes}, the close frame said {code}"

    def _door(self, limits: Limits) -> _Door:
        door = self._doors.get(limits)
        if door is None:
            door = self._doors[limits] = _Door(self._loop_data, handshake_timeout=0)
            door.window_bits = 15 if limits.deflate else 0
            door.endpoint = Endpoint(
                self._loop_data,
                "/",
                max_message_size=limits.max_message_size,
                max_fragments=limits.max_fragments,
                ping_interval=0,
                message_timeout=0,
                on_message=_keep_message,
                on_close=_keep_close,
                on_error=_raise,
                law_factory=Law,
                compress=compress,
                inflate=inflate,
            )
        return door


def _keep_message(conn: Any, message: str | bytes) -> None:
    conn.session.messages.append(message)
    if conn.session.pausing:
        conn.pause_reading()


def _keep_close(conn: Any, code: int, _reason: str) -> None:
    conn.session.closes.append(code)


def _raise(_conn: Any, error: BaseException, _where: str) -> None:
    raise error


def _read_frames(written: bytearray, pongs: list[bytes]) -> int:
    """Take the server's frames out of `written`; the code of a close frame (1005 if it has none), or 0."""
    code = 0
    if written[: len(_ANSWER)] == _ANSWER:
        del written[: len(_ANSWER)]
    while written:
        opcode, size = written[0], written[1]
        payload = bytes(written[2 : 2 + size])
        assert len(payload) == size < 126
        assert not code, "something was sent behind the close frame"
        if opcode == 0x8A:
            pongs.append(payload)
        else:
            assert opcode == 0x88
            code = int.from_bytes(payload[:2], "big") if payload else 1005
        del written[: 2 + size]
    return code
