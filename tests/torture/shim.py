"""The other end of `shim.c`: which system calls of a process fail, how, and how often.

::

    with prepared_shim() as (environment, shim):            # of a process to be started
        process = subprocess.Popen(..., env={**os.environ, **environment})
        shim.aim(process.pid)
        shim.weather({"recv": (0.1, (EAGAIN, ONE))})

Covered are the calls that the reactor and its transports make: `accept4`, `close`, `epoll_ctl` (adding), `epoll_wait`,
`recv`, `send` and `shutdown`; aimed at the event loop (`caller="uvloop"`) also `read`, `write` and `writev` on
connected sockets, as `recv` and `send`. Not covered are `setsockopt`, `epoll_create1` and what Python itself calls.
Nothing is hit before `aim`, and a forked child is never hit.
"""

import ctypes
import errno
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from tests.support.preloads import compiled

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("shim.c")
CACHE = ROOT / ".cache" / "torture"
VARIABLE = "TORTURE_SHIM"

CALLS = ("accept4", "close", "epoll_ctl", "epoll_wait", "recv", "send", "shutdown")
ONE, HALF, FEW, SHUFFLED = -1, -2, -3, -4  # one byte or half of them; one event or all of them in another order
KINDS, CALLERS = 16, 64
WHOLE = 65536  # a rate of 1

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# Every way to fail, by call. The first group leaves the connection whole; the second ends it.
HARMLESS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "accept4": (errno.EAGAIN, errno.EINTR, *EXHAUSTED, errno.ENETDOWN),
        "close": (errno.EINTR, errno.EIO),
        "epoll_wait": (errno.EINTR, FEW, SHUFFLED),
        "recv": (errno.EAGAIN, errno.EINTR, ONE, HALF),
        "send": (errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM, ONE, HALF),
    }
)
FATAL: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "accept4": (errno.ECONNABORTED, errno.EPROTO),
        "epoll_ctl": (errno.ENOMEM, errno.ENOSPC),
        "recv": (errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH),
        "send": (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT),
        "shutdown": (errno.ENOTCONN,),
    }
)

Weather = Mapping[str, tuple[float, tuple[int, ...]]]


class _Call(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint64),
        ("rate", ctypes.c_uint32),
        ("kinds", ctypes.c_uint32),
        ("faults", ctypes.c_int32 * KINDS),
        ("hits", ctypes.c_uint64 * KINDS),
    )


class _Control(ctypes.Structure):
    _fields_ = (
        ("caller", ctypes.c_char * CALLERS),
        ("pid", ctypes.c_int64),
        ("random", ctypes.c_uint64),
        ("single_call", ctypes.c_int32),
        ("single_countdown", ctypes.c_int32),
        ("single_fault", ctypes.c_int32),
        ("single_done", ctypes.c_int32),
        ("calls", _Call * len(CALLS)),
        ("broken", ctypes.c_uint8 * 8192),
    )


class Shim:
    """The control of a process that runs under the shim.

    :param path: of the shared file, which `prepared_shim` made.
    """

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_Control))
        self._control = _Control.from_buffer(self._memory)
        self.tally: dict[tuple[str, int], int] = {}  # how often each fault of earlier weathers was met

    def close(self) -> None:
        """Let go of the memory, and of the descriptor that goes with it."""
        del self._control
        self._memory.close()

    def aim(self, pid: int, *, seed: int = 1, caller: str = "fastws_ext") -> None:
        """Hit calls of process `pid` that come from object files with `caller` in their path; the first aim counts."""
        self.calm()
        self._control.caller = caller.encode()
        self._control.random = seed * 2654435761 + 1
        self._control.pid = pid

    def weather(self, weather: Weather) -> None:
        """From now on a share (0 to 1) of the calls named fails in one of the ways given, all others succeed."""
        self._count()
        for name, call in zip(CALLS, self._control.calls, strict=True):
            share, faults = weather.get(name, (0.0, ()))
            call.rate = 0
            call.kinds = len(faults)
            call.faults[: len(faults)] = faults
            call.rate = int(share * WHOLE)

    def calm(self) -> None:
        """Everything succeeds."""
        self.weather({})
        self._control.single_call = -1

    def once(self, name: str, number: int, fault: int) -> None:
        """The `number`th call of `name` from now on (from 1) fails so."""
        self._control.single_call = -1
        self._control.single_countdown = number
        self._control.single_fault = fault
        self._control.single_done = 0
        self._control.single_call = CALLS.index(name)

    @property
    def met(self) -> bool:
        """Whether what `once` asked for has happened."""
        return bool(self._control.single_done)

    def count(self, name: str) -> int:
        """Calls so far."""
        return int(self._control.calls[CALLS.index(name)].count)

    def _count(self) -> None:
        for name, call in zip(CALLS, self._control.calls, strict=True):
            for kind in range(call.kinds):
                if call.hits[kind]:
                    key = name, call.faults[kind]
                    self.tally[key] = self.tally.get(key, 0) + call.hits[kind]
                    call.hits[kind] = 0

    def broken(self, port: int) -> bool:
        """Whether the connection with the peer's port was ended by a fault; `mend` forgets it."""
        return bool(self._control.broken[port >> 3] >> (port & 7) & 1)

    def mend(self, port: int) -> None:
        """The port has a new connection."""
        self._control.broken[port >> 3] &= ~(1 << (port & 7))


def library() -> Path:
    """The compiled shim; or skip."""
    return compiled(SOURCE, CACHE)


@contextmanager
def prepared_shim() -> Iterator[tuple[dict[str, str], Shim]]:
    """What a process needs in its environment to run under the shim, and the control of it."""
    with tempfile.NamedTemporaryFile(prefix="fastws-shim-") as file:
        file.truncate(ctypes.sizeof(_Control))
        shim = Shim(file.name)
        shim.calm()
        others = os.environ.get("LD_PRELOAD", "")
        environment = {VARIABLE: file.name, "LD_PRELOAD": " ".join(filter(None, (str(library()), others)))}
        if "libasan" in others:  # it would rather come first, and gets every call that the shim lets through
            options = os.environ.get("ASAN_OPTIONS", "")
            environment["ASAN_OPTIONS"] = ":".join(filter(None, (options, "verify_asan_link_order=0")))
        try:
            yield environment, shim
        finally:
            shim.close()


def own_shim() -> Shim:
    """The control of this very process, which was started under the shim."""
    return Shim(os.environ[VARIABLE])
