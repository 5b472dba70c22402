"""Publications by their keys: so that what is published again with a known key is not delivered again."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Final

from fastws.engine.contract import IDEMPOTENCY_S
from fastws.types import Published

_LONG_KEY: Final = 64  # characters; longer ones are remembered by their digest


class Keys:
    """What was published with a key within the last `IDEMPOTENCY_S` seconds. Times are seconds of one clock.

    Keys are forgotten in the order of their age, which a queue knows: the dict alone would be searched for its first
    entry past all those that are gone (with 1,300 new keys a second, a millisecond for each publication).
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, Published]] = {}
        """(topic, key) -> (until when it is remembered, the result)."""
        self._by_age: deque[tuple[str, str]] = deque()
        self._renewed: dict[tuple[str, str], int] = {}
        """Keys that stand in the queue again because they came again after their time; so many times too often."""

    def __len__(self) -> int:
        return len(self._known)

    def get(self, topic: str, key: str, now_s: float) -> Published | None:
        """The result of the publication with this key; None if it is not known, or not any more."""
        known = self._known.get((topic, _short(key)))
        return known[1] if known is not None and known[0] > now_s else None

    def note(self, topic: str, key: str, published: Published, now_s: float) -> None:
        """Something was published with a key."""
        entry = (topic, _short(key))
        if entry in self._known:
            self._renewed[entry] = self._renewed.get(entry, 0) + 1
        self._known[entry] = (now_s + IDEMPOTENCY_S, published)
        self._by_age.append(entry)

    def forget(self, now_s: float, most: int) -> None:
        """Give back the memory of keys whose time is over, of `most` of them at once."""
        by_age = self._by_age
        for _ in range(min(most, len(by_age))):
            entry = by_age[0]
            if entry in self._renewed:
                self._renewed[entry] -= 1
                if not self._renewed[entry]:
                    del self._renewed[entry]
            elif self._known[entry][0] <= now_s:
                del self._known[entry]
            else:
                return
            by_age.popleft()


def _short(key: str) -> str:
    if len(key) <= _LONG_KEY:
        return key
    return "\0" + blake2b(key.encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()
