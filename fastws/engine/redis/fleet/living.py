"""Which processes live, as far as this one can see.

Each process that lives counts up its beats in Redis. One whose count does not change for as long as its lease lasts,
while this process looked at it all the time, is dead. Nothing here depends on what time it is, here or at Redis: no
clock that is set takes a process for dead that is not, and after an outage everybody has the time of a lease again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Final, TypeVar

Mark = TypeVar("Mark", int, str)

_MAX_DIGITS: Final = 19
_QUIET_PART: Final = 4  # of a lease: several beats
_QUIET_S: Final = 2.0  # at least: who is busy for a moment is no quiet one


class Living:
    """The ids of nodes are `<name>.<number>.<random>`; the numbers count up, so that who is newer can be seen."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """`clock` is seconds that never step back."""
        self.me = ""
        self._clock = clock
        self._lease_s = 0.0
        self._newest = 0
        """The highest number of a node that was given when this process looked last."""
        self._looked_s = 0.0
        self._is_blind = True
        self._beats: dict[str, tuple[int, float]] = {}
        """Node -> (its beat, since when this process has seen that one)."""
        self._claims: dict[str, tuple[str, float]] = {}
        """Dead node -> (what is said of its burial, since when this process has seen that)."""

    def begin(self, me: str, lease_s: float) -> None:
        """So this process is called from now on. A lease is how long a beat counts."""
        self.me = me
        self._lease_s = lease_s
        self._newest = max(self._newest, number_of(me))

    @property
    def newest(self) -> int:
        """The highest number of a node that this process knows of."""
        return self._newest

    def look_away(self) -> None:
        """What happens now is not seen: whoever is not heard of meanwhile may be alive."""
        self._is_blind = True

    def saw(self, newest: int, beats: Mapping[str, int], claims: Mapping[str, str], most_s: float) -> None:
        """What Redis says of all nodes. If that was more than `most_s` after the last time, this process was stopped,
        and others may have been with it.
        """
        now_s = self._clock()
        if now_s - self._looked_s > most_s:
            self.look_away()
        self._looked_s = now_s
        self._newest = max(newest, number_of(self.me))
        self._beats = _compared(beats, {} if self._is_blind else self._beats, now_s)
        self._claims = _compared(claims, {} if self._is_blind else self._claims, now_s)
        self._is_blind = False

    def is_living(self, node: str) -> bool:
        """Whether what belongs to a node is to be shown. One that is newer than all that were seen is believed."""
        if node == self.me:
            return True
        known = self._beats.get(node)
        if known is None:
            return number_of(node) > self._newest
        return self._is_blind or self._clock() - known[1] < self._lease_s

    def is_quiet(self, node: str) -> bool:
        """Whether it has not been heard of for so long that it may well be dead, though that is not known yet."""
        known = self._beats.get(node)
        quiet_s = max(self._lease_s / _QUIET_PART, _QUIET_S)
        return known is not None and not self._is_blind and self._clock() - known[1] >= quiet_s

    def others(self) -> Sequence[str]:
        """The other nodes that live."""
        return [node for node in self._beats if node != self.me and self.is_living(node)]

    @property
    def dead(self) -> Sequence[str]:
        """Nodes that are dead, and not buried yet."""
        silent = [node for node in self._beats if not self.is_living(node)]
        return [*silent, *(node for node in self._claims if node not in self._beats and node != self.me)]

    def is_claimed(self, node: str) -> bool:
        """Whether somebody is about to bury it."""
        return node in self._claims

    def to_bury(self) -> Sequence[tuple[str, str]]:
        """(dead node, what was seen of it last): those that nobody buries, or whose reaper says nothing any more."""
        now_s = self._clock()
        silent = [(node, str(self._beats[node][0])) for node in self._beats if not self.is_living(node)]
        left = [(node, claim) for node, (claim, since_s) in self._claims.items() if now_s - since_s >= self._lease_s]
        return [*silent, *left]


def _compared(
    seen: Mapping[str, Mark], before: Mapping[str, tuple[Mark, float]], now_s: float
) -> dict[str, tuple[Mark, float]]:
    """What is seen, with the time since when it has been the same."""
    return {
        node: before[node] if node in before and before[node][0] == mark else (mark, now_s)
        for node, mark in seen.items()
    }


def number_of(node: str) -> int:
    """The number in the id of a node; 0 if there is none."""
    number = node.rpartition(".")[0].rpartition(".")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < _MAX_DIGITS else 0


def name_of(node: str) -> str:
    """The name in the id of a node, which processes of one machine may share."""
    return node.rpartition(".")[0].rpartition(".")[0] or node
