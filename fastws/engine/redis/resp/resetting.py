"""Connections that are ended by a reset."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

_NO_LINGER: Final = struct.pack("ii", 1, 0)


def take_back(transport: asyncio.Transport) -> None:
    """Before it is aborted: have the kernel forget what it did not get rid of, by a reset (socket(7), SO_LINGER).

    Where a network comes back it would arrive late, and be carried out after what the next connection said.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
