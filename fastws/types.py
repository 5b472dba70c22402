"""Small values that handlers receive and return."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

DEFAULT_DEVICE: Final = "default"
"""The device of a client that did not say."""


class SendStatus(IntEnum):
    """What became of a message given to `conn.send`, which never waits."""

    SENT = 0
    """Handed to the kernel, or waiting for the flush at the end of this loop pass."""
    QUEUED = 1
    """In the outbox of a connection that cannot take more just now; `await conn.drain()` waits for it."""
    DROPPED = 2
    """Not sent: the slow-consumer policy gave it up."""
    CLOSED = 3
    """Not sent: the connection is closing or closed."""


class CloseInfo(NamedTuple):
    """How a connection ended: the code received, or sent when we closed it, or 1006 when it was lost."""

    code: int
    reason: str = ""


class ConnectionInfo(NamedTuple):
    """Who a connection was, for `on_disconnect`, where the connection itself may be gone or on another node."""

    id: str
    user: str
    tenant: str
    device: str
    node: str


class Published(NamedTuple):
    """What became of a publication. `offset` and `epoch` are None for a topic without history."""

    offset: int | None
    epoch: str | None
    duplicate: bool
    """True if `key` was seen within the last 5 minutes: nothing was delivered, the position is the first one's."""
    degraded: bool = False
    """True if what connects servers is away: only the subscribers of this process heard it."""
    nodes: int = 1
    """Processes that it was given to: with Redis, those in which somebody is subscribed."""


class Author(NamedTuple):
    """The client that published something."""

    user: str
    """Empty if anonymous."""
    conn: str


class HistoryEntry(NamedTuple):
    """One publication of a topic's history."""

    data: Any
    offset: int
    ts: int
    """When, in milliseconds of Unix time."""
    author: Author | None
    """None if a server published it."""


class HistoryPage(NamedTuple):
    """A part of a topic's history, and where the topic is now."""

    publications: Sequence[HistoryEntry]
    epoch: str
    offset: int


class Member(NamedTuple):
    """One connection that is present in a topic."""

    user: str
    """Empty if anonymous."""
    device: str
    info: Any
    """What is public about the user; None if there is nothing."""


class PresenceStats(NamedTuple):
    """How many are present in a topic."""

    connections: int
    users: int
    """Distinct users with a name."""


class Presence(NamedTuple):
    """Who is present in a topic."""

    members: Mapping[str, Member]
    """By the id of the connection; at most 1,000."""
    connections: int
    users: int
    truncated: bool
    """There are more than `members` shows."""


class UserStatus(NamedTuple):
    """Whether a user is here."""

    online: bool
    devices: Sequence[str]
    """Those that are connected, each once, sorted; of somebody with very many connections not all."""
    last_seen: int | None
    """When the user was here last, in milliseconds of Unix time; None if that is not known (any more)."""


class SessionInfo(NamedTuple):
    """One connection of a user."""

    conn: str
    user: str
    tenant: str
    device: str
    node: str
    since: int
    """When it was established, in milliseconds of Unix time."""


class TopicInfo(NamedTuple):
    """A topic that somebody is subscribed to."""

    topic: str
    subscribers: int
