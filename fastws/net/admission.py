"""Who may come in: the limits that are asked before anything is spent on a client.

Constant time and no object per connection: one number for all, and one per address that is counted. Where several
processes serve one node, these numbers are shared by them.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple, Protocol

from fastws.core.proxies import is_loopback

DESCRIPTOR_RESERVE: Final = 192
"""Descriptors kept free of client sockets: 128 for the admin address, the rest for links to the engine, log files and
health checks."""


class Refusal(NamedTuple):
    """Why a client may not come in now."""

    status: int
    """429 for limits per address, else 503."""
    reason: str
    """The word it is counted under: the option's name, or `drain` or `overload`."""
    retry_after: int
    """Whole seconds, for the header `Retry-After`."""


_DRAINING: Final = Refusal(503, "drain", 5)
_FULL: Final = Refusal(503, "max-connections", 10)
_OVERLOADED: Final = Refusal(503, "overload", 10)
_TOO_FAST: Final = Refusal(503, "connect-rate", 1)
_TOO_MANY_OF_ONE: Final = Refusal(429, "max-connections-per-ip", 10)


def descriptor_capacity() -> int:
    """Sockets of clients that the descriptor limit of this process allows, less the reserve."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 1 << 30
    return max(limit - min(DESCRIPTOR_RESERVE, limit // 4), 1)


class Counts(Protocol):
    """How many are in, over all that the limits hold for. Whoever was entered leaves once."""

    def enter(self, limit: int) -> bool:
        """Count one more, unless there are `limit`; 0 = no limit."""

    def leave(self) -> None: ...

    def is_full(self, limit: int) -> bool: ...

    def enter_address(self, address: str, limit: int) -> bool:
        """Count one more of this address, unless it has `limit`."""

    def leave_address(self, address: str) -> None: ...


class OwnCounts:
    """Of this process alone."""

    def __init__(self) -> None:
        self._total = 0
        self._per_address: dict[str, int] = {}

    def enter(self, limit: int) -> bool:
        if self.is_full(limit):
            return False
        self._total += 1
        return True

    def leave(self) -> None:
        self._total -= 1

    def is_full(self, limit: int) -> bool:
        return 0 < limit <= self._total

    def enter_address(self, address: str, limit: int) -> bool:
        count = self._per_address.get(address, 0)
        if count >= limit:
            return False
        self._per_address[address] = count + 1
        return True

    def leave_address(self, address: str) -> None:
        count = self._per_address.get(address, 0)
        if count > 1:
            self._per_address[address] = count - 1
        else:
            self._per_address.pop(address, None)


class Admission:
    """The counts and limits of one worker. Every `admit` that answered None is given back by one `release`.

    `max_connections`: at most this many at once, 0 = what `capacity` allows. `max_per_address`: for each address, 0 =
    unlimited. `loopback_exempt`: addresses of this machine are not counted. `connects_per_second`: a token bucket with
    a burst of one second, 0 = unlimited. `capacity`: sockets that may be open at all, whatever they are doing.
    `counts`: shared by the workers of a node; the first two limits hold for all of them together.
    """

    def __init__(
        self,
        *,
        max_connections: int = 0,
        max_per_address: int = 0,
        loopback_exempt: bool = True,
        connects_per_second: float = 0,
        capacity: int | None = None,
        counts: Counts | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.draining = False
        """While true nobody comes in."""
        self.admitted = 0
        """Connections that are in, of this worker."""
        self.capacity = descriptor_capacity() if capacity is None else capacity
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._loopback_exempt = loopback_exempt
        self._rate = connects_per_second
        self._burst = max(connects_per_second, 1.0)
        self._tokens = self._burst
        self._clock = clock
        self._refilled_s = clock()
        self._counts = counts if counts is not None else OwnCounts()

    @property
    def is_full(self) -> bool:
        """Whether the next one would be refused for want of room."""
        return self._counts.is_full(self._max_connections)

    def counts(self, address: str) -> bool:
        """Whether connections from `address` are counted one by one."""
        return self._max_per_address > 0 and address != "" and not (self._loopback_exempt and is_loopback(address))

    def admit(self, address: str, sockets: int) -> Refusal | None:
        """Count one more client at `address` (empty if not known), or say why not. `sockets`: open ones, its
        included.
        """
        if self.draining:
            return _DRAINING
        if self.is_full:
            return _FULL
        if sockets > self.capacity:
            return _OVERLOADED
        if self._rate and not self._has_token():
            return _TOO_FAST
        counted = self.counts(address)
        if counted and not self._counts.enter_address(address, self._max_per_address):
            return _TOO_MANY_OF_ONE
        if not self._counts.enter(self._max_connections):
            # Another worker was faster.
            if counted:
                self._counts.leave_address(address)
            return _FULL
        if self._rate:
            self._tokens -= 1
        self.admitted += 1
        return None

    def release(self, address: str) -> None:
        """Give back what `admit` counted for `address`."""
        self.admitted -= 1
        self._counts.leave()
        if self.counts(address):
            self._counts.leave_address(address)

    def _has_token(self) -> bool:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_s) * self._rate)
        self._refilled_s = now
        return self._tokens >= 1
