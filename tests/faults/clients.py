"""Light WebSocket clients by the hundred: subscribers that come back, publishers that insist, one that asks the time.

They behave as clients should: who hears nothing for too long goes away, who is told when to come back waits for that,
and everybody goes on from the position it knows.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Protocol, cast

import orjson

from tests.faults.oracle import Ear, Oracle, Sending, is_kept
from tests.support.frames import CLOSE, PING, PONG, TEXT, build_frame, close_frame, parse_frame

CONNECT_S: Final = 3.0
"""How long an upgrade and its welcome may take before another node is tried."""
ANSWER_S: Final = 15.0
"""Nothing hangs: by then every command is answered, or its connection gone."""
PATIENCE_S: Final = 4.0
"""Who has asked and heard nothing for that long takes the node for dead."""
BACKOFF_S: Final = (0.05, 0.5)

Place = tuple[str, int]


class Node(Protocol):
    """What a client knows of a node."""

    name: str

    @property
    def address(self) -> Place: ...

    is_frozen: bool
    """It is stopped for a while by the fault: that it does not answer then is none of its own."""
    thawed_s: float
    """When it went on the last time."""


@dataclass
class World:
    """What all clients of a run share."""

    nodes: Sequence[Node]
    oracle: Oracle
    random: random.Random
    token_of: Callable[[str], str]
    arrivals: list[tuple[float, str]] = field(default_factory=list)
    """When somebody was welcomed, and by which node."""
    reported: list[str] = field(default_factory=list)
    """Connections that were welcomed."""
    closes: list[tuple[float, str, int]] = field(default_factory=list)
    """When a connection ended that was welcomed, with which node and which code."""


class Line(asyncio.Protocol):
    """One connection. `on_message` gets each object; `ended` is done when it is gone."""

    def __init__(self, request: bytes, on_message: Callable[[dict[str, Any]], None]) -> None:
        self.code = 1006
        self.reason = ""
        self.status = 0
        self.heard_s = monotonic()
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._request = request
        self._on_message = on_message
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.heard_s = monotonic()
        self._data += data
        if not self.opened.done() and not self._read_head():
            return
        if self.status == 101:
            self._read_frames()

    def _read_head(self) -> bool:
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return False
        self.status = int(head[9:12])
        self._data = rest
        self.opened.set_result(None)
        return True

    def _read_frames(self) -> None:
        data, at = self._data, 0
        while len(data) - at >= 2:
            # The frames of a server that sends publications, without a copy for each.
            short = data[at + 1]
            start = at + (2 if short < 126 else 4 if short == 126 else 10)
            size = short if short < 126 else int.from_bytes(data[at + 2 : start], "big")
            if len(data) < start or len(data) < start + size:
                break
            if data[at] == 0x81:
                self._on_message(orjson.loads(data[start : start + size]))
            else:
                self._control(data[at : start + size])
            at = start + size
        self._data = data[at:]

    def _control(self, data: bytes) -> None:
        parsed = parse_frame(data)
        assert parsed is not None
        frame = parsed[0]
        if frame.opcode == PING:
            self.write(build_frame(PONG, frame.payload))
        elif frame.opcode == CLOSE:
            self.code, self.reason = frame.close_code, frame.close_reason
            self.write(close_frame(None))

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.opened, self.ended):
            if not future.done():
                future.set_result(None)

    def write(self, data: bytes) -> None:
        """Send bytes, if it is still there."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def say(self, command: dict[str, Any]) -> None:
        """Send a command."""
        self.write(build_frame(TEXT, orjson.dumps(command)))

    def drop(self) -> None:
        """Reset the connection."""
        if self._transport is not None:
            self._transport.abort()


