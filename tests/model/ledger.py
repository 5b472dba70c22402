"""What was really published, by topic: what every subscriber's history is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Entry:
    """One publication."""

    topic: str
    epoch: str
    """Empty without history, and so is the offset 0."""
    offset: int
    stored_s: float
    unheard_by: str
    """The connection that does not have to hear it, or empty."""
    order: int
    """Counts all publications."""


@dataclass
class Ledger:
    """Publications are known by their data, which no two of them share."""

    size: int
    ttl_s: float
    entries: dict[Any, Entry] = field(default_factory=dict)
    now: dict[str, tuple[str, list[Entry]]] = field(default_factory=dict)
    """By topic: its epoch, and what was published in that."""
    keys: dict[tuple[str, str], float] = field(default_factory=dict)
    """By topic and key of a publication: until when another one with that key is none."""

    def record(self, topic: str, data: Any, position: tuple[str, int] | None, unheard_by: str, now_s: float) -> None:
        """Something was published; the position is None without history."""
        assert data not in self.entries
        epoch, offset = position if position is not None else ("", 0)
        entry = Entry(topic, epoch, offset, now_s, unheard_by, len(self.entries))
        self.entries[data] = entry
        if position is None:
            return
        known, entries = self.now.get(topic, ("", []))
        if known != epoch:
            assert epoch not in {other.epoch for other in self.entries.values() if other is not entry}
            entries = []
            self.now[topic] = (epoch, entries)
        assert offset == len(entries) + 1, "offsets count up by one from the beginning of the epoch"
        entries.append(entry)

    def forget(self, topic: str) -> None:
        """The engine has forgotten the topic: its epoch has ended."""
        self.now.pop(topic, None)

    def position(self, topic: str) -> tuple[str, int] | None:
        """Where the topic is; None while that is not known."""
        known = self.now.get(topic)
        return (known[0], len(known[1])) if known is not None else None

    def is_kept(self, topic: str, epoch: str, offset: int, now_s: float) -> bool | None:
        """Whether everything after this place is still in the history; None if that cannot be said from here."""
        known = self.now.get(topic)
        if known is None or known[0] != epoch:
            return None
        entries = known[1]
        if offset > len(entries):
            return False
        kept = [entry for entry in entries[-self.size :] if entry.stored_s > now_s - self.ttl_s]
        return len(entries) - offset <= len(kept)
