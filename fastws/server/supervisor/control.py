"""What the supervisor, the zygote and the workers say to each other: one packet for each message, descriptors with it.

To the zygote: `begin` (what to import), `fork` (with the descriptors of a worker), `reopen`. From it: `loaded`.
To a worker: `go` (listen), `retire` (another one takes your place), `stop` (drain), `exit` (all have drained), `hurry`,
`reopen`. From it: `hello` (its process id, and the file for its last trace), `waits` (for what, while it starts),
`started` (its application is), `ready`, `retired` (it accepts nobody any longer), `drained`.
"""

from __future__ import annotations

import json
import socket
from array import array
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

_MAX_MESSAGE: Final = 128 * 1024
_ROOM_FOR_DESCRIPTORS: Final = socket.CMSG_SPACE(64 * array("i").itemsize)


class Message(NamedTuple):
    """One message; whoever has received it owns its descriptors."""

    kind: str
    fields: dict[str, Any]
    descriptors: list[int]


class Channel:
    """One end. It is a socket between processes of one server, so what comes is not hostile, but may be the end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Two ends; the first does not block."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        return cls(ours), cls(theirs)

    @classmethod
    def adopt(cls, descriptor: int, *, blocking: bool) -> Self:
        """The end that was handed over."""
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(blocking)
        return cls(sock)

    def fileno(self) -> int:
        """Of the socket, -1 once it is closed."""
        return self._sock.fileno()

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> bool:
        """Say it; False if nobody is there to hear it, or somebody has not listened for a long time."""
        try:
            socket.send_fds(self._sock, [json.dumps([kind, fields]).encode()], list(descriptors))
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """The next message; None at the end. Raises `BlockingIOError` where there is none and it does not block."""
        try:
            # Not socket.recv_fds, which forgets its flags.
            data, parts, _, _ = self._sock.recvmsg(_MAX_MESSAGE, _ROOM_FOR_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            raise
        except OSError:
            return None
        if not data:
            return None
        kind, fields = json.loads(data)
        descriptors = array("i")
        for _, _, part in parts:
            descriptors.frombytes(part[: len(part) - len(part) % descriptors.itemsize])
        return Message(kind, fields, list(descriptors))

    def close(self) -> None:
        """Close this end; the other one hears that."""
        self._sock.close()
