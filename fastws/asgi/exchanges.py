"""One request of ASGI and the connection that answers it: the same wire as on a socket, over a transport in memory."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from fastws import closes
from fastws.asgi.translating import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Answer,
    Event,
    Receive,
    Scope,
    Send,
    announced_length,
    client_frame,
    close_payload,
    peer_of,
    read_answer,
    request_head,
    server_frames,
    upgrade_head,
)
from fastws.net.connection import Connection
from fastws.net.http import MAX_BODY, error_answer

_log: Final = logging.getLogger("fastws.asgi")

HIGH_WATER: Final = 65536
"""Bytes that may wait for the ASGI server; more wait in the connection's outbox, where limits and policies hold."""
LOW_WATER: Final = 16384

_END_OF_HEAD: Final = b"\r\n\r\n"
_DENIAL: Final = "websocket.http.response"


class MemoryTransport:
    """What a connection runs on in place of a socket: as much of `asyncio.Transport` as its wire uses."""

    def __init__(self, conn: Connection, scope: Scope) -> None:
        self.outgoing = bytearray()
        """What the wire has sent and nobody has taken."""
        self.news = asyncio.Event()
        """There is more in `outgoing`, or it is over."""
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.is_over = False
        """The wire sends nothing more."""
        self.reset: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the wire gave up: what is in `outgoing` need not be sent."""
        self._conn = conn
        self._is_full = False
        self._extra = {"peername": peer_of(scope), "sslcontext": scope.get("scheme") in ("https", "wss") or None}

    def sent(self) -> None:
        """Something was taken out of `outgoing` and the ASGI server has it."""
        if self._is_full and len(self.outgoing) <= LOW_WATER:
            self._is_full = False
            self._conn.resume_writing()

    # What the wire calls.

    def write(self, data: bytes) -> None:
        self.outgoing += data
        self.news.set()
        if len(self.outgoing) > HIGH_WATER and not self._is_full:
            self._is_full = True
            self._conn.pause_writing()

    def write_eof(self) -> None:
        self.is_over = True
        self.news.set()

    def close(self) -> None:
        self.write_eof()
        self.may_read.set()

    def abort(self) -> None:
        if not self.reset.done():
            self.reset.set_result(None)
        self.close()

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.is_over

    def pause_reading(self) -> None:
        self.may_read.clear()

    def resume_reading(self) -> None:
        self.may_read.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are the same for all."""

    def get_write_buffer_size(self) -> int:
        return len(self.outgoing)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)


