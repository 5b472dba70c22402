"""Clients of a server that is being restarted: some stay, and come back when they are sent away; others come and go.

They read no more of the protocol than they need for that, and write down whatever a client would not like.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import Final, Self

CLOSE: Final = 8
RESTARTING: Final = 1012
FINE: Final = ("served", "moved")
_REQUEST: Final = (
    b"GET /echo HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_HELLO: Final = b"\x81\x85\0\0\0\0hello"
_RETRY: Final = re.compile(rb"retry_ms=(\d+)")
_PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 0.2  # after what went wrong


class Visit(asyncio.Protocol):
    """One connection. `come`, then `stay` or `leave`; both return what became of it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.retry_s = 0.0
        self._buffer = b""
        self._is_open = False
        self._upgraded: asyncio.Future[str] = loop.create_future()
        self._ended: asyncio.Future[str] = loop.create_future()
        self._echoed: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    async def come(self, port: int) -> str:
        """Connect and upgrade; empty if that worked, else what did not."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", port)
        except OSError as error:
            return f"not connected: {type(error).__name__}"
        return await self._within(self._upgraded)

    async def stay(self) -> str:
        """Wait until the server ends it."""
        return await self._ended

    async def leave(self) -> str:
        """Be served once, and go."""
        assert self._transport is not None
        self._transport.write(_HELLO)
        await asyncio.wait((self._echoed, self._ended), timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if not self._ended.done():
            self._transport.write(b"\x88\x82\0\0\0\0\x03\xe8")
        return await self._within(self._ended)

    async def _within(self, future: asyncio.Future[str]) -> str:
        # Not wait_for, which forgets that it was cancelled where the answer comes at the same time.
        await asyncio.wait((future,), timeout=_PATIENCE_S)
        if future.done():
            return future.result()
        self.drop()
        return "no answer"

    def drop(self) -> None:
        """End it without a word."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            head, mark, rest = self._buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            status = head.split(b" ", 2)[1].decode("ascii", "replace")
            self._is_open = status == "101"
            self._say(self._upgraded, "" if self._is_open else f"status {status}")
            self._buffer = rest
        while self._is_open and len(self._buffer) >= 2 and len(self._buffer) >= 2 + self._buffer[1]:
            frame, self._buffer = self._buffer[: 2 + self._buffer[1]], self._buffer[2 + self._buffer[1] :]
            self._hear(frame[0] & 15, frame[2:])

    def _hear(self, opcode: int, payload: bytes) -> None:
        if opcode != CLOSE:
            if not self._echoed.done():
                self._echoed.set_result(None)
            return
        code = int.from_bytes(payload[:2], "big")
        if code == RESTARTING:
            found = _RETRY.search(payload)
            self.retry_s = int(found[1]) / 1000 if found else 0.0
        self._say(self._ended, {1000: "served", RESTARTING: "moved"}.get(code, f"closed {code}"))
        assert self._transport is not None
        self._transport.write(b"\x88\x82\0\0\0\0" + payload[:2])

    def connection_lost(self, exc: Exception | None) -> None:
        how = "reset" if isinstance(exc, ConnectionResetError) else "cut off"
        self._say(self._upgraded, f"{how} before the 101")
        self._say(self._ended, how)

    def _say(self, future: asyncio.Future[str], text: str) -> None:
        if not future.done():
            future.set_result(text)


class Visitors:
    """All of them, from entering to leaving an `async with` block.

    :param port: of the server on 127.0.0.1.
    :param staying: connections that are kept.
    :param passing: clients that connect, are served once and leave, over and over.
    """

    def __init__(self, port: int, staying: int, passing: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.longest_s = 0.0
        """From connect() to the 101."""
        self.here = 0
        """Of those who stay."""
        self._port = port
        self._counts = (staying, passing)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def troubles(self) -> dict[str, int]:
        """What should not happen, and how often it has."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome not in FINE}

    def forget(self) -> None:
        """Count from here."""
        self.outcomes.clear()
        self.longest_s = 0.0

    async def _keep(self) -> None:
        while True:
            visit = Visit()
            try:
                if not await self._come(visit):
                    continue
                self.here += 1
                try:
                    outcome = await visit.stay()
                finally:
                    self.here -= 1
                self.outcomes[outcome] += 1
                await asyncio.sleep(visit.retry_s)
            finally:
                visit.drop()

    async def _pass_by(self) -> None:
        while True:
            visit = Visit()
            try:
                if await self._come(visit):
                    self.outcomes[await visit.leave()] += 1
            finally:
                visit.drop()

    async def _come(self, visit: Visit) -> bool:
        begun = monotonic()
        trouble = await visit.come(self._port)
        self.longest_s = max(self.longest_s, monotonic() - begun)
        if trouble:
            self.outcomes[trouble] += 1
            await asyncio.sleep(_PAUSE_S)
        return not trouble

    async def __aenter__(self) -> Self:
        staying, passing = self._counts
        self._tasks = [asyncio.create_task(self._keep()) for _ in range(staying)]
        self._tasks += [asyncio.create_task(self._pass_by()) for _ in range(passing)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
