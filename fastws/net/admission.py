"""Who may come in: the limits that are asked before anything is spent on a client.

Constant time and no object per connection: one number for all, and one per address that is counted.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

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


class Admission:
    """The counts and limits of one worker. Every `admit` that answered None is given back by one `release`.

    `max_connections`: at most this many at once, 0 = what `capacity` allows. `max_per_address`: for each address, 0 =
    unlimited. `loopback_exempt`: addresses of this machine are not counted. `connects_per_second`: a token bucket with
    a burst of one second, 0 = unlimited. `capacity`: sockets that may be open at all, whatever they are doing.
    """

    def __init__(
        self,
        *,
        max_connections: int = 0,
        max_per_address: int = 0,
        loopback_exempt: bool = True,
        connects_per_second: float = 0,
        capacity: int | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.draining = False
        """While true nobody comes in."""
        self.admitted = 0
        """Connections that are in."""
        self.capacity = descriptor_capacity() if capacity is None else capacity
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._loopback_exempt = loopback_exempt
        self._rate = connects_per_second
        self._burst = max(connects_per_second, 1.0)
        self._tokens = self._burst
        self._clock = clock
        self._refilled_s = clock()
        self._per_address: dict[str, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether the next one would be refused for want of room."""
        return self._max_connections > 0 and self.admitted >= self._max_connections

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
        if self.counts(address):
            count = self._per_address.get(address, 0)
            if count >= self._max_per_address:
                return _TOO_MANY_OF_ONE
            self._per_address[address] = count + 1
        if self._rate:
            self._tokens -= 1
        self.admitted += 1
        return None

    def release(self, address: str) -> None:
        """Give back what `admit` counted for `address`."""
        self.admitted -= 1
        if not self.counts(address):
            return
        count = self._per_address.get(address, 0)
        if count > 1:
            self._per_address[address] = count - 1
        else:
            self._per_address.pop(address, None)

    def _has_token(self) -> bool:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_s) * self._rate)
        self._refilled_s = now
        return self._tokens >= 1
