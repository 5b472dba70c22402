"""What clients can say, in whatever dialect and codec they say it.

A codec turns a message into one of these: a command, several lines of commands, an `Aside` (answered at once, outside
the order of commands), a `Fault` (an object that is no proper command), or `BROKEN` (no object at all).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, get_args

from msgspec import Meta, Struct

from fastws.closes import ErrorCode

MAX_ID_BYTES: Final = 64
"""Longest `id` that is a text, in UTF-8."""

Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[str, Meta(max_length=MAX_ID_BYTES)] | None
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Command(Struct, tag_field="cmd", gc=False, kw_only=True):
    """`id`: what the reply carries; None if no reply is wanted."""

    id: Id = None


class Since(Struct, gc=False):
    """A place in the history of a topic."""

    epoch: str
    offset: Offset


class Auth(Command, tag="auth"):
    token: str


class Refresh(Command, tag="refresh"):
    token: str


class Sub(Command, tag="sub"):
    topic: str
    recover: Since | None = None
    token: str | None = None
    presence: bool | None = None


class Unsub(Command, tag="unsub"):
    topic: str


class Pub(Command, tag="pub"):
    topic: str
    data: Any
    key: str | None = None
    echo: bool | None = None
    trace: str | None = None
    """A W3C `traceparent`."""


class History(Command, tag="history"):
    topic: str
    since: Since | None = None
    limit: Annotated[int, Meta(ge=0)] | None = None
    reverse: bool | None = None


class Presence(Command, tag="presence"):
    topic: str


class PresenceStats(Command, tag="presence_stats"):
    topic: str


class Status(Command, tag="status"):
    users: list[str]


class Rpc(Command, tag="rpc"):
    method: str
    data: Any = None


class Heartbeat(Command, tag="heartbeat"):
    interval: int | float


class Ping(Command, tag="ping"):
    """Asks for the server's time."""


AnyCommand = Auth | Refresh | Sub | Unsub | Pub | Presence | PresenceStats | History | Status | Rpc | Heartbeat | Ping

NAMES: Final[dict[type, str]] = {kind: str(kind.__struct_config__.tag) for kind in get_args(AnyCommand)}
"""The name of each command by its type."""

NOT_BUILT: Final = frozenset({"send", "ack", "read", "sync"})
"""Commands of the protocol whose part of the server does not exist yet."""


class Fault:
    """An object that cannot be executed: `error` is the answer, `message` says what is wrong with it."""

    __slots__ = ("cmd", "error", "id", "message")

    def __init__(self, error: ErrorCode, message: str, cmd: str = "", reply_id: str | int | None = None) -> None:
        self.error = error
        self.message = message
        self.cmd = cmd
        """What it wanted to be; empty if it does not say."""
        self.id = reply_id


class Lines:
    """A message of several lines, each of them to be decoded by itself, when the one before it has run."""

    __slots__ = ("decode", "done", "texts")

    def __init__(self, texts: list[str], decode: Callable[[str], Said]) -> None:
        self.texts = texts
        self.decode = decode
        self.done = 0
        """Lines that have run."""


class Aside:
    """What is answered at once, by strangers too, and even while commands wait: a dialect's own sign of life.

    `answer(now_ms)` is the payload of the answer in the same codec, or a `Fault`.
    """

    __slots__ = ("answer",)

    def __init__(self, answer: Callable[[int], bytes | Fault]) -> None:
        self.answer = answer


class Broken:
    """No object in the codec of the connection: the connection closes."""

    __slots__ = ()


BROKEN: Final = Broken()

Said = AnyCommand | Fault | Lines | Aside | Broken
