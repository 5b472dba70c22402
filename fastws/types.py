"""Small values that handlers receive and return."""

from enum import IntEnum
from typing import NamedTuple


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
