"""Calls that operators may repeat at another process, and that shall have one effect all the same.

Within its process whoever carries out calls knows itself what it has done. So an engine that connects no processes has
nothing to say to that; one that does keeps, for all of them, who carries out a call and what was answered.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

KEPT_S: Final = 300.0
"""Seconds for which the answer of a call is kept."""
RUNNING_S: Final = 30.0
"""Seconds after which a call is nobody's any more whose process has died while it carried it out."""
LARGEST_ANSWER: Final = 262_144
"""Bytes of an answer that is kept; of a larger one only that the call was carried out."""

GRANTED: Final = "granted"
RUNNING: Final = "running"
DONE: Final = "done"
REUSED: Final = "reused"


class Claim(NamedTuple):
    """What came of claiming a call."""

    state: str
    """`granted`: carry it out, and then `settle` it. `running`: another process does. `done`: another process has.
    `reused`: the key is another call's.
    """
    answer: bytes = b""
    """Of a call that is done; empty if it was too large."""


class Claims(Protocol):
    """Of one process."""

    async def claim(self, key: str, fingerprint: bytes) -> Claim:
        """Ask before a call is carried out, and never twice at the same time for one key.

        :param key: which call; it is the same one with the same `fingerprint`.
        :raises EngineError: what connects the processes is away: it must not be carried out.
        """
        ...

    async def settle(self, key: str, answer: bytes | None) -> None:
        """A call that was granted is over: with this answer, or None if it had no effect and may be tried again. Raises
        nothing; what cannot be said now is said later.
        """
        ...


class Alone:
    """Of a process that is connected to no others."""

    async def claim(self, key: str, fingerprint: bytes) -> Claim:  # noqa: ARG002 - nobody else could have it
        """Every call is granted."""
        return Claim(GRANTED)

    async def settle(self, key: str, answer: bytes | None) -> None:
        """There is nobody to be told."""
