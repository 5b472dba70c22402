"""Who is here: the connections of this process by tenant and user."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from math import inf
from time import time
from typing import Any, Final

from fastws_ext.fanout import Audience
from fastws_ext.loop_data import LoopData

_FEW: Final = 8
"""Connections of one user up to which a list is searched; from there on a dict, which takes more memory."""

_MARK_EVERY_MS: Final = 1000
_MAX_MARKS: Final = 4096
_EXACTNESS: Final = 200  # what is so many hours ago is known to an hour, if marks have to go


class Tenant:
    """The connections of one tenant, or of all that belong to none."""

    __slots__ = ("audience", "raw", "users")

    def __init__(self, loop_data: LoopData) -> None:
        self.audience = Audience(loop_data)
        """All that speak a protocol of ours, the anonymous ones too."""
        self.raw: Audience | None = None
        """Those of raw endpoints; nothing is published to them. Made by the first."""
        self.users: dict[str, Any] = {}
        """By user: a single connection, as most have, is kept bare; several are in a list or, if many, in a dict."""


class Users:
    """A user with a name costs one entry of a dict here, whose key is the name that the connection's identity has."""

    def __init__(self, loop_data: LoopData) -> None:
        self._loop_data = loop_data
        self._tenants: dict[str, Tenant] = {}

    def enter(self, conn: Any, tenant: str, user: str, *, is_raw: bool = False) -> None:
        """A connection is here; `is_raw`: of a raw endpoint, which hears only what is for its user or for it alone."""
        here = self._tenants.get(tenant)
        if here is None:
            here = self._tenants[tenant] = Tenant(self._loop_data)
        if is_raw:
            if here.raw is None:
                here.raw = Audience(self._loop_data)
            here.raw.add(conn)
        else:
            here.audience.add(conn)
        if not user:
            return
        held = here.users.setdefault(user, conn)
        if held is conn:
            return
        if isinstance(held, dict):
            held[conn] = None
        elif not isinstance(held, list):
            here.users[user] = [held, conn]
        elif len(held) < _FEW:
            held.append(conn)
        else:
            here.users[user] = dict.fromkeys((*held, conn))

    def leave(self, conn: Any, tenant: str, user: str) -> bool:
        """It is gone, or somebody else from now on. True: that was the user's last one."""
        here = self._tenants.get(tenant)
        if here is None:
            return False
        here.audience.discard(conn)
        if here.raw is not None:
            here.raw.discard(conn)
            if not len(here.raw):
                here.raw = None
        held = here.users.get(user) if user else None
        is_last = held is conn
        if is_last:
            del here.users[user]
        elif isinstance(held, dict):
            held.pop(conn, None)
            if len(held) == 1:
                here.users[user] = next(iter(held))
        elif isinstance(held, list) and conn in held:
            held.remove(conn)
            if len(held) == 1:
                here.users[user] = held[0]
        if not len(here.audience) and not here.users and here.raw is None:
            del self._tenants[tenant]
        return is_last

    def connections_of(self, tenant: str, user: str, limit: int | None = None) -> Sequence[Any]:
        """The connections of a user, or at most `limit` of them, in the order in which they came."""
        here = self._tenants.get(tenant)
        held = here.users.get(user) if here is not None else None
        if held is None:
            return ()
        return tuple(islice(held, limit)) if isinstance(held, list | dict) else (held,)

    def audience_of(self, tenant: str) -> Audience | None:
        """The connections of a tenant that speak a protocol of ours; None if it has no connections."""
        here = self._tenants.get(tenant)
        return here.audience if here is not None else None

    def audiences(self) -> Iterator[Audience]:
        """Those of all tenants: every connection that speaks a protocol of ours is in one of them."""
        return iter([here.audience for here in self._tenants.values()])

    def everybody(self, tenant: str | None = None) -> list[Any]:
        """The connections of a tenant, or of all of them, those of raw endpoints too."""
        if tenant is None:
            tenants = list(self._tenants.values())
        else:
            here = self._tenants.get(tenant)
            tenants = [here] if here is not None else []
        crowds = [crowd.wires() for here in tenants for crowd in (here.audience, here.raw) if crowd is not None]
        return crowds[0] if len(crowds) == 1 else [conn for crowd in crowds for conn in crowd]

    @property
    def count(self) -> int:
        """How many users with a name are here."""
        return sum(len(here.users) for here in self._tenants.values())


class Arrivals:
    """About when connections came, without memory for each of them.

    Connections are numbered as they come, so a mark (number, time) a second is enough. When there are too many marks,
    some of those go that are long ago: a year fits in.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._times_ms: list[int] = []

    def note(self, number: int) -> None:
        """The connection of that number came just now."""
        now_ms = int(time() * 1000)
        numbers, times_ms = self._numbers, self._times_ms
        if numbers and (number <= numbers[-1] or now_ms - times_ms[-1] < _MARK_EVERY_MS):
            return
        numbers.append(number)
        times_ms.append(now_ms)
        if len(numbers) > _MAX_MARKS:
            self._thin_out(now_ms)

    def _thin_out(self, now_ms: int) -> None:
        kept = [0]
        for index, time_ms in enumerate(self._times_ms):
            if time_ms - self._times_ms[kept[-1]] >= (now_ms - time_ms) // _EXACTNESS and index:
                kept.append(index)
        self._numbers = [self._numbers[index] for index in kept]
        self._times_ms = [self._times_ms[index] for index in kept]

    def when_ms(self, number: int) -> int:
        """When the connection of that number came, in Unix milliseconds: at most a second or half a percent of the time
        since then earlier than it did.
        """
        index = bisect_right(self._numbers, number) - 1
        return self._times_ms[max(0, index)] if self._times_ms else 0

    def last_until(self, ms: int) -> float:
        """The highest number of a connection of which `when_ms` says that it came at `ms` or before."""
        index = bisect_right(self._times_ms, ms)
        return self._numbers[index] - 1 if index < len(self._numbers) else inf
