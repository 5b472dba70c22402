"""When users were here last."""

from __future__ import annotations

from typing import Final

_GENERATIONS: Final = 8


class Departures:
    """Of the users that left the last, at most so many and as a rule 7/8 of them at least, when that was.

    They are in generations, of which the oldest goes as a whole. One dict whose first entry goes for each new one would
    be searched for it: 50 us with 100,000 users. An entry is a key and one number, some 120 bytes.
    """

    def __init__(self, most: int) -> None:
        self._count = min(_GENERATIONS, most)
        self._each = most // self._count
        self._generations: list[dict[str, int]] = [{}]
        """The newest is the last."""

    def __len__(self) -> int:
        return sum(map(len, self._generations))

    def note(self, user: str, now_ms: int) -> None:
        """A user has left."""
        self.forget(user)
        if len(self._generations[-1]) >= self._each:
            self._generations.append({})
            del self._generations[: -self._count]
        self._generations[-1][user] = now_ms

    def forget(self, user: str) -> None:
        """A user has come back."""
        for generation in self._generations:
            if generation.pop(user, None) is not None and not generation:
                generation.clear()  # a dict keeps its table until then

    def when_ms(self, user: str, since_ms: int) -> int | None:
        """When a user left; None if that is not known, or was at `since_ms` or before."""
        for generation in self._generations:
            left_ms = generation.get(user)
            if left_ms is not None:
                return left_ms if left_ms > since_ms else None
        return None

    def forget_until(self, ms: int) -> None:
        """Give back the memory of generations that hold nobody who left after `ms`."""
        older = self._generations[:-1]
        kept = [generation for generation in older if generation and next(reversed(generation.values())) > ms]
        newest = self._generations[-1]
        if newest and next(reversed(newest.values())) <= ms:
            newest = {}
        self._generations = [*kept, newest]
