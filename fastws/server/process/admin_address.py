"""Binding the address for operators and back ends."""

from __future__ import annotations

import errno
import socket

from fastws.errors import StartError
from fastws.net.listener import bind_tcp


def bind_admin(host: str, port: int) -> list[socket.socket]:
    """Bind it; see `bind_tcp`. The `StartError` says which address it is about."""
    try:
        return bind_tcp(host, port)
    except StartError as error:
        raise of_admin_address(error) from error


def of_admin_address(error: StartError) -> StartError:
    """The same, said of the admin address, with what to do about a port that is taken."""
    cause = error.__cause__
    taken = isinstance(cause, OSError) and cause.errno in (errno.EADDRINUSE, errno.EACCES)
    hint = "; --admin-port takes another port (0: any free one), -1 turns it off" if taken else ""
    return StartError(f"the admin address: {error}{hint}")
