"""Who came to a topic and who left it, for those in this process who asked to be told.

Telling each of N members at once that N others came would be N times N frames. So changes are collected and told
together, after a time that grows with the number of those who are told: what is spent on it is bounded, whatever
happens. Where too many came and went to be named, it is told how many.

Whoever keeps a list of the members begins with one that it was given, and changes it by what it is told. So nothing is
told while somebody asks other processes who is there: it might be older than the answer, and would be heard before it.
Where one asks after the other that has an end: it is told, and the answers that it makes wrong are asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from fastws.core.codecs import CODECS
from fastws.engine.contract import Change
from fastws_ext.fanout import Audience
from fastws_ext.frames import encode_frame
from fastws_ext.loop_data import LoopData

MIN_INTERVAL_S: Final = 0.05
MAX_INTERVAL_S: Final = 10.0
S_PER_WATCHER: Final = 60e-6
"""What changes wait for each one who is told: some twenty times what telling costs."""

MAX_HELD_S: Final = 1.0
"""What changes wait for listings, beyond that; one takes milliseconds."""

MAX_NAMED: Final = 100
"""Changes that are told one by one at a time."""
MAX_TELLINGS: Final = 20_000
"""Changes told one by one, times those who are told: some 3 MB."""

_MAX_KEPT: Final = 4 * MAX_NAMED  # those that cancelled each other included


class News:
    """The changes of one topic that are still to be told, and whom to tell.

    `summarise(joined, left)` is called when there were too many to be named, and then has to call `tell`.
    """

    __slots__ = (
        *("_asked", "_changes", "_crowded", "_is_due", "_joined", "_left", "_listed", "_name", "_newcomers"),
        *("_places", "_summarise", "audience", "told_early"),
    )

    def __init__(self, loop_data: LoopData, name: str, summarise: Callable[[int, int], None]) -> None:
        self.audience = Audience(loop_data)
        """Those who hear everything that is told next."""
        self._name = name
        self._summarise = summarise
        self._newcomers: dict[Any, int] = {}
        """Those who came while changes were waiting, in order, and which of the changes is the first one after that."""
        self._asked = 0
        """Listings under way."""
        self._is_due = False
        """Changes wait for them, and for nothing else."""
        self.told_early = 0
        """Times that changes could not wait for them, so far: what others have answered may lack what was told."""
        self._begin()

    def _begin(self) -> None:
        """Nothing is waiting."""
        self._changes: list[Change | None] = []
        """In order; None where a join and a leave cancelled each other."""
        self._places: dict[str, int] = {}
        """Where the join of a connection stands that has not been told."""
        self._listed = 0
        """So many of the changes are older than a listing of the members."""
        self._crowded = False
        """There are too many to be named; they are counted instead."""
        self._joined = self._left = 0
        self._is_due = False

    @property
    def watchers(self) -> int:
        """How many are told."""
        return len(self.audience) + len(self._newcomers)

    def watch(self, conn: Any) -> None:
        """Tell this connection what happens from now on; not what has happened and waits to be told."""
        if self._changes and not self._crowded:
            self._newcomers[conn] = len(self._changes)
        else:
            self.audience.add(conn)

    def unwatch(self, conn: Any) -> None:
        """Tell it nothing any more."""
        if self._newcomers.pop(conn, None) is None:
            self.audience.discard(conn)

    def listed(self) -> None:
        """Somebody is told who is there now; it may be one who is told of changes as well."""
        self._listed = len(self._changes)

    def note(self, change: Change, *, cancels: bool = True) -> None:
        """Somebody came or left. `cancels`: if that it came was not told, nothing has to be told now that it left."""
        if not self._expect():
            return
        if change.joined:
            self._joined += 1
        else:
            self._left += 1
        if self._crowded or (cancels and not change.joined and self._cancels(change.conn)):
            return
        if change.joined:
            self._places[change.conn] = len(self._changes)
        self._changes.append(change)
        named = max(1, min(MAX_NAMED, MAX_TELLINGS // self.watchers))
        if self._joined + self._left > named or len(self._changes) > _MAX_KEPT:
            self._crowd()

    def count(self, joined: int, left: int) -> None:
        """So many came and left in other processes, and nobody says who."""
        if self._expect():
            self._joined += joined
            self._left += left
            if not self._crowded:
                self._crowd()

    def _expect(self) -> bool:
        """A change is about to be noted; False if nobody wants to know."""
        if not self.watchers:
            if self._changes or self._crowded:
                self._begin()
            return False
        if not self._changes and not self._crowded:
            interval_s = min(max(MIN_INTERVAL_S, self.watchers * S_PER_WATCHER), MAX_INTERVAL_S)
            asyncio.get_running_loop().call_later(interval_s, self._flush_later, self._changes)
        return True

    def _cancels(self, conn_id: str) -> bool:
        """Forget a join that was not told, because its connection has left; not if somebody has seen it listed."""
        place = self._places.pop(conn_id, None)
        if place is None or place < self._listed:
            return False
        self._changes[place] = None
        self._joined -= 1
        self._left -= 1
        return True

    def _crowd(self) -> None:
        self._crowded = True
        self._changes.clear()
        self._places.clear()
        newcomers, self._newcomers = self._newcomers, {}
        for conn in newcomers:
            self.audience.add(conn)

    def precede(self, conn_id: str) -> None:
        """Something of this connection is about to be delivered: if it came just now, that is told first."""
        if conn_id in self._places:
            if self._asked:
                self.told_early += 1
            self.flush()

    def _flush_later(self, changes: list[Change | None]) -> None:
        """The time is over, unless these were told already."""
        if changes is self._changes:
            if not self._asked:
                self._flush_if_watched()
            elif not self._is_due:
                self._is_due = True
                asyncio.get_running_loop().call_later(MAX_HELD_S, self._flush_overdue, changes)

    def _flush_overdue(self, changes: list[Change | None]) -> None:
        """There was always somebody who asked, unless these were told already."""
        if changes is self._changes:
            if self._asked:
                self.told_early += 1
            self._flush_if_watched()

    def _flush_if_watched(self) -> None:
        if self.watchers:
            self.flush()
        else:
            self._begin()  # nobody is told, and the engine that would be asked may have stopped

    def flush(self) -> None:
        """Tell what is waiting."""
        changes, crowded, newcomers = self._changes, self._crowded, self._newcomers
        joined, left = self._joined, self._left
        # Before anything is sent: who cannot be sent to leaves at once, and that is news already.
        self._begin()
        self._newcomers = {}
        if crowded:
            self._summarise(joined, left)
            return
        frames = self._frames(changes, {conn.codec_index for conn in newcomers})
        if any(changes):
            self.audience.publish(tuple(b"".join(parts) if parts is not None else None for parts in frames))
        for conn in newcomers:
            self.audience.add(conn)
        for conn, first in newcomers.items():
            parts = frames[conn.codec_index]
            missed = b"".join(parts[first:]) if parts is not None else b""
            if missed:
                conn.send_frame(missed)

    def _frames(self, changes: list[Change | None], wanted: set[int]) -> list[list[bytes] | None]:
        """For each codec that is spoken by one who is told, a frame for each change."""
        return [
            [self._frame(codec, change) for change in changes]
            if self.audience.count(codec.index) or codec.index in wanted
            else None
            for codec in CODECS
        ]

    def _frame(self, codec: Any, change: Change | None) -> bytes:
        if change is None:
            return b""
        content: dict[str, Any] = {"topic": self._name, "user": change.user, "conn": change.conn}
        if change.info is not None:
            content["info"] = change.info
        payload = codec.push("join" if change.joined else "leave", content)
        return encode_frame(codec.opcode, payload) if payload else b""

    # While others are asked.

    def ask(self) -> None:
        """Others are asked who is there: tell nothing until `answered`."""
        self._asked += 1

    def answered(self) -> None:
        """They have been; once for each `ask`. Whoever asked is told in this turn of the loop."""
        self._asked -= 1
        if not self._asked and self._is_due:
            asyncio.get_running_loop().call_soon(self._flush_later, self._changes)

    def tell(self, event: str, content: dict[str, Any]) -> None:
        """Tell one thing to all."""
        frames = []
        for codec in CODECS:
            payload = codec.push(event, content) if self.audience.count(codec.index) else b""
            frames.append(encode_frame(codec.opcode, payload) if payload else None)
        self.audience.publish(tuple(frames))


class Roll:
    """Who of one topic is here, counted. There is one for each whose namespace has `presence` or `join_leave`; its
    members are the audience.
    """

    __slots__ = ("news", "users")

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        """The users with a name, and how many of their connections are here."""
        self.news: News | None = None
        """Only while somebody wants to be told who comes and goes."""

    def count(self, user: str) -> None:
        """One more connection of this user."""
        if user:
            self.users[user] = self.users.get(user, 0) + 1

    def discount(self, user: str) -> None:
        """One less."""
        if not user:
            return
        left = self.users[user] - 1
        if left:
            self.users[user] = left
        else:
            del self.users[user]
