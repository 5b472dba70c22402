"""An ASGI server of which a test holds both ends: no socket, no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastws.asgi import Mounted
from fastws.asgi.translating import Event, Scope

PATIENCE_S = 30.0


def scope_of(kind: str = "websocket", path: str = "/ws", **more: Any) -> Scope:
    """As uvicorn makes it."""
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws" if kind == "websocket" else "http",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "extensions": {"websocket.http.response": {}},
    }
    if kind == "http":
        scope["method"] = "GET"
    return {**scope, **more}


class Call:
    """One scope under way. `say` is the client, `hear` what the application sends."""

    def __init__(self, app: Mounted, scope: Scope) -> None:
        self.incoming: asyncio.Queue[Event] = asyncio.Queue()
        self.outgoing: asyncio.Queue[Event] = asyncio.Queue()
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.kind = scope["type"]
        self.is_receiving = False
        self.sent = 0
        self.refuses: Exception | None = None
        """What `send` raises."""
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Event:
        self.is_receiving = True
        try:
            return await self.incoming.get()
        finally:
            self.is_receiving = False

    async def _send(self, event: Event) -> None:
        if self.refuses is not None:
            raise self.refuses
        if event["type"] == "websocket.close":
            assert not self.is_receiving, "there are servers that wait for that to end"
        self.sent += 1
        await self.may_send.wait()
        self.outgoing.put_nowait(event)

    def say(self, **event: Any) -> None:
        kind = "receive" if event.keys() & {"text", "bytes"} else "disconnect"
        self.incoming.put_nowait({"type": f"websocket.{kind}", **event})

    async def hear(self) -> Event:
        """The next event; fails when the call ends without one."""
        async with asyncio.timeout(PATIENCE_S):
            getter = asyncio.ensure_future(self.outgoing.get())
            await asyncio.wait((getter, self.task), return_when=asyncio.FIRST_COMPLETED)
            if not getter.done() and self.outgoing.empty():
                getter.cancel()
                self.task.result()
                raise AssertionError("the application has returned")
            return await getter

    async def end(self) -> None:
        """Wait until the application returns."""
        async with asyncio.timeout(PATIENCE_S):
            await self.task


class Caller:
    """Makes calls, and ends those that are left."""

    def __init__(self, app: Mounted) -> None:
        self.app = app
        self.calls: list[Call] = []

    def call(self, kind: str = "websocket", path: str = "/ws", **more: Any) -> Call:
        call = Call(self.app, scope_of(kind, path, **more))
        self.calls.append(call)
        return call

    async def connect(self, path: str = "/ws", **more: Any) -> Call:
        """A WebSocket that was accepted."""
        call = self.call("websocket", path, **more)
        call.incoming.put_nowait({"type": "websocket.connect"})
        accepted = await call.hear()
        assert accepted["type"] == "websocket.accept", accepted
        return call

    async def refused(self, path: str = "/ws", **more: Any) -> tuple[int, dict[bytes, bytes], bytes]:
        """(status, headers, body) of a WebSocket that was not."""
        call = self.call("websocket", path, **more)
        call.incoming.put_nowait({"type": "websocket.connect"})
        start, body = await call.hear(), await call.hear()
        await call.end()
        assert (start["type"], body["type"]) == ("websocket.http.response.start", "websocket.http.response.body")
        return start["status"], dict(start["headers"]), body["body"]

    async def ask(self, path: str, *bodies: bytes, **more: Any) -> tuple[int, dict[bytes, bytes], bytes]:
        """(status, headers, body) of a plain request."""
        call = self.call("http", path, **more)
        pieces = bodies or (b"",)
        for number, piece in enumerate(pieces, 1):
            more_body = number < len(pieces)
            call.incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more_body})
        start, body = await call.hear(), await call.hear()
        await call.end()
        assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
        return start["status"], dict(start["headers"]), body["body"]


@asynccontextmanager
async def calling(app: Mounted) -> AsyncIterator[Caller]:
    """A caller, while the application lives."""
    async with app.lifespan():
        caller = Caller(app)
        try:
            yield caller
        finally:
            for call in caller.calls:
                call.task.cancel()
            await asyncio.gather(*(call.task for call in caller.calls), return_exceptions=True)
