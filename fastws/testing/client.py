"""A client for tests: says commands, keeps what arrives until somebody asks for it, and explains what came instead."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import orjson
from wsproto.events import Ping, Pong

from fastws import closes
from fastws.core.codecs import CODECS, json_text, msgpack_binary
from fastws.errors import UsageError
from fastws.server.console.link import Link, Target
from fastws.types import CloseInfo

TIMEOUT_S: Final = 5.0
"""How long everything here waits unless it is told otherwise."""

_REMEMBERED: Final = 12
_SHOWN: Final = 300


class CommandError(Exception):
    """The server answered a command with an error."""

    def __init__(self, cmd: str, error: Mapping[str, Any]) -> None:
        self.cmd = cmd
        self.code: int = error["code"]
        self.reason: str = error["reason"]
        self.message: str = error.get("message", "")
        self.temporary: bool = error.get("temporary", False)
        super().__init__(f"{cmd}: {self.code} {self.reason}" + (f": {self.message}" if self.message else ""))


class ConnectionClosed(Exception):  # noqa: N818 - the name says what happened
    """The connection has ended; `code` and `reason` are what the server's close frame said, 1006 without one."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(message)


class Client:
    """One WebSocket to a server, made by `TestServer.connect` or `Client.open`.

    Everything that arrives is read at once, pings are answered, and what nobody has taken yet is kept in its order.
    Methods that wait raise `AssertionError` after `timeout` seconds, with the last that was said on both sides, and
    `ConnectionClosed` when the connection ends first.
    """

    __test__ = False  # pytest: no class of tests, whatever it is called where it is imported

    def __init__(self, link: Link, codec: str | None) -> None:
        """`codec`: `json` or `msgpack`; None leaves messages as they are, for raw endpoints."""
        self.welcome: dict[str, Any] = {}
        """The server's first push: `conn`, `user`, `tenant`, `device`, `node`, ...; empty before authentication."""
        self.closed: CloseInfo | None = None
        """How it ended; None while it is open."""
        self.subprotocol = link.subprotocol
        """The one that the server chose, None if it chose none."""
        self._link = link
        self._codec = codec
        self._numbers = itertools.count(1)
        self._arrived: deque[Any] = deque()
        self._replies: dict[int | str, asyncio.Future[Any]] = {}
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._news = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()
        self._lines: deque[str] = deque(maxlen=_REMEMBERED)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, target: str | Target, *, codec: str | None = json_text.NAME, token: str | None = None) -> Self:
        """Connect to any server: `Client.open("ws://127.0.0.1:8000/ws")`. Nothing is awaited after the upgrade.

        :param target: a URL, or everything that an upgrade may carry.
        :param codec: `json` or `msgpack` for the client protocol, None for a raw endpoint.
        :param token: sent as `Authorization: Bearer` to a URL.
        :raises ConnectError: nobody answers; `RefusedError` has the status of who does.
        """
        if isinstance(target, str):
            subprotocols = tuple(form.subprotocol for form in CODECS if form.name == codec)
            target = Target(target, subprotocols=subprotocols, token=token)
        return cls(await Link.open(target), codec)

    @property
    def id(self) -> str:
        """What the server calls this connection; empty before `welcome`."""
        return str(self.welcome.get("conn", ""))

    @property
    def arrived(self) -> tuple[Any, ...]:
        """What has arrived and was not taken yet, oldest first."""
        return tuple(self._arrived)

    # Saying something.

    async def send(self, cmd: str, /, **fields: Any) -> None:
        """Say a command without waiting for anything; it gets no reply unless `id` is among the fields."""
        await self.send_object({"cmd": cmd, **fields})

    async def send_object(self, value: object) -> None:
        """Send anything in the connection's codec."""
        if self._codec == msgpack_binary.NAME:
            await self.send_bytes(msgspec.msgpack.encode(value))
        else:
            await self.send_text(orjson.dumps(value).decode())

    async def send_text(self, text: str) -> None:
        """Send a text message as it is. Raises `ConnectionClosed` if the connection has ended."""
        self._must_be_open()
        self._note(">", text)
        self._link.send_text(text)
        await self._link.drain()

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message as it is. Raises `ConnectionClosed` if the connection has ended."""
        self._must_be_open()
        self._note(">", data)
        self._link.send_bytes(data)
        await self._link.drain()

    async def request(self, cmd: str, /, *, timeout: float = TIMEOUT_S, **fields: Any) -> Any:
        """Say a command and return its `result`; pushes that come meanwhile are kept.

        :raises CommandError: the reply is an error.
        """
        self._must_speak("request")
        number = fields.setdefault("id", next(self._numbers))
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            await self.send(cmd, **fields)
            answer = await self._answer(reply, timeout, f"a reply to {cmd}")
        finally:
            self._replies.pop(number, None)
        if "error" in answer:
            raise CommandError(cmd, answer["error"])
        return answer["result"]

    async def authenticate(self, token: str) -> dict[str, Any]:
        """Say `auth` and return the welcome that follows it.

        :raises CommandError: the token is not accepted.
        """
        await self.request("auth", token=token)
        return await self.take_welcome()

    async def subscribe(
        self,
        topic: str,
        *,
        recover: tuple[str, int] | Mapping[str, Any] | None = None,
        token: str | None = None,
        presence: bool = False,
    ) -> dict[str, Any]:
        """Subscribe to a topic and return the result.

        :param recover: what was heard last, as (epoch, offset) or as a result of `subscribe` or `publish` has it.
        :param token: a subscription token, where the namespace asks for one.
        :param presence: hear who joins and leaves.
        """
        fields: dict[str, Any] = {"topic": topic}
        if recover is not None:
            epoch, offset = recover if isinstance(recover, tuple) else (recover["epoch"], recover["offset"])
            fields["recover"] = {"epoch": epoch, "offset": offset}
        if token is not None:
            fields["token"] = token
        if presence:
            fields["presence"] = True
        result: dict[str, Any] = await self.request("sub", **fields)
        return result

    async def unsubscribe(self, topic: str) -> None:
        """Leave a topic."""
        await self.request("unsub", topic=topic)

    async def publish(self, topic: str, data: Any, **options: Any) -> dict[str, Any]:
        """Publish to a topic and return the result; `options` are `key` and `echo`."""
        result: dict[str, Any] = await self.request("pub", topic=topic, data=data, **options)
        return result

    async def rpc(self, method: str, data: Any = None) -> Any:
        """Call a method of the application and return what it returned."""
        fields = {} if data is None else {"data": data}
        return (await self.request("rpc", method=method, **fields)).get("data")

    # Hearing something.

    async def receive(self, timeout: float = TIMEOUT_S) -> Any:
        """The next message: a decoded object, or str and bytes on raw endpoints; replies to `request` are not seen."""
        return await self._take(_any, timeout, "a message")

    async def next_event(self, event: str | None = None, timeout: float = TIMEOUT_S) -> dict[str, Any]:
        """The next push, or the next one called `event`; what stands before it stays for later."""
        self._must_speak("next_event")
        push: dict[str, Any] = await self._take(
            lambda message: _is_push(message) and event in (None, message["event"]), timeout, event or "a push"
        )
        return push

    async def expect(self, event: str, /, *, timeout: float = TIMEOUT_S, **fields: Any) -> dict[str, Any]:
        """Take the next message, which has to be this push with these fields, among others; return it.

        :raises AssertionError: it is another, or differs.
        """
        self._must_speak("expect")
        wanted = {"event": event, **fields}
        push = await self._take(_any, timeout, _shown(wanted))
        if not isinstance(push, dict):
            message = f"{_shown(wanted)} was expected, but {_shown(push)} came"
            raise AssertionError(self._explained(message))  # noqa: TRY004 - of the test, not of an argument
        missing = object()
        different = [
            f"{name} is {_shown(push[name]) if name in push else 'missing'}, not {_shown(value)}"
            for name, value in wanted.items()
            if push.get(name, missing) != value
        ]
        if different:
            message = f"{_shown(wanted)} was expected, but {_shown(push)} came: {'; '.join(different)}"
            raise AssertionError(self._explained(message))
        return push

    async def nothing_arrives(self, timeout: float = TIMEOUT_S) -> None:
        """Make sure that nothing is there that was not taken, nor on its way.

        Without a guess at a time: the server is asked something, and what it had sent before comes before the answer.
        What a handler is still working on, or shall do later, cannot be known; wait for that first.

        :raises AssertionError: something is.
        """
        if self._codec is not None and self.welcome:
            await self.request("ping", timeout=timeout)
        else:
            pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._pongs.append(pong)
            self._link.ping()
            await self._answer(pong, timeout, "a pong")
        if self._arrived:
            raise AssertionError(self._explained(f"nothing was expected, but {_shown(self._arrived[0])} came"))

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Messages until the connection ends; each is waited for as long as it takes."""
        while True:
            try:
                yield await self._take(_any, None, "a message")
            except ConnectionClosed:
                return

    def pause_reading(self) -> None:
        """Read no more, as a client does that is slow: what the server sends will fill the buffers on the way."""
        self._reads.clear()

    def resume_reading(self) -> None:
        """Go on."""
        self._reads.set()

    # The end.

    async def close(self, code: int = 1000, reason: str = "") -> CloseInfo:
        """Close with the handshake and return how the connection ended."""
        self.resume_reading()
        self._link.close(code, reason)
        return await self.wait_closed()

    async def wait_closed(self, timeout: float = TIMEOUT_S) -> CloseInfo:
        """Wait until the server has closed; return its code and reason."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._reader)
        except TimeoutError:
            raise self._late("the end of the connection", timeout) from None
        assert self.closed is not None
        return self.closed

    async def abort(self) -> None:
        """Drop the connection without a close frame, as if the network was gone."""
        self.resume_reading()
        self._link.abort()
        await self.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.closed is None:
            await self.close()

    # Inside.

    async def _read(self) -> None:
        try:
            async for item in self._link.incoming():
                await self._reads.wait()
                if isinstance(item, CloseInfo):
                    self.closed = CloseInfo(int(item.code), item.reason)
                elif isinstance(item, Pong):
                    _settle(self._pongs.popleft() if self._pongs else None, None)
                elif not isinstance(item, Ping):
                    self._heard(item)
        finally:
            self.closed = self.closed or CloseInfo(closes.ABNORMAL)
            self._lines.append(f"  closed {self.closed.code} {self.closed.reason}".rstrip())
            self._news.set()
            for future in (*self._replies.values(), *self._pongs):
                if not future.done():
                    future.set_exception(self._ended("an answer came"))
            await self._link.release()

    def _heard(self, message: str | bytes) -> None:
        self._note("<", message)
        content: Any = message
        if self._codec == msgpack_binary.NAME and isinstance(message, bytes):
            content = msgspec.msgpack.decode(message)
        elif self._codec == json_text.NAME and isinstance(message, str) and message != "PONG":
            content = orjson.loads(message)
        if isinstance(content, dict) and "id" in content and content["id"] in self._replies:
            _settle(self._replies[content["id"]], content)
            return
        self._arrived.append(content)
        self._news.set()

    async def _take(self, wanted: Callable[[Any], bool], timeout: float | None, what: str) -> Any:
        """Remove and return the first message that is wanted, once it is there."""
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    for index, message in enumerate(self._arrived):
                        if wanted(message):
                            del self._arrived[index]
                            return message
                    if self.closed is not None:
                        raise self._ended(f"{what} came")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise self._late(what, timeout or 0) from None

    async def take_welcome(self, timeout: float = TIMEOUT_S) -> dict[str, Any]:
        """The next `welcome`, which `welcome` is from now on; `TestServer.connect` has taken the first."""
        self.welcome = await self.next_event("welcome", timeout)
        return self.welcome

    async def _answer(self, future: asyncio.Future[Any], timeout: float, what: str) -> Any:
        if self.closed is not None:
            raise self._ended(f"{what} came")
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise self._late(what, timeout) from None

    def _late(self, what: str, timeout: float) -> AssertionError:
        return AssertionError(self._explained(f"{what} did not come within {timeout:g} s"))

    def _must_speak(self, method: str) -> None:
        if self._codec is None:
            raise UsageError(
                f"{method} is for the client protocol, and this is a raw endpoint", "use send_text, send_bytes, receive"
            )

    def _must_be_open(self) -> None:
        if self.closed is not None:
            raise self._ended("it could be sent")

    def _ended(self, before: str) -> ConnectionClosed:
        assert self.closed is not None
        how = f"{self.closed.code} {self.closed.reason}".rstrip()
        message = f"the connection was closed ({how}) before {before}"
        return ConnectionClosed(self.closed.code, self.closed.reason, self._explained(message))

    def _note(self, direction: str, message: str | bytes) -> None:
        if isinstance(message, bytes) and self._codec == msgpack_binary.NAME:
            try:
                self._lines.append(f"{direction} {_shown(msgspec.msgpack.decode(message))}")
                return
            except msgspec.DecodeError:
                pass
        self._lines.append(f"{direction} {_shown(message) if isinstance(message, bytes) else message[:_SHOWN]}")

    def _explained(self, message: str) -> str:
        """With what was said last, `>` by the client and `<` by the server."""
        kept = f"\nnot taken yet: {', '.join(map(_shown, self._arrived))}" if self._arrived else ""
        said = "".join(f"\n  {line}" for line in self._lines) or "\n  nothing"
        return f"{message}{kept}\nlast on this connection:{said}"


def _any(_message: Any) -> bool:
    return True


def _is_push(message: Any) -> bool:
    return isinstance(message, dict) and "event" in message


def _settle(future: asyncio.Future[Any] | None, value: Any) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
