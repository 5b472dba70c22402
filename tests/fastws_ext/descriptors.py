"""What the kernel tells of this process's descriptors."""

import ctypes
import os
import re
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

EPOLL_CTL_ADD, EPOLL_CTL_DEL = 1, 2
EPOLLIN = 1


class Watched(NamedTuple):
    """A descriptor in an epoll set: the events asked for and the 64 bits that come with each."""

    events: int
    data: int


class _EpollEvent(ctypes.Structure):
    _pack_ = 1  # as the kernel has it on x86-64; elsewhere it is aligned
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


class _AlignedEpollEvent(ctypes.Structure):
    _fields_ = _EpollEvent._fields_


def descriptors() -> set[int]:
    """The open descriptors of this process."""
    return {descriptor for descriptor in map(int, os.listdir("/proc/self/fd")) if _is_open(descriptor)}


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def server_side(client: socket.socket) -> int:
    """The descriptor of this process at the other end of `client`."""
    address = client.getsockname()
    for descriptor in descriptors():
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            with socket.socket(fileno=os.dup(descriptor)) as sock, suppress(OSError):
                if sock.getpeername() == address:
                    return descriptor
    raise AssertionError("no such connection")


def watched(epoll: int) -> dict[int, Watched]:
    """What is in an epoll set, by descriptor."""
    text = Path(f"/proc/self/fdinfo/{epoll}").read_text()
    found = re.findall(r"tfd:\s*(\d+) events:\s*([0-9a-f]+) data:\s*([0-9a-f]+)", text)
    return {int(descriptor): Watched(int(events, 16), int(data, 16)) for descriptor, events, data in found}


def epoll_with(descriptor: int) -> int:
    """The epoll set of this process that watches `descriptor`."""
    for epoll in descriptors():
        if "eventpoll" in str(Path(f"/proc/self/fd/{epoll}").readlink()) and descriptor in watched(epoll):
            return epoll
    raise AssertionError("nobody watches it")


def epoll_control(epoll: int, operation: int, descriptor: int, events: int = 0, data: int = 0) -> None:
    """epoll_ctl with data of one's own, which the standard library does not offer."""
    kind = _EpollEvent if os.uname().machine == "x86_64" else _AlignedEpollEvent
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.epoll_ctl(epoll, operation, descriptor, ctypes.byref(kind(events, data))) < 0:
        raise OSError(ctypes.get_errno(), "epoll_ctl")