def upgrade(place: Place, token: str) -> bytes:
    """The request of a client with this token."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /ws HTTP/1.1\r\nHost: {place[0]}:{place[1]}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


class Client:
    """A user that is connected to one of the nodes, or on its way to the next.

    :param at: the first node, by its index.
    :param stays: the node dies and this one with it: it does not come back.
    :param patience_s: see `PATIENCE_S`; 0 waits for ever.
    """

    def __init__(
        self, world: World, user: str, at: int, *, stays: bool = False, patience_s: float = PATIENCE_S
    ) -> None:
        self.world = world
        self.user = user
        self.stays = stays
        self.patience_s = patience_s
        self.conn = ""
        """What the server calls it; empty while it is not welcome."""
        self.line: Line | None = None
        self.refusal = 0
        """The last HTTP status that was not 101."""
        self.retries_ms: list[int] = []
        self.events: list[tuple[float, str]] = []
        """`degraded` and `restored`, and when."""
        self._at = at
        self._numbers = itertools.count(1)
        self._asked: dict[int, Callable[[dict[str, Any] | None], None]] = {}
        self._welcome: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_leaving = False
        self._token = world.token_of(user)

    @property
    def node(self) -> Node:
        """Where it is, or tries to be."""
        return self.world.nodes[self._at % len(self.world.nodes)]

    @property
    def is_settled(self) -> bool:
        """Whether it is connected, or has given up."""
        return bool(self.conn) or (self._task is not None and self._task.done())

    def start(self) -> None:
        """Connect, and stay connected."""
        self._task = asyncio.create_task(self._live(), name=self.user)

    async def stop(self) -> None:
        """Go, politely."""
        self._is_leaving = True
        line = self.line
        if line is not None:
            line.write(close_frame(1000))
            await asyncio.wait([line.ended], timeout=2)
            line.drop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._gone(1000)
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                raise error

    def abandon(self) -> None:
        """Be gone at once, for a run that has failed."""
        self._is_leaving = True
        if self.line is not None:
            self.line.drop()
        if self._task is not None:
            self._task.cancel()
        self._gone(1006)

    def leave(self) -> None:
        """Lose the connection, and come back."""
        if self.line is not None:
            self.line.drop()

    def ask(self, command: dict[str, Any], then: Callable[[dict[str, Any] | None], None]) -> None:
        """Say a command; `then` gets the reply, or None if the connection ends before."""
        assert self.line is not None
        number = next(self._numbers)
        self._asked[number] = then
        self.line.say({"id": number, **command})

    async def request(self, command: dict[str, Any]) -> dict[str, Any]:
        """The reply. Raises `ConnectionError` if none came."""
        reply: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self.ask(command, lambda message: None if reply.done() else reply.set_result(message))
        message = await asyncio.wait_for(reply, ANSWER_S)
        if message is None:
            raise ConnectionError(self.user)
        return message

    # Its life.

    async def _live(self) -> None:
        while not self._is_leaving:
            if await self._connect():
                assert self.line is not None
                await self._stay(self.line)
            code, reason = (self.line.code, self.line.reason) if self.line is not None else (1006, "")
            self._gone(code)
            if self._is_leaving or self.stays:
                return
            await asyncio.sleep(self._pause_s(reason))
            self._at += 1

    async def _connect(self) -> bool:
        place = self.node.address
        loop = asyncio.get_running_loop()
        self._welcome = loop.create_future()
        line = self.line = Line(upgrade(place, self._token), self._heard)
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: line, *place)
                await asyncio.wait([line.ended, self._welcome], return_when=asyncio.FIRST_COMPLETED)
        except (OSError, TimeoutError):
            line.drop()
            return False
        if line.status not in (0, 101):
            self.refusal = line.status
        return self._welcome.done()

    async def _stay(self, line: Line) -> None:
        """Until the connection ends, or is silent although it was asked."""
        while not line.ended.done():
            await asyncio.wait([line.ended], timeout=max(self.patience_s / 2, 1.0) if self.patience_s else None)
            quiet_s = monotonic() - line.heard_s
            if self.patience_s and quiet_s > self.patience_s:
                line.drop()
                return
            if quiet_s > self.patience_s / 2 and not line.ended.done():
                line.write(build_frame(PING))

    def _pause_s(self, reason: str) -> float:
        told = re.search(r"retry_ms=(\d+)", reason)
        if told:
            self.retries_ms.append(int(told[1]))
            return int(told[1]) / 1000
        return self.world.random.uniform(*BACKOFF_S)

    def _gone(self, code: int) -> None:
        now_s = monotonic()
        if self.conn:
            self.world.closes.append((now_s, self.node.name, code))
            if not self._is_leaving:
                self.world.oracle.troubled(now_s)
        self.conn = ""
        self.line = None
        asked, self._asked = self._asked, {}
        for then in asked.values():
            then(None)
        self.on_gone(now_s)

    def _heard(self, message: dict[str, Any]) -> None:
        if "id" in message:
            then = self._asked.pop(message["id"], None)
            if then is None:
                self.world.oracle.wrong("unasked", f"{self.user} got {message}")
            else:
                then(message)
            return
        event = message["event"]
        if event == "welcome":
            self.conn = message["conn"]
            self.world.arrivals.append((monotonic(), self.node.name))
            self.world.reported.append(self.conn)
            if self._welcome is not None and not self._welcome.done():
                self._welcome.set_result(None)
            self.on_welcome()
        elif event in ("degraded", "restored"):
            self.events.append((monotonic(), event))
        else:
            self.on_push(message)

    # What kinds of clients do.

    def on_welcome(self) -> None:
        """It is connected."""

    def on_gone(self, now_s: float) -> None:
        """It is not, any more."""

    def on_push(self, message: dict[str, Any]) -> None:
        """It was told something."""


class Subscriber(Client):
    """Hears topics and follows each from connection to connection."""

    def __init__(self, world: World, user: str, at: int, topics: Sequence[str], **options: Any) -> None:
        super().__init__(world, user, at, **options)
        self.ears: dict[str, Ear] = {topic: world.oracle.ear(user, topic) for topic in topics}

    @property
    def is_complete(self) -> bool:
        """Whether it is subscribed to everything it wants."""
        return bool(self.conn) and all(ear.is_subscribed for ear in self.ears.values())

    def on_welcome(self) -> None:
        for ear in self.ears.values():
            self._subscribe(ear)

    def on_gone(self, now_s: float) -> None:
        for ear in self.ears.values():
            ear.ended(now_s)

    def _subscribe(self, ear: Ear) -> None:
        if self.line is None or self._is_leaving:
            return
        since = ear.position
        command: dict[str, Any] = {"cmd": "sub", "topic": ear.topic}
        if since is not None:
            command["recover"] = {"epoch": since[0], "offset": since[1]}
        self.ask(command, lambda message: self._subscribed(ear, since, message))

    def _subscribed(self, ear: Ear, since: tuple[str, int] | None, message: dict[str, Any] | None) -> None:
        if message is None:
            return
        now_s = monotonic()
        if "result" in message:
            if since is not None:
                self.world.oracle.troubled(now_s)
            ear.began(message["result"], since, now_s)
            return
        self.world.oracle.troubled(now_s)
        if message["error"]["code"] != 113:
            self.world.oracle.wrong("answer", f"{self.user} was refused {ear.topic}: {message['error']}")
        pause_s = self.world.random.uniform(0.1, 0.3)
        asyncio.get_running_loop().call_later(pause_s, self._again, ear, self.line)

    def _again(self, ear: Ear, line: Line | None) -> None:
        if line is self.line:
            self._subscribe(ear)

    def on_push(self, message: dict[str, Any]) -> None:
        now_s = monotonic()
        if message["event"] == "publication":
            self.ears[message["topic"]].hear(message, now_s)
        elif message["event"] == "unsubscribed":
            ear = self.ears[message["topic"]]
            ear.ended(now_s)
            self.world.oracle.troubled(now_s)
            if (message["code"], message["resubscribe"]) != (2500, True):
                self.world.oracle.wrong("answer", f"{self.user}: {message}")
            self._subscribe(ear)
        elif message["event"] == "error":
            self.world.oracle.wrong("answer", f"{self.user}: {message}")


class Publisher(Client):
    """Says one message after the other, each when the one before is settled.

    :param insists: gives each message with history a key and repeats it until it is acknowledged.
    """

    def __init__(
        self, world: World, user: str, at: int, topics: Sequence[str], pause_s: float, *, insists: bool, **options: Any
    ) -> None:
        super().__init__(world, user, at, **options)
        self.topics = topics
        self.insists = insists
        self.pause_s = pause_s
        self.is_paused = True
        """It begins nothing new; at first until everybody is here."""
        self._count = itertools.count(1)
        self._open: Sending | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_open(self) -> bool:
        """Whether something that was begun is not settled."""
        return self._open is not None

    def on_welcome(self) -> None:
        self._later(0)

    def on_gone(self, now_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _later(self, pause_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._say)

    def _say(self) -> None:
        if self.line is None or self._is_leaving:
            return
        if self._open is None and self.is_paused:
            self._later(self.pause_s)
            return
        now_s = monotonic()
        sending = self._open
        if sending is None:
            number = next(self._count)
            topic = self.world.random.choice(self.topics)
            sending = self.world.oracle.begin(f"{self.user}.{number}", topic, f"{self.user} {self.conn}", number, now_s)
        sending.last_attempt_s = now_s
        sending.last_node = self.node.name
        command = {"cmd": "pub", "topic": sending.topic, "data": sending.id}
        if self.insists and is_kept(sending.topic):
            command["key"] = sending.id
        asyncio.get_running_loop().call_later(ANSWER_S, self._must_be_settled, sending, now_s, self.node)
        self._open = sending
        self.ask(command, lambda message: self._settled(sending, message))

    def _settled(self, sending: Sending, message: dict[str, Any] | None) -> None:
        oracle = self.world.oracle
        now_s = monotonic()
        self._open = None
        again = self.insists and is_kept(sending.topic)
        if message is None:
            oracle.unanswered(sending, now_s)
            self._open = sending if again else None
            return  # the next connection goes on
        if "result" in message:
            oracle.acked(sending, message["result"], now_s)
        else:
            oracle.refused(sending, message["error"]["code"], now_s)
            self._open = sending if again else None
        self._later(self.pause_s)

    def _must_be_settled(self, sending: Sending, since_s: float, node: Node) -> None:
        stood_still = node.is_frozen or node.thawed_s > since_s
        if self._open is sending and sending.last_attempt_s == since_s and not stood_still:
            self.world.oracle.wrong("hang", f"{sending.id} was not answered within {ANSWER_S} s")


class Prober(Client):
    """Asks one node for the time, again and again: what a loop that blocks would be late with.

    What this process itself was late is taken off: `lags_s` has what is the node's.
    """

    def __init__(self, world: World, user: str, at: int, pause_s: float = 0.05) -> None:
        super().__init__(world, user, at)
        self.lags_s: list[tuple[float, float]] = []
        self._pause_s_between = pause_s

    async def _live(self) -> None:
        own = asyncio.create_task(self._measure())
        try:
            while not self._is_leaving:
                if await self._connect():
                    assert self.line is not None
                    await asyncio.wait([self.line.ended])
                self._gone(self.line.code if self.line is not None else 1006)
                await asyncio.sleep(0.1)
        finally:
            own.cancel()

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked_s = loop.time()
            await asyncio.sleep(self._pause_s_between)
            own_s = loop.time() - asked_s - self._pause_s_between
            if not self.conn or self.node.is_frozen:
                continue
            began_s, begun_s = monotonic(), loop.time()
            try:
                await self.request({"cmd": "ping"})
            except (ConnectionError, TimeoutError):
                continue
            if not self.node.is_frozen and self.node.thawed_s < began_s:
                self.lags_s.append((monotonic(), max(loop.time() - begun_s - max(own_s, 0.0), 0.0)))
