"""Presence where there is one process: the hub is asked, nothing is kept."""

from __future__ import annotations

import pytest

from fastws.engine.memory import MemoryEngine
from fastws.errors import InternalError
from fastws.types import Member, Presence, PresenceStats

ANN = Member("ann", "web", {"name": "Ann"})


class KnowingHub:
    """Events whose hub knows one member of every topic."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def members_of(self, topic: str, limit: int) -> Presence:
        self.asked.append((topic, limit))
        return Presence({"c-1": ANN} if limit else {}, 3, 2, truncated=limit < 3)


@pytest.mark.asyncio
async def test_who_is_present_is_what_the_hub_knows() -> None:
    hub, engine = KnowingHub(), MemoryEngine()
    await engine.start(hub)  # type: ignore[arg-type]
    engine.present("t", "c-2", ANN, announce=True)
    engine.absent("t", "c-2", ANN, announce=True)
    assert engine.presence("t", 1000) == Presence({"c-1": ANN}, 3, 2, truncated=False)
    assert engine.presence_stats("t") == PresenceStats(3, 2)
    assert hub.asked == [("t", 1000), ("t", 0)]
    await engine.stop()
    with pytest.raises(InternalError):
        engine.presence("t", 1)
