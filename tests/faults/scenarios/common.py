"""What scenarios are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

import hiredis

from tests.faults.stage import Outcome, Stage

SCENARIOS: Final[dict[str, Scenario]] = {}
REDIS_S: Final = 40.0
"""How long a Redis may take to be back."""


@dataclass(frozen=True)
class Scenario:
    """One fault. `play` takes the seed of a run."""

    name: str
    title: str
    play: Callable[[int], Awaitable[Outcome]]
    runs: int = 5


def scenario(
    name: str, title: str, *, runs: int = 5
) -> Callable[[Callable[[int], Awaitable[Outcome]]], Callable[[int], Awaitable[Outcome]]]:
    """Register a function that plays it."""

    def register(play: Callable[[int], Awaitable[Outcome]]) -> Callable[[int], Awaitable[Outcome]]:
        SCENARIOS[name] = Scenario(name, title, play, runs)
        return play

    return register


async def until_redis_answers(stage: Stage, takes: Callable[[], object]) -> None:
    """Ask until `takes` does not raise: Redis is back then, and Redis' own time is over."""

    def wait() -> float:
        end = monotonic() + REDIS_S
        while True:
            with suppress(OSError, hiredis.HiredisError, AssertionError):
                takes()
                return monotonic()
            assert monotonic() < end, "Redis is not back"
            sleep(0.01)

    stage.redis_is_back(await asyncio.to_thread(wait))
