"""The history of one topic, in memory."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from fastws.core.publication import Publication, Retention

RELEASED_AT_ONCE: Final = 64
"""Publications whose memory is given back each time that something is left out: some 10 us."""

COST: Final = 400
"""Bytes that a publication takes beside its data, with its share in the topic's."""

_NOTHING: Final = (0.0, Publication(b"", 0))
_stored_s: Final = lambda entry: entry[0]  # noqa: E731


class Stock:
    """What all logs of an engine take together."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0
        """Bytes."""


class Log:
    """The newest publications of one topic.

    Nothing that is done with it takes long, however many there are: those that are too old are found by bisection, and
    their memory is given back by and by. A deque would take 760 bytes before anything is in it.
    """

    __slots__ = ("_entries", "_first", "_released", "_stock", "epoch", "offset", "retention", "used_s")

    def __init__(self, epoch: str, retention: Retention, stock: Stock) -> None:
        self._stock = stock
        self.epoch = epoch
        self.offset = 0
        """Of the newest publication, whether it is still there or not."""
        self.retention = retention
        self.used_s = 0.0
        self._entries: list[tuple[float, Publication]] = []
        """(when it was stored, publication), ascending."""
        self._first = 0
        """Entries before this one are left out,"""
        self._released = 0
        """and the memory of those before this one is given back."""

    def __len__(self) -> int:
        return len(self._entries) - self._first

    @property
    def is_released(self) -> bool:
        """Nothing that was left out takes memory any more."""
        return self._released == self._first

    @property
    def trimmed(self) -> int:
        """Everything after this offset is there."""
        return self.offset - len(self)

    def add(self, publication: Publication, now_s: float) -> None:
        """Store a publication, and let it know its offset."""
        self.offset = publication.offset = self.offset + 1
        self._entries.append((now_s, publication))
        self._stock.size += len(publication.data) + COST
        self.trim(now_s)
        self.release()

    def trim(self, now_s: float) -> None:
        """Leave out what is too much or too old; call `release` after this."""
        entries = self._entries
        size, ttl_s = self.retention
        first = max(self._first, len(entries) - size)
        oldest_s = now_s - ttl_s
        if ttl_s and first < len(entries) and entries[first][0] <= oldest_s:
            first = bisect_right(entries, oldest_s, first + 1, key=_stored_s)
        self._first = first

    def give_up(self, count: int) -> None:
        """Leave out the oldest `count` publications, and give back their memory."""
        self._first = min(len(self._entries), self._first + count)
        self.release(count + RELEASED_AT_ONCE)

    def release(self, most: int = RELEASED_AT_ONCE) -> int:
        """Give back the memory of at most `most` of the publications that are left out; returns of how many."""
        entries, begin = self._entries, self._released
        end = min(self._first, begin + most)
        if end == begin:
            return 0
        if end == begin + 1:  # as a rule
            self._stock.size -= len(entries[begin][1].data) + COST
            entries[begin] = _NOTHING
        else:
            self._stock.size -= sum(len(publication.data) + COST for _, publication in entries[begin:end])
            entries[begin:end] = [_NOTHING] * (end - begin)
        self._released = end
        if end == len(entries) or (end >= 4 and end * 8 >= len(entries)):
            del entries[:end]
            self._first -= end
            self._released = 0
        return end - begin

    def after(self, offset: int, limit: int | None = None) -> list[Publication]:
        """Every publication after `offset` that is still there, or at most `limit` of them, ascending."""
        begin = max(self._first, len(self._entries) - self.offset + offset)
        end = len(self._entries) if limit is None else begin + limit
        return [publication for _, publication in self._entries[begin:end]]

    def before(self, offset: int | None, limit: int) -> list[Publication]:
        """The newest `limit` publications, or the newest before `offset`, descending."""
        end = len(self._entries)
        if offset is not None:
            end = min(end, max(self._first, end - 1 - self.offset + offset))
        begin = max(self._first, end - limit)
        return [publication for _, publication in reversed(self._entries[begin:end])]