class Exchange(ABC):
    """One scope of ASGI. `run` serves it until it is over; the subclasses know what is said in it."""

    def __init__(self, conn: Connection, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.conn = conn
        self.transport = MemoryTransport(conn, scope)
        self._receive = receive
        self._send = send
        self._client_is_gone = False

    @classmethod
    async def serve(cls, make_connection: Callable[[], Connection], scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a scope over a connection of its own. To be cancelled is to lose the connection."""
        try:
            opening = await cls.begin(scope, receive)
        except ValueError:
            await deny(scope, send, 400, "the request is malformed")
            return
        if opening:
            await cls(make_connection(), scope, receive, send).run(opening)

    async def run(self, opening: bytes) -> None:
        """Have the connection read `opening`, and serve it until it is over."""
        self.conn.connection_made(self.transport)
        self.conn.data_received(opening)
        self._reader, writer = asyncio.create_task(self._read_on()), asyncio.create_task(self.write())
        try:
            # The wire says when it is over, and does so when it hears that the client is gone.
            await asyncio.wait((writer, self.transport.reset), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not writer.done():
                writer.cancel()
            self.conn.connection_lost(None)
            await asyncio.gather(writer, self.stop_reading(), return_exceptions=True)
        if not writer.cancelled():
            writer.result()

    @staticmethod
    @abstractmethod
    async def begin(scope: Scope, receive: Receive) -> bytes:
        """What the connection reads first; nothing if the client has gone meanwhile.

        Raises `ValueError` if the scope cannot be written as a request.
        """

    @abstractmethod
    def hear(self, event: Event) -> bool:
        """Hand on what the client has said; False: that was its last."""

    @abstractmethod
    async def write(self) -> None:
        """Hand on what the connection says, until it is over."""

    async def _read_on(self) -> None:
        try:
            while self.hear(await self._next_event()):
                pass
        except Exception as error:
            _log.error(
                "what the ASGI server says is not to be understood", exc_info=error, extra={"conn": self.conn.id}
            )
            self.lose()

    async def _next_event(self) -> Event:
        """The next thing that the client says, once it is wanted. Where nothing can be received, it is gone."""
        gone = f"{self.scope['type']}.disconnect"
        try:
            event = await self._receive()
        except Exception as error:
            _log.debug("nothing more can be received", exc_info=error, extra={"conn": self.conn.id})
            return {"type": gone, "code": closes.ABNORMAL}
        if event["type"] != gone:
            await self.transport.may_read.wait()
        return event

    async def stop_reading(self) -> None:
        """Receive no more."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    def lose(self) -> None:
        """The client is gone without a word."""
        self._client_is_gone = True
        self.conn.connection_lost(None)

    async def say(self, event: Event) -> None:
        """Send, unless nobody is there; an error of the ASGI server means that nobody is."""
        if self._client_is_gone:
            return
        try:
            await self._send(event)
        except Exception as error:
            _log.debug("nothing more can be sent", exc_info=error, extra={"conn": self.conn.id})
            self.lose()

    async def read_head(self) -> Answer | None:
        """Take the head of the answer; None if there will be none."""
        outgoing = self.transport.outgoing
        while (end := outgoing.find(_END_OF_HEAD)) < 0:
            if self.transport.is_over:
                return None
            await self.more()
        head = bytes(outgoing[:end])
        del outgoing[: end + len(_END_OF_HEAD)]
        return read_answer(head)

    async def more(self) -> None:
        """Wait until the wire has sent something, or is over."""
        self.transport.news.clear()
        await self.transport.news.wait()

    async def say_answer(self, prefix: str, answer: Answer) -> None:
        """A whole HTTP answer, in events that begin with `prefix`."""
        while not self.transport.is_over:
            await self.more()
        await self.say({"type": f"{prefix}.start", "status": answer.status, "headers": answer.headers})
        await self.say({"type": f"{prefix}.body", "body": bytes(self.transport.outgoing), "more_body": False})


class HttpExchange(Exchange):
    """A request to a route of `@app.http`."""

    @staticmethod
    async def begin(scope: Scope, receive: Receive) -> bytes:
        announced = announced_length(scope)
        if announced is not None:
            return request_head(scope, announced)
        # A body that came in chunks has to be there before its length is known.
        body = bytearray()
        more = True
        while more and len(body) <= MAX_BODY:
            event = await receive()
            if event["type"] == "http.disconnect":
                return b""
            body += event.get("body", b"")
            more = event.get("more_body", False)
        head = request_head(scope, len(body))
        # What is too much is refused by the head alone.
        return head + body if len(body) <= MAX_BODY else head

    def hear(self, event: Event) -> bool:
        if event["type"] == "http.disconnect":
            self.lose()
            return False
        body = event.get("body")
        if body:
            self.conn.data_received(body)
        return True

    async def write(self) -> None:
        answer = await self.read_head()
        if answer is not None:
            await self.say_answer("http.response", answer)


class WebSocketExchange(Exchange):
    """A WebSocket: of the client protocol or a raw endpoint."""

    @staticmethod
    async def begin(scope: Scope, receive: Receive) -> bytes:
        event = await receive()
        return upgrade_head(scope) if event["type"] == "websocket.connect" else b""

    def hear(self, event: Event) -> bool:
        if event["type"] == "websocket.disconnect":
            self._part(event.get("code") or closes.NO_STATUS, event.get("reason") or "")
            return False
        text = event.get("text")
        if text is not None:
            self._feed(TEXT, text.encode("utf-8", "surrogatepass"))
        else:
            self._feed(BINARY, event["bytes"])
        return True

    def _part(self, code: int, reason: str) -> None:
        self._client_is_gone = True
        if code == closes.ABNORMAL:
            self.conn.connection_lost(None)
        else:
            self._feed(CLOSE, close_payload(code, reason))

    async def write(self) -> None:
        answer = await self.read_head()
        if answer is None:
            return
        if answer.status != 101:
            await self.stop_reading()
            await self._deny(answer)
            return
        subprotocol = answer.get(b"sec-websocket-protocol")
        chosen = subprotocol.decode("ascii") if subprotocol is not None else None
        await self.say({"type": "websocket.accept", "subprotocol": chosen, "headers": []})
        while True:
            for opcode, payload in server_frames(self.transport.outgoing):
                await self._say_frame(opcode, payload)
                self.transport.sent()
            if self.transport.is_over:
                return
            await self.more()

    async def _deny(self, answer: Answer) -> None:
        if _DENIAL in (self.scope.get("extensions") or {}):
            await self.say_answer(_DENIAL, answer)
        else:
            await self.say({"type": "websocket.close", "code": closes.POLICY.code, "reason": ""})

    async def _say_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            await self.say({"type": "websocket.send", "text": payload.decode()})
        elif opcode == BINARY:
            await self.say({"type": "websocket.send", "bytes": payload})
        elif opcode == PING:
            self._feed(PONG, payload)
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if payload else closes.NORMAL.code
            # Granian closes nothing while somebody receives; and nothing that the client says counts any more.
            await self.stop_reading()
            await self.say({"type": "websocket.close", "code": code, "reason": payload[2:].decode()})
            self._feed(CLOSE, payload[:2])

    def _feed(self, opcode: int, payload: bytes) -> None:
        self.conn.data_received(client_frame(opcode, payload))


async def deny(scope: Scope, send: Send, status: int, message: str) -> None:
    """Answer a request without a connection."""
    head, _, body = error_answer(status, message).partition(_END_OF_HEAD)
    answer = read_answer(head)
    prefix = "http.response"
    if scope["type"] == "websocket":
        if _DENIAL not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": closes.POLICY.code, "reason": ""})
            return
        prefix = _DENIAL
    await send({"type": f"{prefix}.start", "status": answer.status, "headers": answer.headers})
    await send({"type": f"{prefix}.body", "body": body, "more_body": False})
