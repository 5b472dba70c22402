"""The gateway with everything below it, real but for sockets and clocks: connections run over transports in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from fastws.app import FastWS
from fastws.config import Settings
from fastws.core.law import Law
from fastws.core.request import Request
from fastws.engine.memory import MemoryEngine
from fastws.gateway.auth.identity import identity_of
from fastws.gateway.gateway import Gateway
from fastws.hub.hub import Hub
from fastws.net.connection import Connection
from fastws.net.session import Details, Session
from fastws_ext.endpoint import Endpoint
from fastws_ext.handshake import FastIngress
from fastws_ext.loop_data import LoopData
from tests.support.frames import BINARY, CLOSE, TEXT, Frame, build_frame, close_frame, parse_frame

HEAD = b"GET\r\n\r\n"
ANSWER = b"101"
JSON = "fastws.json.v1"
MSGPACK = "fastws.msgpack.v1"
PATIENCE_S = 30.0


class Clock:
    """Time that passes only when a test says so; both clocks of an engine."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class RecordingTransport:
    """A transport of asyncio that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = False
        self.reading = True

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

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None: ...


class Door(FastIngress):
    """Lets everyone in at once, with what the HTTP stage would have found out."""

    endpoint: Endpoint
    details: Details | None = None

    def on_request(self, conn: Connection, data: bytes) -> None:
        if self.details is not None:
            conn.session = Session(self.details)
        conn.accept(self.endpoint, ANSWER, len(HEAD), 0)


class Player:
    """A client of the stage."""

    def __init__(self, door: Door, *, msgpack: bool) -> None:
        self.transport = RecordingTransport()
        self.msgpack = msgpack
        self.closed: tuple[int, str] | None = None
        """What the server's close frame said, once it was heard."""
        self.conn = Connection(door)
        self.conn.connection_made(self.transport)
        self.conn.data_received(HEAD)
        assert self.transport.written.startswith(ANSWER)
        self.transport.written = self.transport.written[len(ANSWER) :]

    def say(self, *contents: object) -> None:
        """Send objects, each in a frame of its own."""
        for content in contents:
            if self.msgpack:
                self.say_bytes(msgspec.msgpack.encode(content))
            else:
                self.say_text(json.dumps(content, ensure_ascii=False))

    def say_text(self, text: str) -> None:
        self.conn.data_received(build_frame(TEXT, text.encode()))

    def say_bytes(self, data: bytes) -> None:
        self.conn.data_received(build_frame(BINARY, data))

    def frames(self) -> list[Frame]:
        """The frames that came since it was asked last."""
        data, self.transport.written = self.transport.written, b""
        frames = []
        while data:
            parsed = parse_frame(data)
            assert parsed is not None
            frames.append(parsed[0])
            data = data[parsed[1] :]
        return frames

    def hear(self) -> list[Any]:
        """The objects that came since it was asked last, each in the codec's kind of frame."""
        objects: list[Any] = []
        for frame in self.frames():
            if frame.opcode == CLOSE:
                self.closed = (frame.close_code, frame.close_reason)
                continue
            assert frame.opcode == (BINARY if self.msgpack else TEXT), frame
            assert b"\n" not in frame.payload or self.msgpack
            objects.append((msgspec.msgpack.decode if self.msgpack else json.loads)(frame.payload))
        return objects

    def hear_one(self) -> Any:
        heard = self.hear()
        assert len(heard) == 1, heard
        return heard[0]

    def ask(self, cmd: str, **fields: Any) -> Any:
        """Send a command and return the only answer to it: the result, or the error with its code alone."""
        self.say({"id": 7, "cmd": cmd, **fields})
        answer = self.hear_one()
        assert answer["id"] == 7
        assert answer.keys() in ({"id", "result"}, {"id", "error"})
        return answer["result"] if "result" in answer else answer["error"]["code"]

    def go(self, code: int = 1000) -> None:
        """Close, with the handshake."""
        self.conn.data_received(close_frame(code))

    def vanish(self) -> None:
        """The connection is lost."""
        self.conn.connection_lost(None)


class Stage:
    """One server without sockets."""

    def __init__(self, app: FastWS | None = None, engine: Any = None, **settings: Any) -> None:
        self.app = app if app is not None else FastWS()
        self.clock = Clock()
        loop = asyncio.get_running_loop()
        self.loop_data = LoopData(loop)
        self.settings = Settings(**{"dev": True, "node_name": "n1", **settings})
        self.engine = engine if engine is not None else MemoryEngine(self.clock, self.clock)
        self.hub = Hub(self.loop_data, self.engine, self.settings.node_name)
        self.gateway = Gateway(self.app, self.settings, self.hub, self.engine, loop)
        self.gateway._execution.turn_s = PATIENCE_S  # what a busy machine takes is not what a test is about
        self.door = Door(self.loop_data)
        self.door.endpoint = Endpoint(
            self.loop_data,
            "/ws",
            max_message_size=self.settings.max_message_size,
            ping_interval=self.settings.ping_interval,
            law_factory=Law,
            **self.gateway.callbacks(),
        )

    def connect(
        self,
        *,
        subprotocol: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        query: bytes = b"",
        welcomed: bool = True,
    ) -> Player:
        """A new client; with `welcomed` its welcome has been read already."""
        self.door.details = None
        if subprotocol or headers or query:
            details = self.door.details = Details()
            details.request = Request("GET", b"/ws", query, 11, headers, 0, 0)
            details.query = query
            details.subprotocol = subprotocol
        player = Player(self.door, msgpack=subprotocol == MSGPACK)
        if welcomed:
            outage = [] if self.hub.outages.since_ms is None else ["degraded"]
            assert [heard["event"] for heard in player.hear()] == ["welcome", *outage]
        return player

    def name(self, player: Player, user: str, tenant: str = "", device: str = "default", info: Any = None) -> Player:
        """Let an anonymous client be a user, as if it had come with a token."""
        player.conn.session.identity = identity_of(user, tenant, device, info)
        self.hub.renamed(player.conn, "", "")
        return player

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(10):
            await asyncio.sleep(0)


@asynccontextmanager
async def staged(app: FastWS | None = None, engine: Any = None, **settings: Any) -> AsyncIterator[Stage]:
    """A stage that runs, under `--dev` unless the settings say otherwise."""
    async with asyncio.timeout(PATIENCE_S):
        stage = Stage(app, engine, **settings)
        await stage.gateway.start()
        try:
            yield stage
        finally:
            await stage.gateway.stop()
