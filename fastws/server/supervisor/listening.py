"""The listening sockets of a node: those of each worker, and the groups that the kernel chooses among.

They stay open as long as the server runs: while a worker is replaced, clients wait in its queue instead of being reset.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from fastws.config import Settings, as_url
from fastws.net.listener import bind_tcp, bind_unix, start_listening
from fastws.server.supervisor.weights import program

_log: Final = logging.getLogger("fastws.supervisor")

_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_INSTRUCTION: Final = 8  # bytes
_TCP_INFO_SIZE: Final = 104
_UNACKED: Final = 24  # offset in tcp_info: of a listener, how many wait to be accepted


class Door:
    """The listening sockets of one worker: one for each address that is listened on, in the order of `Doors`."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        self.is_open = False

    def queue(self) -> int:
        """How many clients wait to be accepted."""
        return sum(
            struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE), _UNACKED)[0]
            for sock in self.sockets
            if sock.family != socket.AF_UNIX
        )


class Doors:
    """Those of all workers. A Unix socket is one door for all of them."""

    def __init__(self, settings: Settings) -> None:
        """Bind the addresses that the settings name. Raises `StartError`."""
        self._settings = settings
        self._groups: list[list[Door]] = []
        """For each address the doors in the kernel's order, which is that of `listen`."""
        self._may_choose = True
        if settings.uds is not None:
            self.address = f"unix:{settings.uds}"
            self._unix: Door | None = Door([bind_unix(settings.uds)])
            self._spare: list[socket.socket] = []
            return
        self._unix = None
        # A port that nobody shares with us, whoever else would; only then may our own sockets share it.
        alone = bind_tcp(settings.host, settings.port, keepalive=False)
        self._port: int = alone[0].getsockname()[1]
        for sock in alone:
            sock.close()
        self._spare = self._bind()
        self.address = as_url(settings.host, self._port, settings.scheme)
        self._groups = [[] for _ in self._spare]

    def _bind(self) -> list[socket.socket]:
        return bind_tcp(self._settings.host, self._port, keepalive=self._settings.tcp_keepalive, shared=True)

    def make(self) -> Door:
        """A door for one more worker, closed. Raises `StartError`."""
        if self._unix is not None:
            return self._unix
        sockets, self._spare = self._spare or self._bind(), []
        return Door(sockets)

    def open(self, door: Door) -> None:
        """Listen. While a program chooses, nobody comes to a door that it does not know. Raises `StartError`."""
        if door.is_open:
            return
        for sock in door.sockets:
            start_listening(sock, self._settings.backlog)
        door.is_open = True
        for group in self._groups:
            group.append(door)

    def remove(self, door: Door) -> None:
        """Close a door for good: who still waits there is reset."""
        if door is self._unix:
            return
        if door.is_open:
            door.is_open = False
            for group in self._groups:
                # As the kernel does it: the last one takes the place of the one that goes.
                place = group.index(door)
                group[place] = group[-1]
                group.pop()
            for sock in door.sockets:
                # Others have this socket as well, and it would listen until the last of them has closed it.
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for sock in door.sockets:
            sock.close()
        door.sockets = []

    def weigh(self, parts: Mapping[Door, int]) -> None:
        """Let the kernel choose among doors in these parts; one that is not named gets nobody."""
        for place, group in enumerate(self._groups):
            if not group or not self._may_choose:
                return
            instructions = program([parts.get(door, 0) for door in group])
            buffer = ctypes.create_string_buffer(instructions, len(instructions))
            argument = struct.pack("HxxxxxxP", len(instructions) // _INSTRUCTION, ctypes.addressof(buffer))
            try:
                group[0].sockets[place].setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, argument)
            except OSError as error:
                self._may_choose = False
                _log.warning(
                    "new connections are spread over the workers by a hash and not by free capacity: "
                    "a program for that may not be attached here (%s)",
                    error.strerror or error,
                )

    @property
    def may_choose(self) -> bool:
        """Whether `weigh` has an effect."""
        return self._may_choose and self._unix is None

    def close(self) -> None:
        """Let go of what no worker has been given, and of the name of a Unix socket."""
        for sock in self._spare:
            sock.close()
        if self._unix is not None:
            for sock in self._unix.sockets:
                sock.close()
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)
