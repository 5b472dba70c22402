"""Who is told that what connects processes is away, and that it is back: each connection once per outage.

Where all of it is away everybody is told. Where a part is, only those are who hear a topic of that part: for the others
everything goes on, and they are told nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from fastws.core.codecs import CODECS
from fastws.hub.pushes import push
from fastws.hub.topic import Topic
from fastws.hub.users import Users
from fastws_ext.frames import encode_frame

SLICE_S: Final = 0.002
"""Seconds of the loop that looking for those who have to be told takes before others have their turn."""

_CHECKED_EVERY: Final = 32


class Outages:
    """`is_cut_off` tells of a topic whether its part is away, or not caught up with yet."""

    def __init__(self, users: Users, is_cut_off: Callable[[Topic], bool]) -> None:
        self.since_ms: int | None = None
        """Since when all of it is away, or was, until everybody is told that it is over; None if it is not."""
        self.tasks: set[asyncio.Task[None]] = set()
        self._users = users
        self._is_cut_off = is_cut_off
        self._ts_ms = 0
        """Of the last change."""
        self._everybody = False
        """All are told, newcomers when they are welcomed."""
        self._told: set[Any] = set()
        """Those who are told where that is not everybody; as long as a part is away."""
        self._looking: asyncio.Task[None] | None = None
        self._looks_again = False

    @property
    def is_partial(self) -> bool:
        """Whether some may be told, and not everybody."""
        return self.since_ms is None and (bool(self._told) or self._looking is not None)

    def begin(self, ts_ms: int) -> None:
        """All of it is away."""
        if self.since_ms is not None:
            return
        self.since_ms = self._ts_ms = ts_ms
        if self._looking is None and not self._told:
            self._everybody = True
            self._tell_everyone("degraded", ts_ms)
        else:
            self._look()

    def change(self, ts_ms: int) -> None:
        """Another part is away than until now, but not all of it, or topics were caught up with."""
        self.since_ms = None
        self._ts_ms = ts_ms
        self._look()

    def end(self, ts_ms: int) -> None:
        """It is over, and everybody has got what was missed."""
        self._ts_ms = ts_ms
        self.since_ms = None
        if self._everybody and self._looking is None:
            self._everybody = False
            self._tell_everyone("restored", ts_ms)
        elif self._everybody or self.is_partial:
            self._look()

    def welcome(self, conn: Any, since_ms: int | None) -> None:
        """Tell a newcomer of the outage that there was when it was welcomed, if that lasts."""
        if since_ms is None or since_ms != self.since_ms:
            return
        if self._everybody:
            push(conn, "degraded", {"ts": since_ms})
        else:
            self._tell_if_new(conn)

    def check(self, conn: Any) -> None:
        """A connection hears another topic than before."""
        if not self._everybody:
            self._tell_if_new(conn)

    def forget(self, conn: Any) -> None:
        """A connection has ended."""
        self._told.discard(conn)

    # One by one.

    def _concerns(self, conn: Any) -> bool:
        if self.since_ms is not None:
            return True
        return conn.session is not None and any(map(self._is_cut_off, conn.session.subscriptions()))

    def _look(self) -> None:
        self._looks_again = True
        if self._looking is None:
            self._looking = task = asyncio.get_running_loop().create_task(self._look_around())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _look_around(self) -> None:
        """Tell all whom it concerns, or does not any more, a slice at a time."""
        try:
            while self._looks_again:
                self._looks_again = False
                ends_s = monotonic() + SLICE_S
                everybody = [conn for audience in self._users.audiences() for conn in audience.wires()]
                if self._everybody:
                    self._everybody = False
                    self._told.update(everybody)
                for number, conn in enumerate(everybody, 1):
                    self._tell_if_new(conn)
                    if not number % _CHECKED_EVERY and monotonic() > ends_s:
                        await asyncio.sleep(0)
                        ends_s = monotonic() + SLICE_S
        finally:  # or nobody would be told of any later outage
            self._looking = None
        if self.since_ms is not None:
            self._everybody = True
            self._told.clear()

    def _tell_if_new(self, conn: Any) -> None:
        if conn.close_code:
            return
        concerns = self._concerns(conn)
        if concerns == (conn in self._told):
            return
        if concerns:
            self._told.add(conn)
        else:
            self._told.discard(conn)
        push(conn, "degraded" if concerns else "restored", {"ts": self._ts_ms})

    def _tell_everyone(self, event: str, ts_ms: int) -> None:
        payloads = [(codec.opcode, codec.push(event, {"ts": ts_ms})) for codec in CODECS]
        frames = tuple(encode_frame(opcode, payload) if payload else None for opcode, payload in payloads)
        for audience in self._users.audiences():
            audience.publish(frames)
